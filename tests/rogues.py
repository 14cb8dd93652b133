"""Studies over real sites and a real grid on which some replies are not what they should be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from flwr.app import Context, Message, RecordDict
from numpy.typing import NDArray
from tests.studies import roster_of, small_federation, small_protocol

from wardround.client.app import client_app
from wardround.client.site import Site
from wardround.common.flower.records import pack, unpack
from wardround.common.learning.exchange import pack_update, unpack_update
from wardround.common.learning.parameters import to_bytes
from wardround.common.privacy.events import GaussianSteps
from wardround.common.trust.envelope import open_envelope, seal
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.studylog import read_log
from wardround.server.app import server_app
from wardround.server.coordinator import LOG
from wardround.server.waiting import Waiting
from wardround.simulations.federation import Federation, begin, by_name, opened
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import Premises

NAMES = ("east", "north", "south")
HOSTILE = 12  # the node of `south`
QUICK = Waiting(replies=0.1, sites=5.0, pause=0.01)
PROTOCOL = small_protocol(quorum=1, batch_size=5, local_steps=3)

Replies = list[Message]
Change = Callable[[Replies], Replies]
Strangers = Callable[[Sequence[Premises], Roster], Mapping[str, Site]]
Update = dict[str, NDArray[np.float32]]


class Tampered(InlineGrid):
    """A grid whose replies pass through somebody's hands."""

    change: Change

    def pull_messages(self, message_ids: Iterable[str]) -> Replies:
        return self.change(list(super().pull_messages(message_ids)))


def federation(root: Path, names: tuple[str, ...] = NAMES) -> Federation:
    made = small_federation(root, PROTOCOL, names=names)
    made.folder.mkdir(parents=True, exist_ok=True)
    return made


def play(
    made: Federation,
    change: Change = lambda replies: replies,
    *,
    strangers: Strangers = lambda premises, roster: {},
    absent: str = "",
    waiting: Waiting = QUICK,
) -> bytes:
    """Run a study over real sites; its final model in bytes."""
    coordinator, roster = begin(made)
    with opened(made) as premises:
        sites = dict(strangers(premises, roster))
        sites |= {one.hospital.name: one.site(made.protocol, roster) for one in premises}
        sites.pop(absent, None)
        grid = Tampered(client_app(by_name(sites)), sites)
        grid.change = change
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
        server_app(coordinator, waiting=waiting)(grid, context)
    return to_bytes(coordinator.study.progress.parameters)


def said_of_south(made: Federation) -> list[object]:
    """What the log says of `south`, attempt by attempt."""
    found: list[object] = []
    for entry in read_log(made.folder / LOG, roster_of(made)):
        match entry.data:
            case {"sites": {"south": dict(said)}} if entry.kind in ("round", "void"):
                found.append(said)
    return found


def silent(node: int) -> Change:
    """A node that is on the list and never answers."""
    return lambda replies: [reply for reply in replies if reply.metadata.src_node_id != node]


@dataclass
class Rogue:
    """`south` as an attacker: it holds its own genuine key, and sees the replies of the others."""

    key: SigningKey
    roster: Roster
    seen: Replies = field(default_factory=list)

    def sealed(self, honest: Message, *, body: bytes | None = None, **header: object) -> Message:
        """The honest reply with another body or header, properly signed."""
        envelope = open_envelope(unpack(honest.content), self.roster)
        fields = replace(envelope.header, **header)  # type: ignore[arg-type]
        return carrying(honest, pack(seal(self.key, fields, envelope.body if body is None else body)))

    def changed(self, honest: Message, change: Callable[[Update], object]) -> Message:
        """The honest reply with other numbers, properly signed."""
        receipt, found = unpack_update(open_envelope(unpack(honest.content), self.roster).body)
        update = {name: array.copy() for name, array in found.items()}
        change(update)
        return self.sealed(honest, body=pack_update(receipt, update))

    def cheap(self, honest: Message) -> Message:
        """The honest reply with a receipt for less."""
        receipt, update = unpack_update(open_envelope(unpack(honest.content), self.roster).body)
        event = GaussianSteps(noise_multiplier=99.0, sample_rate=1.0, steps=1)
        return self.sealed(honest, body=pack_update(replace(receipt, event=event), update))


Attack = Callable[[Rogue, Message], Replies]


def attacked(made: Federation, attack: Attack) -> Change:
    """Every training reply of `south` goes through the attack."""
    (south,) = (hospital for hospital in made.hospitals if hospital.name == "south")
    rogue: list[Rogue] = []  # the roster is known once the federation has begun

    def change(replies: Replies) -> Replies:
        if not rogue:
            rogue.append(Rogue(key=south.office().key, roster=roster_of(made)))
        passed: Replies = []
        # A grid gives replies in no order; the attacker acts after it has seen the others'.
        for reply in sorted(replies, key=lambda reply: reply.metadata.src_node_id):
            training = reply.metadata.message_type == "train"
            hostile = training and reply.metadata.src_node_id == HOSTILE
            passed.extend(attack(rogue[0], reply) if hostile else [reply])
            if training:
                rogue[0].seen.append(reply)
        return passed

    return change


def carrying(reply: Message, content: RecordDict) -> Message:
    """The reply with another content."""
    reply.content = content
    return reply
