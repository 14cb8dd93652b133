"""A site whose trainer counts, and what a coordinator may send it: for tests of its state machine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.studies import RUN, WIDTH, hospital, keys_and_roster, private_protocol

from wardround.client.policy import SitePolicy
from wardround.client.release import ReleaseDoor
from wardround.client.site import REFUSALS, Site
from wardround.common.learning.exchange import (
    DECLINED,
    TASK,
    refusal_reference,
)
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.privacy.events import GaussianSteps
from wardround.common.trust.envelope import Envelope, Header, open_envelope, seal
from wardround.common.trust.ledger import Ledger

STUDY = private_protocol(rounds=2, attempts=2)
KEYS, ROSTER = keys_and_roster("north", "south")
BASE = initial(STUDY, WIDTH)
BASE_DIGEST = parameters_digest(BASE)


class Counting:
    """A trainer that counts its rounds: the update is the number of the call; it can be told to fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails: BaseException | None = None

    def like(self) -> Parameters:
        return BASE

    def train(self, base: Parameters, round_: int) -> Parameters:
        self.calls += 1
        if self.fails is not None:
            raise self.fails
        return {name: np.full_like(array, self.calls) for name, array in base.items()}

    def share(self, base: Parameters, round_: int, *, sites: int) -> NDArray[np.uint32]:
        self.calls += 1
        return np.full(sum(array.size for array in base.values()), self.calls, np.uint32)


class Ward:
    """A site that can be opened again and again, and what it wrote."""

    def __init__(self, root: Path) -> None:
        self.folder = hospital(root, "north", seed=1).folder
        self.policy = SitePolicy.load(self.folder / "site.toml")
        (self.folder / "outbox").mkdir()
        self.trainer = Counting()

    @contextmanager
    def open(self, *, approved: bool = True) -> Iterator[Site]:
        with Ledger.open(
            self.policy.ledger, KEYS["north"], self.policy.head, pool=self.policy.pool
        ) as ledger:
            self.ledger = ledger
            door = ReleaseDoor(self.policy, ledger, self.folder / "outbox")
            if approved:
                door.reserve(STUDY)
            yield Site(
                self.folder,
                name="north",
                key=KEYS["north"],
                roster=ROSTER,
                protocol=STUDY,
                door=door,
                trainer=self.trainer,
            )

    def charges(self) -> int:
        return sum(event.steps for event in self.ledger.spent() if isinstance(event, GaussianSteps))

    def reasons(self) -> list[dict[str, object]]:
        path = self.folder / REFUSALS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def message(
    kind: str = TASK, body: bytes | None = None, signer: str = "coordinator", **changed: object
) -> bytes:
    """A task of round 1 for `north`, signed by the coordinator, unless something else is said."""
    fields = Header(
        kind=TASK,
        study=STUDY.study.name,
        protocol_digest=STUDY.digest,
        run=RUN,
        round=1,
        attempt=1,
        sender="coordinator",
        receiver="north",
        base_model=BASE_DIGEST,
    )
    header = replace(fields, kind=kind, **changed)  # type: ignore[arg-type]
    return seal(KEYS[signer], header, to_bytes(BASE) if body is None else body)


def opened(reply: bytes, kind: str) -> Envelope:
    """A reply of `north` to the coordinator, of the kind that is expected."""
    return open_envelope(reply, ROSTER, sender="north", receiver="coordinator", kind=kind)


def declined(ward: Ward, reply: bytes) -> str:
    """The site's own reason for a refusal."""
    reference = refusal_reference(opened(reply, DECLINED).body)
    (found,) = (line for line in ward.reasons() if line["reference"] == reference)
    return str(found["reason"])
