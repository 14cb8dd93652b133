"""A coordinator that keeps no rule, with its genuine key, in front of genuine sites that it can only reach over Flower.

What it asks travels as Flower messages through the real ClientApp; what a site wrote down, charged and kept is read
from the site's own folder.
"""

import contextlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from tests.rogues import QUICK, Change, Tampered
from tests.studies import RUN, WIDTH, joint_protocol, roster_of, small_federation

from wardround.client.app import client_app
from wardround.client.peers import FILE as PEERS
from wardround.client.peers import approve_peers, approved_peers
from wardround.client.site import REFUSALS
from wardround.common.flower.records import pack, unpack
from wardround.common.learning.exchange import DECLINED, TASK, refusal_reference
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.trust.envelope import Envelope, Header, open_envelope, seal
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.sumroster import AGREED, MASKED, OPEN, READY, ROSTER
from wardround.common.trust.sumwire import pack_messages
from wardround.server.app import server_app
from wardround.simulations.federation import (
    Federation,
    begin,
    by_name,
    coordinator_key,
    coordinator_of,
    opened,
)
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import Hospital

NAMES = ("east", "north", "south")
FOUR = (*NAMES, "west")


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """The coordinator's key and a line to every site.

    Attributes:
        made: The federation, whose sites approved the study.
        key: The coordinator's genuine key.
        roster: Everybody's public keys.
        grid: Flower's grid to all sites.
        nodes: Site -> its node.
    """

    made: Federation
    key: SigningKey
    roster: Roster
    grid: InlineGrid
    nodes: Mapping[str, int]

    @property
    def model(self) -> Parameters:
        return initial(self.made.protocol, WIDTH)

    def header(
        self,
        kind: str,
        receiver: str,
        *,
        round_: int = 1,
        attempt: int = 1,
        base: str = "",
        study: str = "",
        run: str = RUN,
    ) -> Header:
        return Header(
            kind=kind,
            study=study or self.made.protocol.study.name,
            protocol_digest=self.made.protocol.digest,
            run=run,
            round=round_,
            attempt=attempt,
            sender=self.roster.coordinator,
            receiver=receiver,
            base_model=base or parameters_digest(self.model),
        )

    def ask(self, site: str, kind: str, body: bytes = b"", **header: object) -> bytes:
        """Ask a site over Flower; its answer as it left the site, empty where it was Flower's own error."""
        fields = self.header(kind, site, **header)  # type: ignore[arg-type]
        message_type = "train" if kind == TASK else "query"
        message = Message(pack(seal(self.key, fields, body)), self.nodes[site], message_type)
        (reply,) = self.grid.send_and_receive([message])
        return b"" if reply.has_error() else unpack(reply.content)

    def read(self, reply: bytes) -> Envelope:
        return open_envelope(reply, self.roster, receiver=self.roster.coordinator)

    def open(self, sites: Iterable[str] = NAMES, **header: object) -> dict[str, bytes]:
        """Every site's `ready`."""
        return self._all(sites, OPEN, READY, b"", **header)

    def propose(self, sites: Iterable[str], readies: Collection[bytes], **header: object) -> dict[str, bytes]:
        """Every site's `agreed` to a roster."""
        return self._all(sites, ROSTER, AGREED, pack_messages(list(readies)), **header)

    def order(self, site: str, agreements: Collection[bytes], model: bytes = b"", **header: object) -> bytes:
        """What a site answers to the task."""
        body = pack_messages(list(agreements)) + (model or to_bytes(self.model))
        return self.ask(site, TASK, body, **header)

    def agreements(self, sites: Sequence[str] = NAMES, **header: object) -> dict[str, bytes]:
        """All that precedes an honest task."""
        return self.propose(sites, self.open(sites, **header).values(), **header)

    def _all(
        self, sites: Iterable[str], kind: str, answer: str, body: bytes, **header: object
    ) -> dict[str, bytes]:
        found = {site: self.ask(site, kind, body, **header) for site in sites}
        kinds = {site: self.read(reply).header.kind for site, reply in found.items()}
        assert set(kinds.values()) == {answer}, kinds
        return found


def joint_federation(root: Path, names: Sequence[str] = NAMES, **terms: object) -> Federation:
    """A federation under joint noise that has begun; honest = 2, so that every site asks for three members."""
    made = small_federation(root, joint_protocol(**terms), names=tuple(names))  # type: ignore[arg-type]
    made.folder.mkdir(parents=True, exist_ok=True)
    begin(made)
    return made


@contextlib.contextmanager
def facing(made: Federation) -> Iterator[Hostile]:
    """A hostile coordinator in front of the sites of a federation; entered again, it finds them restarted."""
    roster = roster_of(made)
    with opened(made) as premises:
        sites = {one.hospital.name: one.site(made.protocol, roster) for one in premises}
        nodes = {name: number for number, name in enumerate(sites, start=10)}
        grid = InlineGrid(client_app(by_name(sites)), sites)
        yield Hostile(made=made, key=coordinator_key(made.folder), roster=roster, grid=grid, nodes=nodes)


def drive(made: Federation, change: Change = lambda replies: replies) -> bytes:
    """Let the honest coordinator go on with a study whose replies pass through somebody's hands; its final model."""
    roster = roster_of(made)
    coordinator = coordinator_of(made, roster)
    with opened(made) as premises:
        sites = {one.hospital.name: one.site(made.protocol, roster) for one in premises}
        grid = Tampered(client_app(by_name(sites)), sites)
        grid.change = change
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
        server_app(coordinator, waiting=replace(QUICK, keys=0.1))(grid, context)
    return to_bytes(coordinator.study.model)


def home(made: Federation, site: str) -> Hospital:
    """A site's hospital."""
    (found,) = (hospital for hospital in made.hospitals if hospital.name == site)
    return found


def approve_only(made: Federation, site: str, peers: Collection[str]) -> None:
    """Let a site approve these peers and nobody else."""
    folder = home(made, site).folder
    before = approved_peers(folder)
    (folder / PEERS).unlink()
    approve_peers(folder, {name: before[name] for name in peers})


def book(made: Federation, site: str) -> tuple[Entry, ...]:
    """A site's ledger, as anybody who copies it reads it."""
    folder = home(made, site).folder
    key = SigningKey.load(folder / "identity.pem").public
    return read_ledger(folder / "ledger" / "ledger.jsonl", key)


def kinds(made: Federation, site: str) -> list[str]:
    """The kinds of a site's ledger entries after the reservation."""
    return [entry.kind for entry in book(made, site)][2:]


def kept(made: Federation, site: str) -> list[str]:
    """What stands in a site's outbox, by the ends of the names."""
    return sorted(path.name.partition("-")[2] or path.suffix for path in outbox(made, site).iterdir())


def outbox(made: Federation, site: str) -> Path:
    """A site's outbox."""
    return home(made, site).folder / "outbox"


def reason(made: Federation, site: str, reference: str) -> str:
    """What a site wrote down for itself under a reference."""
    lines = (home(made, site).folder / REFUSALS).read_text().splitlines()
    (found,) = (line["reason"] for line in map(json.loads, lines) if line["reference"] == reference)
    return str(found)


def declined(hostile: Hostile, site: str, reply: bytes) -> str:
    """The reason behind a refusal that told the coordinator nothing; the site charged and masked nothing."""
    envelope = hostile.read(reply)
    assert envelope.header.kind == DECLINED
    assert len(envelope.body) == len(b'{"code":"declined","reference":"12345678"}')
    assert kinds(hostile.made, site) == []
    assert not [name for name in kept(hostile.made, site) if name.endswith("reply")]
    return reason(hostile.made, site, refusal_reference(envelope.body))


def masked(hostile: Hostile, reply: bytes) -> Envelope:
    """A reply that is a masked upload."""
    envelope = hostile.read(reply)
    assert envelope.header.kind == MASKED, envelope.header.kind
    return envelope
