r"""What coordinator and site tell each other about a study's log: the checkpoint that is shown, and its cosignature.

A task of a private study, and the end of any, carries what C2SP calls an add-checkpoint request: the size that this
site cosigned last, the consistency proof from there, and the coordinator's signed checkpoint (see `checkpoint`). The
reply carries the size that was cosigned now and the cosignature; the answer to a roll call only the size, 0 if none:

    old 20                                          24
    base64 of a hash, one a line                    — 9f86d0... Y29zaWduYXR1cmU...

    wardround/brca/6f0c...e1/8a41...07
    24
    ...

Both stand in the header of an envelope, under its signature, and cost no exchange of their own.

Guarantees:
    A site cosigns only what continues the last checkpoint that it cosigned in this run of the study. A coordinator that
    forks, shortens or rewrites the log loses the site, which keeps the reason.

Source: C2SP tlog-witness, version 1.0.0 (add-checkpoint).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from wardround.common.errors import TrustError
from wardround.common.trust.checkpoint import (
    NoteSignature,
    SignedCheckpoint,
    cosign,
    parse,
    parse_line,
    verify,
)
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.merkle import EMPTY_ROOT, verify_consistency
from wardround.common.trust.signed import bytes_of, is_count, is_digest, text_of

MOST_HASHES: Final = 128  # of a proof; a log of 2^63 lines needs 126


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a site cosigned last of the log of a run.

    Attributes:
        size: Number of lines; 0 before the first.
        root: Their Merkle root, 32 bytes.
    """

    size: int
    root: bytes

    def to_dict(self) -> dict[str, object]:
        """The form that the site's ledger keeps."""
        return {"size": self.size, "root": self.root.hex()}

    @classmethod
    def from_dict(cls, found: object) -> "Seen":
        """Read `to_dict` back.

        Raises:
            TrustError: It is none.
        """
        match found:
            case {"size": size, "root": str(root), **rest} if is_count(size) and is_digest(root) and not rest:
                return cls(size=size, root=bytes.fromhex(root))
        raise TrustError("expected size and root of a log that was cosigned, found something else")


NOTHING: Final = Seen(size=0, root=EMPTY_ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A checkpoint as a coordinator shows it to one site. Nothing of it is verified.

    Attributes:
        old: The size from which the proof starts.
        proof: Hashes as `merkle.Tree.consistency` gives them.
        signed: The checkpoint.
    """

    old: int
    proof: tuple[bytes, ...]
    signed: SignedCheckpoint

    def encode(self) -> str:
        """The text of an envelope's `log`."""
        hashes = "".join(f"{text_of(one)}\n" for one in self.proof)
        return f"old {self.old}\n{hashes}\n{self.signed.encode().decode()}"


def read_shown(text: str) -> Shown:
    """Read `Shown.encode` back.

    Raises:
        TrustError: It is none.
    """
    where = "the checkpoint shown"
    head, blank, note = text.partition("\n\n")
    first, *hashes = head.split("\n")
    word, _, size = first.partition(" ")
    if word != "old" or not blank or len(hashes) > MOST_HASHES:
        raise TrustError(f"expected the size cosigned before, a proof and a checkpoint in {where}")
    return Shown(
        old=_size(size, where),
        proof=tuple(bytes_of(one, where=where) for one in hashes),
        signed=parse(note.encode(), where=where),
    )


def witnessed(
    key: SigningKey, text: str, *, seen: Seen, origin: str, coordinator: PublicKey, time: datetime
) -> tuple[Seen, str]:
    """Check the checkpoint that is shown, and cosign it.

    Args:
        key: The site's.
        text: As `Shown.encode` gave it.
        seen: What this site cosigned last in this run, or `NOTHING`.
        origin: Of the run's log.
        coordinator: The pinned coordinator.
        time: The site's clock.

    Returns:
        What the site has now cosigned, to be kept durably before the answer leaves, and the answer.

    Raises:
        TrustError: Another study's checkpoint, not the coordinator's, or the log does not continue `seen`.
    """
    shown = read_shown(text)
    verify(shown.signed, origin=origin, coordinator=coordinator)
    found = shown.signed.checkpoint
    if not found.size:
        raise TrustError("expected a log of at least one line in the checkpoint shown, found an empty one")
    proof = () if found.size == seen.size else shown.proof
    if found.size > seen.size and shown.old != seen.size:
        raise TrustError(
            f"expected a proof from the {seen.size} lines that this site cosigned, found one from {shown.old}",
            advice="nothing was cosigned; the coordinator learns the size at the next roll call",
        )
    verify_consistency(seen.size, seen.root, found.size, found.root, proof)
    return Seen(size=found.size, root=found.root), answer(found.size, cosign(key, found, time=time))


def answer(size: int, line: NoteSignature | None = None) -> str:
    """The text of a reply's `log`: the size cosigned last, and the cosignature where one was made now."""
    return f"{size}\n{line.line if line else ''}"


def read_answer(text: str) -> tuple[int, NoteSignature | None]:
    """Read `answer` back. Nothing is verified.

    Raises:
        TrustError: It is none.
    """
    where = "a site's answer about the log"
    match text.split("\n"):
        case [size, ""]:
            return _size(size, where), None
        case [size, line, ""]:
            return _size(size, where), parse_line(line, where=where)
    raise TrustError(f"expected a size and at most one signature line in {where}")


def show(old: int, proof: Sequence[bytes], signed: SignedCheckpoint) -> str:
    """`Shown.encode` of these."""
    return Shown(old=old, proof=tuple(proof), signed=signed).encode()


def _size(text: str, where: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and str(int(text)) == text):
        raise TrustError(f"expected a whole number of lines in {where}, found something else")
    return int(text)
