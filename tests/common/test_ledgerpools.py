"""Two pools of one site: what falls on a patient, whatever shares its studies hold out."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError, UsageError
from wardround.common.privacy.events import DpEvent, GaussianSteps
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import LEDGER, Ledger, read_ledger
from wardround.common.trust.ledgernames import Pool
from wardround.common.trust.ledgerpools import Charge, falling_on

EVENT = GaussianSteps(noise_multiplier=2.0, sample_rate=1.0, steps=1)
P, MODEL = "a" * 64, "b" * 64


def steps(events: list[DpEvent]) -> int:
    return sum(event.steps for event in events if isinstance(event, GaussianSteps))


def charge(pool: Pool, share: float, releases: int = 1) -> Charge:
    return Charge(pool=pool, share=share, event=EVENT, releases=releases)


CHARGES = st.lists(
    st.builds(
        charge,
        st.sampled_from(["training", "held-out"]),
        st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
        st.integers(0, 3),
    ),
    max_size=6,
)


@given(CHARGES)
def test_no_place_is_charged_more_than_its_pool_says(charges: list[Charge]) -> None:
    """By brute force over every place of a patient, and never more than all charges together."""
    total = sum(one.releases for one in charges)
    for place in np.linspace(0.0, 0.999, 200):
        trains = [one for one in charges if one.pool == "training" and place >= one.share]
        tests = [one for one in charges if one.pool == "held-out" and place < one.share]
        paid = sum(one.releases for one in (*trains, *tests))
        if any(one.releases for one in trains):
            assert paid <= steps(falling_on("training", charges)) <= total
        if any(one.releases for one in tests):
            assert paid <= steps(falling_on("held-out", charges)) <= total


def test_the_same_share_keeps_training_and_evaluation_apart() -> None:
    both = [charge("training", 0.25, 30), charge("held-out", 0.25, 2)]
    assert steps(falling_on("training", both)) == 30
    assert steps(falling_on("held-out", both)) == 2


def test_an_external_site_evaluates_on_everybody_who_ever_trained_there() -> None:
    both = [charge("training", 0.25, 30), charge("held-out", 1.0, 2)]
    assert steps(falling_on("training", both)) == steps(falling_on("held-out", both)) == 32


@pytest.fixture
def ledger(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Ledger.open(tmp_path / "ledger", SigningKey.generate(), tmp_path / "head.json") as opened:
        yield opened


def test_a_study_has_an_account_in_each_pool(ledger: Ledger) -> None:
    ledger.reserve("s", P, EVENT, 8, held_out=0.25)
    ledger.held_out.reserve("s", P, EVENT, 2, held_out=0.25)
    ledger.spend("s", P, 1, 1, MODEL)
    ledger.held_out.spend("s", P, 5, 1, MODEL)
    assert (steps(ledger.spent()), steps(ledger.exposure())) == (1, 8)
    assert (steps(ledger.held_out.spent()), steps(ledger.held_out.exposure())) == (1, 2)
    ledger.held_out.close_study("s", P)
    assert ledger.has_open("s", P)
    assert not ledger.held_out.has_open("s", P)
    assert steps(ledger.held_out.exposure()) == 1


def test_an_attempt_of_one_pool_is_none_of_the_other(ledger: Ledger) -> None:
    ledger.reserve("s", P, EVENT, 8)
    ledger.held_out.reserve("s", P, EVENT, 2, held_out=0.25)
    ledger.held_out.spend("s", P, 5, 1, MODEL)
    assert ledger.last("s", P) is None
    with pytest.raises(TrustError):
        ledger.settle("s", P, 5, 1, MODEL)


def test_the_pools_are_read_back(tmp_path: Path) -> None:
    key = SigningKey.generate()
    with Ledger.open(tmp_path / "ledger", key, tmp_path / "head.json") as ledger:
        ledger.reserve("s", P, EVENT, 8, held_out=0.25)
        ledger.held_out.reserve("s", P, EVENT, 2, held_out=0.25)
    assert len(read_ledger(tmp_path / "ledger" / LEDGER, key.public)) == 3
    with Ledger.open(tmp_path / "ledger", key, tmp_path / "head.json") as ledger:
        assert (steps(ledger.exposure()), steps(ledger.held_out.exposure())) == (8, 2)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_cannot_be_is_refused(ledger: Ledger, share: float) -> None:
    with pytest.raises(UsageError, match="held_out"):
        ledger.reserve("s", P, EVENT, 8, held_out=share)
