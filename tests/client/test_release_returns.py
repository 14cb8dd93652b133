"""A charge is returned only for what provably never left: not settled, and never to be settled any more."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.doors import MODEL, REPLY, STUDY, Site, price, release, steps
from tests.studies import RUN, joint_protocol, small_protocol

from wardround.client.release import ReleaseDoor
from wardround.common.errors import TrustError, WardroundError
from wardround.common.privacy.events import JointGaussianSteps, NonPrivate

JOINT = joint_protocol(rounds=4, attempts=2)
OPEN = small_protocol(rounds=4)
NEWER: dict[str, Callable[[ReleaseDoor], object]] = {
    "opened": lambda door: door.check_next(STUDY, 1, 2),
    "a later round": lambda door: door.check_next(STUDY, 3, 1),
    "charged": lambda door: door.charge(STUDY, 1, 2, MODEL, run=RUN),
    "closed": lambda door: door.close(STUDY),
    "begun anew": lambda door: door.reserve_anew(STUDY),
}


@pytest.mark.parametrize("newer", NEWER)
def test_an_attempt_that_never_left_costs_nothing_once_a_newer_one_begins(tmp_path: Path, newer: str) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        (site.outbox / f"{STUDY.digest[:16]}-1-1.reply").write_bytes(
            b"kept, and a crash before its settlement"
        )
    with site.open() as (door, ledger):
        assert steps(ledger.spent()) == 1
        NEWER[newer](door)
        assert site.kept() == {}
        assert steps(ledger.spent()) == (newer == "charged")
        with pytest.raises(WardroundError):
            door.let_go(STUDY, 1, 1, REPLY)
        if newer != "begun anew":  # there, round 1 begins once more
            with pytest.raises(WardroundError):
                door.charge(STUDY, 1, 1, MODEL, run=RUN)
        assert door.sent(STUDY, 1, 1) is None


@pytest.mark.parametrize("newer", NEWER)
def test_what_was_settled_stays_charged(tmp_path: Path, newer: str) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        release(door, 1, 1)
        NEWER[newer](door)
        assert steps(ledger.spent()) == 1 + (newer == "charged")


def test_the_same_attempt_goes_on_under_its_charge(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        door.check_next(STUDY, 1, 1)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        assert door.let_go(STUDY, 1, 1, REPLY) == REPLY
        assert steps(ledger.spent()) == 1


def test_an_older_attempt_returns_nothing(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        door.charge(STUDY, 2, 1, MODEL, run=RUN)
        with pytest.raises(TrustError):
            door.check_next(STUDY, 1, 2)
        with pytest.raises(TrustError):
            door.charge(STUDY, 1, 2, MODEL, run=RUN)
        assert door.let_go(STUDY, 2, 1, REPLY) == REPLY
        assert steps(ledger.spent()) == 1


def test_an_attempt_that_was_given_up_is_not_opened_again(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        door.check_next(STUDY, 1, 2)
        with pytest.raises(TrustError, match="over at this site"):
            door.check_next(STUDY, 1, 1)
        assert ledger.spent() == []


def test_a_coordinator_cannot_drain_a_budget_with_attempts_that_never_leave(tmp_path: Path) -> None:
    with Site(tmp_path, cap=price(8)).open() as (door, ledger):
        door.reserve(STUDY)
        for attempt in range(1, 20):  # 8 are reserved
            door.check_next(STUDY, 1, attempt)
            door.charge(STUDY, 1, attempt, MODEL, run=RUN)
        for round_ in range(2, 9):
            release(door, round_, 1)
        assert steps(ledger.spent()) == 7
        release(door, 9, 1)
        with pytest.raises(WardroundError, match="used up"):
            release(door, 10, 1)


def test_a_torn_line_stays_charged(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
    with (site.policy.ledger / "ledger.jsonl").open("ab") as file:
        file.write(b'{"kind":"settle","payload":{"att')
    with site.open() as (door, ledger):
        assert steps(ledger.spent()) == 2
        door.close(STUDY)
        assert steps(ledger.spent()) == 1


def test_a_return_survives_a_restart(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        door.check_next(STUDY, 1, 2)
    with site.open() as (door, ledger):
        assert ledger.spent() == []
        with pytest.raises(TrustError):
            door.let_go(STUDY, 1, 1, REPLY)


def test_joint_noise_is_returned_and_a_study_without_privacy_never(tmp_path: Path) -> None:
    with Site(tmp_path, cohort="synthetic").open() as (door, ledger):
        for protocol in (JOINT, OPEN):
            door.reserve(protocol)
            door.charge(protocol, 1, 1, MODEL, run=RUN)
            door.check_next(protocol, 1, 2)
            door.close(protocol)
        assert ledger.spent() == [NonPrivate()]
        assert not [event for event in ledger.exposure() if isinstance(event, JointGaussianSteps)]
