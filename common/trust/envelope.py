r"""A signed, addressed message: what every task and every reply travels in.

The transport is not believed. Bytes on the wire:

    header (one canonical JSON line) \n  signature (64 bytes)  body (the rest)

The signature covers the header for the envelope domain (see `signed`); the header carries the SHA-256 of the
body. So every byte is bound to study, protocol, run, round, attempt, sender, receiver and base model. Replays within
a run are refused by the receiver, who alone knows what came before: at a site, by its ledger.

Header and signature without the body are the message's head: whoever keeps only that can still show who sealed a body
of which digest, with which receipt.

Assumes that the roster's keys were compared by people.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final, Protocol

from wardround.common.errors import TrustError, UsageError, WardroundError
from wardround.common.formats import canonical, header
from wardround.common.trust.identity import PublicKey, SigningKey, check_name
from wardround.common.trust.recentbodies import RecentBodies
from wardround.common.trust.signed import ENVELOPE_DOMAIN, exact_keys, is_count, is_digest, is_run, parse

FORMAT = "wardround-envelope"
VERSION = 1
LONGEST_HEADER = 8192  # bytes
SIGNATURE_SIZE = 64  # bytes

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


def new_run() -> str:
    """An identifier that no other run has: 128 fresh random bits in hexadecimal."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a message is bound to.

    Attributes:
        kind: One of `KINDS`.
        study: Name of the study.
        protocol_digest: SHA-256 of the protocol in hexadecimal.
        run: Which run of the study, `new_run()` of its coordinator: the same protocol may be run again.
        round: >= 0.
        attempt: >= 0, counted within the round.
        sender, receiver: Names in the roster; a roll call is addressed to nobody in particular.
        base_model: SHA-256 of the model that the message starts from; any fixed digest if none.
        receipt: SHA-256 of the receipt in the body; empty, and not on the wire, if there is none.
        log: What the parties tell each other about the study's log (see `witness`); empty, and not on the wire, if
            nothing.
    """

    kind: str
    study: str
    protocol_digest: str
    run: str
    round: int
    attempt: int
    sender: str
    receiver: str
    base_model: str
    receipt: str = ""
    log: str = ""

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
        if not is_run(self.run):
            raise UsageError("expected run to be 128 bits in hexadecimal")
        if not (is_digest(self.receipt) or self.receipt == ""):
            raise UsageError("expected receipt to be SHA-256 in hexadecimal, or nothing")
        if not isinstance(self.log, str):
            raise UsageError("expected log to be text")

    @property
    def on_wire(self) -> dict[str, object]:
        """What is signed. A field that version 1 gained later is left out at its default."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value or name not in _OPTIONAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An opened message: its header is proven, its body is exactly what the sender sealed."""

    header: Header
    body: bytes
    body_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A message's proven header, and the SHA-256 of the body that was sealed under it."""

    header: Header
    body_digest: str


_recent: Final = RecentBodies()

_OPTIONAL: Final = frozenset({"receipt", "log"})
_KEYS: Final = frozenset(Header.__dataclass_fields__)
_WIRE_KEYS: Final = (_KEYS - _OPTIONAL) | {"format", "version", "body_digest"}


def seal(key: SigningKey, about: Header, body: bytes, *, body_digest: str = "") -> bytes:
    """Sign a message.

    Args:
        key: The sender's key.
        about: What the message is bound to.
        body: Any bytes.
        body_digest: SHA-256 of the body where the caller has it already; a wrong one is refused by every receiver.

    Returns:
        The bytes on the wire; the same arguments give the same bytes (Ed25519 is deterministic).

    Raises:
        UsageError: The header would be longer than any receiver reads.
    """
    line = canonical(
        {**header(FORMAT, VERSION), **about.on_wire, "body_digest": body_digest or _recent(body)[1]}
    )
    if len(line) > LONGEST_HEADER:
        raise UsageError(f"expected a header of at most {LONGEST_HEADER} bytes, found {len(line)}")
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
    start, head = _opened_head(data, roster)
    body, body_digest = _recent(data, start)
    if head.body_digest != body_digest:
        raise TrustError("expected the body that was sealed, found other bytes (body_digest differs)")
    _check(head.header, expected)
    return Envelope(header=head.header, body=body, body_digest=body_digest)


def head_of(data: bytes) -> bytes:
    """A message without its body: the header line, its newline and the signature, verbatim. Nothing is verified.

    Raises:
        TrustError: The bytes are no envelope.
    """
    _, _, start = _split(data)
    return data[:start]


def open_head(data: bytes, roster: KeyRing, **expected: str | int) -> Head:
    """Check the head of a message whose body is elsewhere, as `open_envelope` checks the whole.

    Guarantees:
        Returns only if the sender named in the header is in the roster, sealed a body of `body_digest` under
        exactly this header, and every expected field is equal.

    Raises:
        TrustError: Anything else, or bytes after the signature.
        UsageError: `expected` names something that is not a field of `Header`.
    """
    start, head = _opened_head(data, roster)
    if len(data) != start:
        raise TrustError("expected the head of an envelope, found bytes after it")
    _check(head.header, expected)
    return head


def _opened_head(data: bytes, roster: KeyRing) -> tuple[int, Head]:
    """Where the body begins, and the head, proven."""
    line, signature, start = _split(data)
    wire = parse(line, where="an envelope's header")
    sender = wire.get("sender")
    if not isinstance(sender, str):
        raise TrustError("expected the name of a sender in an envelope's header")
    roster.key(sender).verify(ENVELOPE_DOMAIN, line, signature)
    found = _header(wire)
    if not is_digest(wire["body_digest"]):
        raise TrustError("expected the SHA-256 of a body in an envelope's header")
    return start, Head(header=found, body_digest=str(wire["body_digest"]))


def _check(found: Header, expected: Mapping[str, str | int]) -> None:
    if unknown := expected.keys() - _KEYS:
        raise UsageError(f"an envelope has no field {min(unknown)!r}")
    for name, value in expected.items():
        _require(name, value, getattr(found, name))


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
    optional = _OPTIONAL & wire.keys()
    exact_keys(wire, _WIRE_KEYS | optional, where="an envelope's header")
    if not all(wire[name] for name in optional):  # one spelling of one header
        raise TrustError("expected no empty field in an envelope's header, found one")
    try:
        return Header(**{name: wire[name] for name in _KEYS & wire.keys()})  # type: ignore[arg-type]  # checked there
    except WardroundError as error:
        raise TrustError(f"an envelope's header is not acceptable: {error}") from None


def _require(name: str, expected: object, found: object) -> None:
    if expected != found or type(expected) is not type(found):
        raise TrustError(
            f"expected {name} {expected!r:.80} in an envelope, found {found!r:.80}",
            advice="the message was meant for another study, round or party; it was ignored",
        )
