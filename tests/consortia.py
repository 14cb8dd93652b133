"""A coordinator and hospitals as they are in a deployment: folders, keys, invites, published studies. No network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import pandas as pd
from tests.hospital import FEATURES, RESPONSE, SOURCE, hospital, only
from tests.studies import RUN

from wardround.client.approving import Again, Approved, approve
from wardround.client.joining import join, make_request
from wardround.client.office import Office
from wardround.client.sitefile import FirstPolicy, create_site
from wardround.common.learning.exchange import NO_MODEL
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.bundle import read_bundle_file
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps
from wardround.common.study.terms import CohortTerms, FederationTerms, StudyTerms
from wardround.common.trust.envelope import Header, seal
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger
from wardround.server.enrolment import enrol
from wardround.server.publishing import publish
from wardround.server.serverfile import ServerFile, create_server

NOW = datetime.now(UTC)
NOISE = PrivacyTerms(mechanism="site-noise", noise_multiplier=20.0, reference_patients=60, source=SOURCE)
JOINT = replace(NOISE, mechanism="joint-noise", honest_sites=2)


def asked(name: str = "asked", *, privacy: PrivacyTerms = NOISE, **federation: object) -> StudyProtocol:
    """A small study over the columns of `tests.hospital`."""
    terms: dict[str, object] = {"rounds": 3, "attempts": 2, "learning_rate": 0.5, **federation}
    return StudyProtocol(
        study=StudyTerms(name=name, question="Who responds?", purpose="research on response"),
        outcome=RESPONSE,
        features=FEATURES,
        cohort=CohortTerms(patient_column="patient"),
        privacy=privacy,
        federation=FederationTerms(**terms),  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Consortium:
    """A coordinator's folder and those of its hospitals, each enrolled and joined."""

    root: Path
    names: tuple[str, ...] = ("north", "south", "west")
    tables: MappingProxyType[str, pd.DataFrame] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        server = ServerFile(folder=self.server, name="coordinator", host="127.0.0.1", port=8443)
        create_server(server, now=NOW)
        for number, name in enumerate(self.names):
            self.enter(name, self.tables.get(name, only(hospital(seed=number))))

    @property
    def server(self) -> Path:
        return self.root / "server"

    @property
    def key(self) -> SigningKey:
        return ServerFile.load(self.server).key()

    def site(self, name: str) -> Path:
        return self.root / name

    def office(self, name: str) -> Office:
        return Office.load(self.site(name))

    def enter(self, name: str, table: pd.DataFrame) -> None:
        """A hospital makes its folder, is enrolled, and joins."""
        home = self.site(name)
        home.mkdir()
        table.to_csv(home / "patients.csv", index=False)
        first = FirstPolicy(site=name, table=home / "patients.csv", epsilon_cap=8.0)
        create_site(home, first)
        self.edit(name, "# head = ", f'head = "{self.root}/heads/{name}.json" # ')
        request = make_request(home)
        key = SigningKey.load(home / "identity.pem").public
        invite = enrol(self.server, request, words=key.fingerprint).invite
        join(home, invite, words=self.key.public.fingerprint, now=NOW)

    def edit(self, name: str, old: str, new: str) -> None:
        """A person edits the hospital's policy."""
        policy = self.site(name) / "site.toml"
        text = policy.read_text(encoding="utf-8")
        assert text.count(old) == 1, text
        policy.write_text(text.replace(old, new), encoding="utf-8")

    def publish(self, protocol: StudyProtocol) -> Path:
        file = self.root / f"{protocol.study.name}.toml"
        file.write_text(dumps(protocol), encoding="utf-8")
        return publish(self.server, file)

    def bundle(self, protocol: StudyProtocol) -> bytes:
        return read_bundle_file(self.publish(protocol))

    def approve(self, name: str, protocol: StudyProtocol, *, again: Again = "once") -> Approved:
        return approve(self.site(name), self.bundle(protocol), again=again)

    @contextmanager
    def ledger(self, name: str) -> Iterator[Ledger]:
        with self.office(name).ledger(patience=0.0) as ledger:
            yield ledger

    def message(
        self, kind: str, protocol: StudyProtocol, receiver: str, body: bytes = b"", **fields: object
    ) -> bytes:
        """A message that the coordinator signed."""
        terms = {"run": RUN, "round": 0, "attempt": 0, "base_model": NO_MODEL, **fields}
        header = Header(
            kind=kind,
            study=protocol.study.name,
            protocol_digest=protocol.digest,
            sender="coordinator",
            receiver=receiver,
            **terms,  # type: ignore[arg-type]
        )
        return seal(self.key, header, body)

    def spend(self, name: str, protocol: StudyProtocol, times: int) -> None:
        """Some rounds of a study, as its messages would charge them."""
        office = self.office(name)
        with self.ledger(name) as ledger:
            door = office.door(ledger)
            for number in range(1, times + 1):
                door.charge(protocol, number, 1, NO_MODEL, run=RUN)
                door.let_go(protocol, number, 1, b"reply")

    def finish(self, name: str, protocol: StudyProtocol) -> None:
        """The end of a study, as its last message would close it."""
        with self.ledger(name) as ledger:
            self.office(name).door(ledger).close(protocol)

    def reserved(self, name: str) -> int:
        """Steps that count against the cap of a hospital."""
        with self.ledger(name) as ledger:
            return sum(getattr(event, "steps", 0) for event in ledger.exposure())
