r"""A checkpoint: how many lines a log has, under which root; signed by the coordinator, cosigned by who verified it.

    wardround/brca/6f0c...e1/8a41...07
    42
    q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=

    — wardround/brca/6f0c...e1/8a41...07 c2lnbmF0dXJl...
    — 9f86d081884c7d65... Y29zaWduYXR1cmU...

The three lines are the text: the log's origin (study, digest of its protocol, run), its size, and the root in base64. A
signature line holds a name and the base64 of a 4-byte key number and the signature. The coordinator signs the text
under the origin's name. Each cosigner signs `cosignature/v1\ntime SECONDS\n` and the text, under the fingerprint of its
key, with the 8 bytes of the time before the signature. By cosigning it says that this log continues every one of this
run that it cosigned before.

Both are C2SP's own bytes, without the domain separation of `signed`: their first bytes serve for it. So openssl alone
checks them, and so do the tools of other transparency logs.

What a checkpoint proves is that its signers saw one log. A coordinator that shows two logs needs every cosigner of the
one it shows.

Source: C2SP signed-note, tlog-checkpoint and tlog-cosignature (Ed25519), version 1.0.0.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.merkle import HASH_SIZE
from wardround.common.trust.signed import bytes_of, is_count, is_digest, is_run, text_of

LARGEST: Final = 256 * 1024  # bytes of a signed checkpoint that is read
MOST_SIGNATURES: Final = 1000

_ORIGIN: Final = "wardround/"
_DASH: Final = "\u2014 "
_NOTE: Final = b"\x01"  # kinds of signature, in the number of a key
_COSIGNATURE: Final = b"\x04"
_LATEST: Final = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is signed.

    Attributes:
        origin: Which log: see `origin`.
        size: Number of lines, >= 0.
        root: Their Merkle root, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        """Refuse what has no text.

        Raises:
            UsageError: Naming the field.
        """
        plain = self.origin.isascii() and self.origin.isprintable() and not set(" +") & set(self.origin)
        if not (plain and self.origin.startswith(_ORIGIN)):
            raise UsageError(f"expected an origin that begins with {_ORIGIN}, found {self.origin!r:.80}")
        if not is_count(self.size) or len(self.root) != HASH_SIZE:
            raise UsageError(f"expected a size >= 0 and a root of {HASH_SIZE} bytes in a checkpoint")

    @property
    def text(self) -> bytes:
        """The three lines, each with its newline: what is signed."""
        return f"{self.origin}\n{self.size}\n{text_of(self.root)}\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line, verified or not.

    Attributes:
        name: Under which it was made: the origin, or the fingerprint of a cosigner.
        key: The 4 bytes that number the key.
        data: The signature; of a cosignature, the 8 bytes of its time come first.
    """

    name: str
    key: bytes
    data: bytes

    @property
    def line(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {text_of(self.key + self.data)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint and the signatures under it, verified or not.

    Attributes:
        checkpoint: What was signed.
        signatures: In the order of their lines.
    """

    checkpoint: Checkpoint
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The whole note."""
        return self.checkpoint.text + b"\n" + "".join(one.line for one in self.signatures).encode()

    def with_signatures(self, added: Iterable[NoteSignature]) -> "SignedCheckpoint":
        """The same with further lines. Of a key that is there already, the line that is there stays."""
        kept = {(one.name, one.key): one for one in self.signatures}
        for one in added:
            kept.setdefault((one.name, one.key), one)
        return SignedCheckpoint(checkpoint=self.checkpoint, signatures=tuple(kept.values()))


def origin(study: str, protocol_digest: str, run: str) -> str:
    """The name of a log: unlike that of any other study or run. A study that is run again has a log of its own.

    >>> origin("brca", "ab" * 32, "07" * 16).split("/")[::3]
    ['wardround', '07070707070707070707070707070707']

    Args:
        study: Name of the study.
        protocol_digest: SHA-256 of its protocol, 64 hexadecimal digits.
        run: Identifier of the run, drawn by the coordinator, 32 hexadecimal digits.

    Raises:
        UsageError: One of them is none.
    """
    if not (is_digest(protocol_digest) and is_run(run)):
        raise UsageError("expected the digest of a protocol and a run: 64 and 32 hexadecimal digits")
    return f"{_ORIGIN}{study}/{protocol_digest}/{run}"


def key_number(name: str, kind: bytes, key: PublicKey) -> bytes:
    """The 4 bytes that number a key under a name: the first of SHA-256(name, newline, kind, key)."""
    return hashlib.sha256(name.encode() + b"\n" + kind + key.raw).digest()[:4]


def sign(key: SigningKey, checkpoint: Checkpoint) -> SignedCheckpoint:
    """A checkpoint with the coordinator's signature."""
    name = checkpoint.origin
    data = key.sign_note(checkpoint.text)
    line = NoteSignature(name=name, key=key_number(name, _NOTE, key.public), data=data)
    return SignedCheckpoint(checkpoint=checkpoint, signatures=(line,))


def cosign(key: SigningKey, checkpoint: Checkpoint, *, time: datetime) -> NoteSignature:
    """A cosignature. Whoever makes one first verified that the log continues the last one that it cosigned.

    Args:
        key: The cosigner's.
        checkpoint: What it says.
        time: The cosigner's clock, with its zone.
    """
    name = key.public.fingerprint
    seconds = int(time.timestamp())
    data = key.sign_note(_cosigned(checkpoint, seconds))
    return NoteSignature(
        name=name, key=key_number(name, _COSIGNATURE, key.public), data=seconds.to_bytes(8, "big") + data
    )


def verify(
    signed: SignedCheckpoint,
    *,
    origin: str,
    coordinator: PublicKey,
    cosigners: Iterable[PublicKey] = (),
    quorum: int = 0,
) -> Mapping[str, datetime]:
    """Check a checkpoint. Lines of keys that are not asked for are ignored, as C2SP has it.

    Args:
        signed: The checkpoint.
        origin: Of the log that is meant.
        coordinator: Whose log it is.
        cosigners: Whose cosignatures count.
        quorum: How many of them must have cosigned.

    Returns:
        Fingerprint of each cosigner that cosigned -> when, by its own clock.

    Guarantees:
        Returns only if the coordinator signed exactly this origin, size and root, and so did each cosigner returned.

    Raises:
        TrustError: Another log's, not signed by the coordinator, a line of a known key does not verify or stands there
            twice, or too few cosigned.
    """
    checkpoint = signed.checkpoint
    if checkpoint.origin != origin:
        raise TrustError(f"expected a checkpoint of {origin}, found one of {checkpoint.origin!r:.120}")
    lines = _by_key(signed)
    mine = lines.get((origin, key_number(origin, _NOTE, coordinator)))
    if mine is None:
        raise TrustError(
            f"the coordinator (key {coordinator.short}) did not sign this checkpoint of {origin}"
        )
    coordinator.verify_note(checkpoint.text, mine.data)
    found = {
        key.fingerprint: verify_cosignature(line, checkpoint, key)
        for key in cosigners
        if (line := lines.get((key.fingerprint, key_number(key.fingerprint, _COSIGNATURE, key))))
    }
    if len(found) < quorum:
        raise TrustError(
            f"expected {quorum} cosignatures under the checkpoint of {checkpoint.size} lines, found {len(found)}",
            advice="without them the coordinator may show this log to you alone",
        )
    return MappingProxyType(found)


def verify_cosignature(line: NoteSignature, checkpoint: Checkpoint, key: PublicKey) -> datetime:
    """Check one cosignature.

    Returns:
        When it was made, by the cosigner's clock.

    Raises:
        TrustError: It is not this key's for this checkpoint.
    """
    number = key_number(key.fingerprint, _COSIGNATURE, key)
    if (line.name, line.key) != (key.fingerprint, number) or len(line.data) != 8 + 64:
        raise TrustError(f"expected a cosignature of key {key.short}, found another line")
    seconds = int.from_bytes(line.data[:8], "big")
    if seconds > _LATEST.timestamp():
        raise TrustError(f"the cosignature of key {key.short} has a time that cannot be meant")
    key.verify_note(_cosigned(checkpoint, seconds), line.data[8:])
    return datetime.fromtimestamp(seconds, UTC)


def parse(data: bytes, *, where: str = "the checkpoint") -> SignedCheckpoint:
    """Read a note back; only the one spelling that `encode` gives is accepted. Nothing is verified.

    Raises:
        TrustError: It is none, or too large.
    """
    if len(data) > LARGEST:
        raise TrustError(f"expected at most {LARGEST} bytes in {where}, found {len(data)}")
    try:
        first, size, root, blank, *rest, end = data.decode().split("\n")
    except ValueError:  # not UTF-8, or too few lines
        raise _malformed(where) from None
    lines = tuple(parse_line(line, where=where) for line in rest[: MOST_SIGNATURES + 1])
    digits = size.isascii() and size.isdecimal() and len(size) <= 18
    if blank or end or not digits or not 0 < len(lines) <= MOST_SIGNATURES:
        raise _malformed(where)
    try:
        checkpoint = Checkpoint(origin=first, size=int(size), root=bytes_of(root, where=where))
    except UsageError:
        raise _malformed(where) from None
    signed = SignedCheckpoint(checkpoint=checkpoint, signatures=lines)
    if signed.encode() != data:
        raise _malformed(where)
    return signed


def parse_line(line: str, *, where: str = "the signature line") -> NoteSignature:
    """Read one signature line, given without its newline. Nothing is verified.

    Raises:
        TrustError: It is none.
    """
    name, space, data = line.removeprefix(_DASH).partition(" ")
    plain = name.isprintable() and name.split() == [name] and "+" not in name
    if not (line.startswith(_DASH) and name and plain and space):
        raise _malformed(where)
    found = bytes_of(data, where=where)
    if len(found) <= 4:
        raise _malformed(where)
    return NoteSignature(name=name, key=found[:4], data=found[4:])


def _by_key(signed: SignedCheckpoint) -> dict[tuple[str, bytes], NoteSignature]:
    lines = {(one.name, one.key): one for one in signed.signatures}
    if len(lines) != len(signed.signatures):
        raise TrustError("expected one line per key under a checkpoint, found two of one key")
    return lines


def _cosigned(checkpoint: Checkpoint, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (seconds, checkpoint.text)


def _malformed(where: str) -> TrustError:
    return TrustError(
        f"expected a signed note with origin, size, root and signatures in {where}, found something else"
    )
