r"""A signed, addressed message: what every task and every reply travels in.

The transport is not believed. Bytes on the wire:

    header (one canonical JSON line) \n  signature (64 bytes)  body (the rest)

The signature covers the header for the envelope domain (see `signed`); the header carries the SHA-256 of the
body. So every byte is bound to study, protocol, round, attempt, sender, receiver and base model. Replays are
refused by the receiver, who alone knows what came before: at a site, by its ledger.

Assumes that the roster's keys were compared by people.
"""

from dataclasses import dataclass
from typing import Protocol

from wardround.common.errors import TrustError, UsageError, WardroundError
from wardround.common.formats import canonical, digest, header
from wardround.common.trust.identity import PublicKey, SigningKey, check_name
from wardround.common.trust.signed import ENVELOPE_DOMAIN, exact_keys, is_count, is_digest, parse

FORMAT = "wardround-envelope"
VERSION = 1
LONGEST_HEADER = 8192  # bytes
SIGNATURE_SIZE = 64  # bytes
_REMEMBERED = 1 << 12, 1 << 22  # bytes; a shorter body is hashed as fast, longer ones would fill memory

KINDS = (
    *("roll-call", "present", "task", "update", "declined", "finish", "finished"),
    *("open", "ready", "roster", "agreed", "masked"),  # of a secure sum: docs/secure-sum.md
)


class KeyRing(Protocol):
    """Public keys that somebody trusts, by name; a `Roster` is one."""

    def key(self, name: str) -> PublicKey:
        """The key of a party.

        Raises:
            TrustError: Nobody of that name is trusted.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a message is bound to.

    Attributes:
        kind: One of `KINDS`.
        study: Name of the study.
        protocol_digest: SHA-256 of the protocol in hexadecimal.
        round: >= 0.
        attempt: >= 0, counted within the round.
        sender, receiver: Names in the roster; a roll call is addressed to nobody in particular.
        base_model: SHA-256 of the model that the message starts from; any fixed digest if none.
    """

    kind: str
    study: str
    protocol_digest: str
    round: int
    attempt: int
    sender: str
    receiver: str
    base_model: str

    def __post_init__(self) -> None:
        """Refuse values that no envelope can carry.

        Raises:
            UsageError: A field has the wrong type or range.
        """
        for name in (self.study, self.sender, self.receiver):
            check_name(name)
        if self.kind not in KINDS:
            raise UsageError(f"expected kind to be one of {', '.join(KINDS)}; found {self.kind!r:.80}")
        if not (is_count(self.round) and is_count(self.attempt)):
            raise UsageError("expected round and attempt to be whole numbers >= 0")
        if not (is_digest(self.protocol_digest) and is_digest(self.base_model)):
            raise UsageError("expected protocol_digest and base_model to be SHA-256 in hexadecimal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An opened message: its header is proven, its body is exactly what the sender sealed."""

    header: Header
    body: bytes
    body_digest: str


class _RecentBodies:
    """The last two bodies with their SHA-256.

    Within one process a task goes to every site and a reply is opened where it was sealed. Whether a body is one
    of the two is decided by comparing all of its bytes, so the result is the same as without a memory.
    """

    def __init__(self) -> None:
        self._known: tuple[tuple[bytes, str], ...] = ()

    def __call__(self, data: bytes, start: int = 0) -> tuple[bytes, str]:
        """What stands in `data` from `start` on, as the object that was seen before if there was one; its digest."""
        size = len(data) - start
        same = (one for one in self._known if len(one[0]) == size and data.endswith(one[0]))
        found = next(same, None) or (body := data[start:], digest(body))
        if _REMEMBERED[0] <= size <= _REMEMBERED[1]:
            self._known = (found, *(one for one in self._known if one is not found))[:2]
        return found


_recent = _RecentBodies()

_KEYS = frozenset(Header.__dataclass_fields__)
_WIRE_KEYS = _KEYS | {"format", "version", "body_digest"}


def seal(key: SigningKey, fields: Header, body: bytes, *, body_digest: str = "") -> bytes:
    """Sign a message.

    Args:
        key: The sender's key.
        fields: What the message is bound to.
        body: Any bytes.
        body_digest: SHA-256 of the body where the caller has it already; a wrong one is refused by every receiver.

    Returns:
        The bytes on the wire; the same arguments give the same bytes (Ed25519 is deterministic).
    """
    line = canonical(
        {
            **header(FORMAT, VERSION),
            **{name: getattr(fields, name) for name in _KEYS},
            "body_digest": body_digest or _recent(body)[1],
        }
    )
    return line + b"\n" + key.sign(ENVELOPE_DOMAIN, line) + body


def open_envelope(data: bytes, roster: KeyRing, **expected: str | int) -> Envelope:
    """Check a message and open it.

    Args:
        data: The bytes on the wire, from anybody.
        roster: The pinned keys.
        **expected: Fields of `Header` with the value each must have, e.g. `receiver="charite", round=3`.

    Guarantees:
        Returns only if the sender named in the header is in the roster and signed exactly these bytes, and
        every expected field is equal. Says nothing about replays: those are the caller's to refuse.

    Raises:
        TrustError: Anything else; a field that differs is named with the expected and the found value.
        UsageError: `expected` names something that is not a field of `Header`.
    """
    if unknown := expected.keys() - _KEYS:
        raise UsageError(f"an envelope has no field {min(unknown)!r}")
    line, signature, start = _split(data)
    wire = parse(line, where="an envelope's header")
    sender = wire.get("sender")
    if not isinstance(sender, str):
        raise TrustError("expected the name of a sender in an envelope's header")
    roster.key(sender).verify(ENVELOPE_DOMAIN, line, signature)
    found = _header(wire)
    body, body_digest = _recent(data, start)
    if wire["body_digest"] != body_digest:
        raise TrustError("expected the body that was sealed, found other bytes (body_digest differs)")
    for name, value in expected.items():
        _require(name, value, getattr(found, name))
    return Envelope(header=found, body=body, body_digest=body_digest)


def claimed_digest(data: bytes) -> str:
    """The protocol digest that a message's header claims. Nothing is verified.

    For a receiver that takes part in several studies: it says which pinned roster to verify the message with, and
    nothing else may follow from it.

    Returns:
        64 hexadecimal digits, safe as a file's name.

    Raises:
        TrustError: The bytes are no envelope.
    """
    line, _, _ = _split(data)
    claimed = parse(line, where="an envelope's header").get("protocol_digest")
    if not (isinstance(claimed, str) and is_digest(claimed)):
        raise TrustError("expected a protocol digest in an envelope's header")
    return claimed


def _split(data: bytes) -> tuple[bytes, bytes, int]:
    end = data.find(b"\n", 0, LONGEST_HEADER + 1)
    if end < 0:
        raise TrustError(f"expected an envelope whose header ends within {LONGEST_HEADER} bytes")
    if len(data) < end + 1 + SIGNATURE_SIZE:
        raise TrustError(f"expected {SIGNATURE_SIZE} bytes of signature, the envelope is cut short")
    start = end + 1 + SIGNATURE_SIZE
    return data[:end], data[end + 1 : start], start


def _header(wire: dict[str, object]) -> Header:
    _require("format", FORMAT, wire.get("format"))
    version = wire.get("version")
    if version != VERSION or type(version) is not int:
        raise TrustError(
            f"expected envelope version {VERSION}, found {version!r:.80}",
            advice="all parties of a study install the same release",
        )
    exact_keys(wire, _WIRE_KEYS, where="an envelope's header")
    try:
        return Header(**{name: wire[name] for name in _KEYS})  # type: ignore[arg-type]  # checked by Header
    except WardroundError as error:
        raise TrustError(f"an envelope's header is not acceptable: {error}") from None


def _require(name: str, expected: object, found: object) -> None:
    if expected != found or type(expected) is not type(found):
        raise TrustError(
            f"expected {name} {expected!r:.80} in an envelope, found {found!r:.80}",
            advice="the message was meant for another study, round or party; it was ignored",
        )
