"""The stated and the spent epsilon of FLamby's private runs."""

import pytest
from opacus.accountants import RDPAccountant

from wardround.simulations.published_privacy import spent


@pytest.mark.parametrize(
    ("patients", "expected"), [(199, 1.49), (172, 1.63), (30, 4.52), (85, 2.43)], ids=lambda value: str(value)
)
def test_each_hospital_spent_more_than_the_published_epsilon_of_one(patients: int, expected: float) -> None:
    found = spent(patients, stated=1.0, delta=1e-3)
    assert found.stated == 1.0
    assert found.spent == pytest.approx(expected, abs=0.02)


def test_an_independent_accountant_confirms_it_within_its_looser_bound() -> None:
    found = spent(30, stated=1.0, delta=1e-3)
    other = RDPAccountant()
    other.history = [(found.noise_multiplier, 1 / found.batches, 1500)]
    # Renyi accounting is an upper bound, here some percent above the numerical one.
    assert found.spent <= other.get_epsilon(1e-3) <= 1.25 * found.spent


def test_a_cohort_for_which_the_calibration_counted_right_spends_what_was_stated() -> None:
    # 400 patients are 100 batches: 15 passes are the 1,500 steps that were run.
    assert spent(400, stated=1.0, delta=1e-3).spent == pytest.approx(1.0, abs=0.005)
