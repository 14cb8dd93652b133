"""Somebody who tampers with what `south` sends in a study under joint noise, and what the log says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from flwr.app import Message
from tests.jointrogues import NAMES, home
from tests.rogues import Replies, carrying
from tests.studies import roster_of

from wardround.common.flower.records import pack, unpack
from wardround.common.trust.envelope import Envelope, open_envelope, seal
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.studylog import read_log
from wardround.common.trust.sumroster import MASKED
from wardround.server.coordinator import LOG
from wardround.simulations.federation import Federation

EAST, NORTH, SOUTH = NAMES

Forge = Callable[["Liar", Message, Envelope], Replies]


@dataclass
class Liar:
    """Somebody between `south` and the coordinator: `south` itself with its key, or whoever carries its messages."""

    made: Federation
    kind: str
    forge: Forge
    attempts: int = 99
    roster: Roster = field(init=False)
    key: SigningKey = field(init=False)
    seen: dict[tuple[str, int], bytes] = field(default_factory=dict)
    left: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.roster, self.key = roster_of(self.made), home(self.made, SOUTH).office().key

    def __call__(self, replies: Replies) -> Replies:
        return [passed for reply in replies for passed in self._passed(reply)]

    def _passed(self, reply: Message) -> Replies:
        data = unpack(reply.content)
        envelope = open_envelope(data, self.roster)
        header = envelope.header
        if header.kind == MASKED:
            self.left[header.sender] = data
        hit = header.sender == SOUTH and header.kind == self.kind and self.attempts > 0
        self.attempts -= hit
        passed = self.forge(self, reply, envelope) if hit else [reply]
        self.seen[header.sender + " " + header.kind, header.attempt] = data
        return passed

    def signed(self, reply: Message, envelope: Envelope, body: bytes, **header: object) -> Replies:
        """The reply with another body or header, signed by `south`."""
        fields = replace(envelope.header, **header)  # type: ignore[arg-type]
        return [carrying(reply, pack(seal(self.key, fields, body)))]


def swapped(body: bytes, at: int) -> bytes:
    """The bytes with one of them changed."""
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def log_of(made: Federation) -> list[tuple[str, Mapping[str, object]]]:
    """Kind and content of what the coordinator wrote down of attempts."""
    entries = read_log(made.folder / LOG, roster_of(made))
    return [(entry.kind, entry.data) for entry in entries if entry.kind in ("round", "void")]


def said(data: Mapping[str, object], site: str) -> Mapping[str, object]:
    match data["sites"]:
        case {**sites}:
            found = sites[site]
            assert isinstance(found, dict)
            return found
    raise AssertionError(data)


def lost(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return []


def in_anothers_name(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return [carrying(reply, pack(liar.seen[f"{NORTH} {liar.kind}", envelope.header.attempt]))]


def broken(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    data = unpack(reply.content)
    return [carrying(reply, pack(swapped(data, len(data) - 1)))]


def junk(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return [carrying(reply, pack(b"\x00" * 400))]
