"""A site's folder with its release door, for tests: opened again and again, as after a restart."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.studies import RUN, hospital, private_protocol

from wardround.client.policy import CohortKind, SitePolicy
from wardround.client.release import ReleaseDoor
from wardround.common.formats import digest
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import DpEvent, GaussianSteps
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger

DELTA = 1e-5
STUDY = private_protocol(rounds=4, attempts=2)
MODEL = digest(b"base model")
REPLY = b"a signed reply"


class Site:
    """A site's folder; its door can be opened again and again, as after a restart."""

    def __init__(self, root: Path, *, cohort: CohortKind = "private", cap: float = 1e9) -> None:
        self.folder = hospital(root, "north", seed=1, cohort=cohort, epsilon_cap=cap).folder
        self.policy = SitePolicy.load(self.folder / "site.toml")
        self.outbox = self.folder / "outbox"
        self.outbox.mkdir()
        self.key = SigningKey.generate()

    @contextmanager
    def open(self) -> Iterator[tuple[ReleaseDoor, Ledger]]:
        with Ledger.open(self.policy.ledger, self.key, self.policy.head, pool=self.policy.pool) as ledger:
            yield ReleaseDoor(self.policy, ledger, self.outbox), ledger

    def kept(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.outbox.iterdir())}


def price(releases: int, protocol: StudyProtocol = STUDY) -> float:
    """Epsilon of some releases of the study."""
    event = protocol.event()
    assert isinstance(event, GaussianSteps)
    return epsilon([replace(event, steps=event.steps * releases)], DELTA)


def steps(events: list[DpEvent]) -> int:
    return sum(event.steps for event in events if isinstance(event, GaussianSteps))


def release(door: ReleaseDoor, round_: int, attempt: int, *, run: str = RUN) -> None:
    """One attempt, from its charge until its reply may leave."""
    door.charge(STUDY, round_, attempt, MODEL, run=run)
    door.let_go(STUDY, round_, attempt, REPLY)
