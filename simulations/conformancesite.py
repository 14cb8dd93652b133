"""Hospitals with synthetic patients, entered exactly as a coordinator enters real ones: what `audit conform` looks at.

Folders, keys, invites, a published bundle and an approval, as in a deployment; then signed tasks. Every message is
answered by the production ClientApp and reception in a forked child of its own, as the executor's children do, so that
the approved patients, the ledger and the release door are those of a real study. Nothing tells the code that it is
looked at. This process never trains: it holds the coordinator's key, and in a secure sum the keys of the peers.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pandas as pd
from flwr.app import Message, RecordDict
from numpy.typing import NDArray

from wardround.client.app import client_app
from wardround.client.approving import approve
from wardround.client.joining import join, make_request
from wardround.client.peers import approve_peers
from wardround.client.reception import site_for
from wardround.client.refusals import REFUSALS
from wardround.common.errors import StudyError
from wardround.common.flower.records import pack, unpack
from wardround.common.learning.exchange import DECLINED, TASK
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.study.bundle import read_bundle_file
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps
from wardround.common.trust.envelope import Envelope, Header, open_envelope, seal
from wardround.common.trust.identity import PublicKey, Roster, SigningKey
from wardround.common.trust.join import open_request
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import OPEN, ROSTER, SumContext
from wardround.common.trust.sumwire import Masked, pack_messages, unpack_messages
from wardround.server.enrolment import enrol
from wardround.server.publishing import publish
from wardround.server.serverfile import ServerFile, create_server
from wardround.simulations.conformancechild import in_a_child
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import imagine

COORDINATOR: Final = "coordinator"
PEERS: Final = ("peer-1", "peer-2")
"""Members of a secure sum whose part the auditor plays, with the production session and a vector of zeros."""

RUN: Final = "0" * 32
ANOTHER_RUN: Final = "1" * 32

HEADS: Final = "heads"
_ALONE: Final = b"\x01"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One attempt at one round."""

    round: int
    attempt: int = 1


def rounds(last: int) -> list[Moment]:
    """The first attempts of rounds 1 to `last`."""
    return [Moment(round=number) for number in range(1, last + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What left a hospital for one message.

    Attributes:
        data: The envelope's bytes.
        envelope: The same, opened.
        alone: Whether the Flower message held this envelope and nothing else.
    """

    data: bytes = field(repr=False)
    envelope: Envelope = field(repr=False)
    alone: bool


class Grounds:
    """A coordinator, hospitals and peers below one folder.

    Args:
        root: A new or empty folder.
        tables: Hospital -> its patients, text cells.

    Attributes:
        refusals: What left as a refusal, with the hospital that sent it.
    """

    def __init__(self, root: Path, tables: Mapping[str, pd.DataFrame]) -> None:
        self._root = root
        self.refusals: list[tuple[str, Reply]] = []
        now = datetime.now(UTC)
        server = ServerFile(folder=root / COORDINATOR, name=COORDINATOR, host="127.0.0.1", port=8443)
        create_server(server, now=now)
        self.key = server.key()
        self._folders: dict[str, Path] = {}
        self._bundles: dict[str, bytes] = {}
        public: dict[str, PublicKey] = {}
        for name in (*tables, *PEERS):
            self._folders[name] = self._furnish(name, tables.get(name))
            request = make_request(self._folders[name])
            public[name] = open_request(request).key
            invite = enrol(server.folder, request, words=public[name].fingerprint).invite
            join(self._folders[name], invite, words=self.key.public.fingerprint, now=now)
        self.roster = Roster(coordinator=COORDINATOR, coordinator_key=self.key.public, sites=public)
        self._grids = {name: InlineGrid(client_app(site_for(self._folders[name])), [name]) for name in tables}
        for name in tables:
            approve_peers(self._folders[name], {peer: public[peer] for peer in PEERS})

    def _furnish(self, name: str, table: pd.DataFrame | None) -> Path:
        file = self._root / f"{name}.csv"
        if table is not None:
            table.to_csv(file, index=False, lineterminator="\n")
        folder = imagine(self._root, name, table=file, cohort="synthetic", delta=1e-5)
        folder.chmod(0o700)
        SigningKey.generate().save(folder / "identity.pem")
        return folder

    def admit(self, protocol: StudyProtocol, *sites: str) -> None:
        """Publish a study if it is new, and let hospitals approve it."""
        if protocol.digest not in self._bundles:
            file = self._root / f"{protocol.study.name}.toml"
            file.write_text(dumps(protocol), encoding="utf-8")
            self._bundles[protocol.digest] = read_bundle_file(publish(self._root / COORDINATOR, file))
        bundle = self._bundles[protocol.digest]
        for site in sites:
            # Parsing a table trains nothing, but it may start threads, which a forked child would inherit.
            in_a_child(partial(_approved, self._folders[site], bundle))

    def book(self, site: str) -> tuple[Entry, ...]:
        """A hospital's ledger, as anybody who copies it reads it."""
        return read_ledger(self._folders[site] / "ledger" / "ledger.jsonl", self.roster.sites[site])

    def ask(
        self,
        site: str,
        protocol: StudyProtocol,
        kind: str,
        body: bytes,
        *,
        base: str,
        moments: Sequence[Moment],
        run: str = RUN,
    ) -> list[Reply]:
        """Send a signed message for each of some attempts; what comes back, opened.

        One child answers them all, one after the other.

        Raises:
            StudyError: The hospital declined or failed; its own reason is in the message.
        """
        sealed = [
            seal(self.key, self._header(site, protocol, kind, base=base, moment=moment, run=run), body)
            for moment in moments
        ]
        found, _ = unpack_messages(in_a_child(lambda: self._answered(site, sealed, kind)))
        return [self._opened(site, kind, reply) for reply in found]

    def updates(
        self, site: str, protocol: StudyProtocol, base: Parameters, moments: Sequence[Moment]
    ) -> list[Reply]:
        """Some attempts under site-noise, each from the same base."""
        digest = parameters_digest(base)
        return self.ask(site, protocol, TASK, to_bytes(base), base=digest, moments=moments)

    def restored(self, site: str, work: Callable[[], T]) -> T:
        """Do some work, then put everything the hospital has on disk back as it was: a restored machine image."""
        folders = (self._folders[site], self._root / HEADS)
        with tempfile.TemporaryDirectory(dir=self._root) as kept:
            for folder in folders:
                shutil.copytree(folder, Path(kept) / folder.name)
            result = work()
            for folder in folders:
                shutil.rmtree(folder)
                shutil.copytree(Path(kept) / folder.name, folder)
        return result

    def share(
        self, site: str, protocol: StudyProtocol, base: Parameters, moment: Moment, *, length: int
    ) -> tuple[list[Reply], NDArray[np.uint32]]:
        """One attempt under joint noise.

        Returns:
            What the hospital sent, `ready`, `agreed` and `masked`, and its own summand (length,): the peers, who are
            the auditor's, add zeros.
        """
        model, digest = to_bytes(base), parameters_digest(base)
        sessions = [
            self.peer(name, site, protocol, digest, moment, key=self.peer_key(name)) for name in PEERS
        ]
        ask = partial(self.ask, site, protocol, base=digest, moments=[moment])
        (ready,) = ask(OPEN, b"")
        readies = [ready.data, *(session.ready for session in sessions)]
        (agreed,) = ask(ROSTER, pack_messages(readies))
        agreements = [agreed.data, *(session.agree(readies) for session in sessions)]
        (reply,) = ask(TASK, pack_messages(agreements) + model)
        total = Masked.unpack(reply.envelope.body, length).values.copy()
        for session in sessions:
            session.confirm(agreements)
            total += session.mask(np.zeros(length, np.uint32))
        return [ready, agreed, reply], total

    def folder(self, site: str) -> Path:
        """Of a hospital: the auditor owns all of them."""
        return self._folders[site]

    def peer_key(self, name: str) -> SigningKey:
        """The identity of a party, whose part the auditor plays or whose signatures the auditor repeats."""
        return SigningKey.load(self._folders[name] / "identity.pem")

    def peer(
        self,
        name: str,
        site: str,
        protocol: StudyProtocol,
        base: str,
        moment: Moment,
        *,
        key: SigningKey,
        run: str = RUN,
    ) -> SumSession:
        """A fresh session of a member that the auditor plays, honest where `name` and `key` belong together."""
        context = SumContext(
            study=protocol.study.name,
            protocol_digest=protocol.digest,
            run=run,
            round=moment.round,
            attempt=moment.attempt,
            base_model=base,
            coordinator=COORDINATOR,
        )
        members = {member: self.roster.sites[member] for member in (site, *PEERS)}
        return SumSession.open(key, name, context, approved={**members, name: key.public}, least=len(members))

    def _header(
        self, site: str, protocol: StudyProtocol, kind: str, *, base: str, moment: Moment, run: str
    ) -> Header:
        return Header(
            kind=kind,
            study=protocol.study.name,
            protocol_digest=protocol.digest,
            run=run,
            round=moment.round,
            attempt=moment.attempt,
            sender=COORDINATOR,
            receiver=site,
            base_model=base,
        )

    def _answered(self, site: str, sealed: Sequence[bytes], kind: str) -> bytes:
        """In a child: each reply behind a byte that says whether it held one envelope and nothing else."""
        grid, message_type = self._grids[site], "train" if kind == TASK else "query"
        (node,) = grid.get_node_ids()
        asked = [Message(pack(data), node, message_type) for data in sealed]
        replies = list(grid.send_and_receive(asked))
        return pack_messages([b"" if reply.has_error() else _told(reply.content) for reply in replies])

    def _opened(self, site: str, kind: str, reply: bytes) -> Reply:
        """Refuses a refusal, which is kept."""
        data = reply[len(_ALONE) :]
        envelope = open_envelope(data, self.roster, sender=site, receiver=COORDINATOR) if data else None
        if envelope is None or envelope.header.kind == DECLINED:
            if envelope is not None:
                alone = reply.startswith(_ALONE)
                self.refusals.append((site, Reply(data=data, envelope=envelope, alone=alone)))
            raise StudyError(f"the hospital {site!r} gave no answer to {kind!r}: {self._reason(site)}")
        return Reply(data=data, envelope=envelope, alone=reply.startswith(_ALONE))

    def _reason(self, site: str) -> str:
        file = self._folders[site] / REFUSALS
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return lines[-1][:600] if lines else "no reason was written down"


def _told(content: RecordDict) -> bytes:
    found = unpack(content)
    return (_ALONE if content == pack(found) else b"\x00") + found


def _approved(folder: Path, bundle: bytes) -> bytes:
    approve(folder, bundle)
    return b""
