"""The test of carriers keeps its level, finds what is there, and is not misled by hospitals that differ."""

from itertools import permutations

import numpy as np
import pytest
from sksurv.nonparametric import nelson_aalen_estimator
from tests.runs import open_run, survival_run

from wardround.common.study.outcomes import Targets
from wardround.simulations.carriers import LEVEL, HeldOut, holm, martingale_residuals, permutation_tests
from wardround.simulations.results import Results


def sample(n: int, rng: np.random.Generator, *, effect: float, sites: int = 3, inputs: int = 4) -> HeldOut:
    """Binary outcomes that follow the first of some contributions, or none with effect 0."""
    contributions = rng.normal(size=(n, 1, inputs))
    happened = rng.random(n) < 1 / (1 + np.exp(-effect * contributions[:, 0, 0]))
    return HeldOut(
        names=tuple(f"x{number}" for number in range(inputs)),
        contributions=contributions,
        outcome=happened[:, None].astype(float),
        hospital=np.arange(n) % sites,
    )


def test_p_is_the_share_of_all_orders_that_do_as_well() -> None:
    rng = np.random.default_rng(1)
    made = sample(6, rng, effect=0, sites=1, inputs=1)
    made = HeldOut(
        names=made.names,
        contributions=made.contributions,
        outcome=rng.normal(size=(6, 1)),
        hospital=made.hospital,
    )
    values, outcome = made.contributions[:, 0, 0], made.outcome[:, 0]
    orders = np.array(list(permutations(range(6))))
    exact = np.mean(outcome[orders] @ values >= outcome @ values - 1e-12)
    (row,) = permutation_tests(made, rng)
    assert row.p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / row.permutations) + 1e-3)


def test_without_an_effect_a_twentieth_of_p_values_is_below_a_twentieth() -> None:
    rng = np.random.default_rng(2)
    below = [
        row.p <= 0.05
        for _ in range(250)
        for row in permutation_tests(sample(60, rng, effect=0, inputs=1), rng)
    ]
    assert 3 <= sum(below) <= 26  # binomial(250, .05): beyond these once in ten thousand


def test_an_effect_is_found_and_only_that() -> None:
    rng = np.random.default_rng(3)
    first, *others = permutation_tests(sample(300, rng, effect=1.0), rng)
    assert first.feature == "x0"
    assert first.significant
    assert first.statistic > 4
    assert not any(row.significant for row in others)


def test_a_contribution_of_the_wrong_sign_carries_nothing() -> None:
    rng = np.random.default_rng(4)
    assert not any(row.significant for row in permutation_tests(sample(300, rng, effect=-2.0, inputs=1), rng))


def test_hospitals_that_differ_in_inputs_and_outcomes_alike_do_not_make_a_carrier() -> None:
    rng = np.random.default_rng(5)
    hospital = np.repeat([0, 1], 200)
    made = HeldOut(
        names=("x",),
        contributions=(rng.normal(size=400) + 5 * hospital)[:, None, None],
        outcome=(rng.random(400) < np.where(hospital, 0.9, 0.1)).astype(float)[:, None],
        hospital=hospital,
    )
    (row,) = permutation_tests(made, rng)
    assert row.p > LEVEL


def test_an_input_that_the_model_ignores_is_not_tested() -> None:
    rng = np.random.default_rng(6)
    made = sample(50, rng, effect=0)
    made.contributions[:, :, 2] = 1.5
    assert "x2" not in {row.feature for row in permutation_tests(made, rng)}


def test_holm_is_that_of_a_textbook() -> None:
    assert holm(np.array([0.01, 0.02, 0.03, 0.04])).tolist() == pytest.approx([0.04, 0.06, 0.06, 0.06])


def test_martingale_residuals_use_the_nelson_aalen_estimate() -> None:
    rng = np.random.default_rng(7)
    time, event = rng.integers(1, 9, 40).astype(float), rng.random(40) < 0.6
    at, hazard = nelson_aalen_estimator(event, time)
    expected = event - hazard[np.searchsorted(at, time)]
    found = martingale_residuals(Targets(value=time, event=event))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert found.sum() == pytest.approx(0, abs=1e-9)


def test_a_run_tests_its_inputs_on_held_out_patients_only() -> None:
    for run in (open_run(), survival_run()):
        results = Results.load(run / "results.json")
        held_out = sum(row.held_out for row in results.cohorts)
        assert {row.patients for row in results.carriers} == {held_out}
        assert {row.feature for row in results.carriers} == {"age", "sex", "gene0", "gene1", "gene2"}
        assert results.carriers[0].feature in ("age", "gene0")  # what the outcome was made from
