"""Claims: known numbers, an independent accountant, safe rounding, and what has no guarantee."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.stats import norm

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.accounting import Relation, epsilon, gaussian_epsilon, second_opinion
from wardround.common.privacy.calibration import noise_multiplier_for
from wardround.common.privacy.events import DpEvent, GaussianSteps, NonPrivate


def steps(z: float, q: float = 1.0, n: int = 1) -> GaussianSteps:
    return GaussianSteps(noise_multiplier=z, sample_rate=q, steps=n)


def delta_at(eps: float, mu: float) -> float:
    """Balle and Wang (2018), theorem 8, written with scipy's own normal distribution."""
    return float(norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu))


# Fifty settings between a pilot at one small hospital and a long study, epsilon up to 20.
SAMPLED = [
    (z, q, n)
    for q, z, n in [
        *((0.01, z, n) for z in (0.7, 1.0, 2.0) for n in (100, 3000)),
        *((0.0625, z, n) for z in (1.0, 1.5, 4.0) for n in (50, 1000)),
        *((0.25, z, n) for z in (2.0, 5.0, 15.0) for n in (20, 150)),
        *((0.5, z, n) for z in (3.0, 8.0, 30.0) for n in (10, 100)),
        *((0.9, z, n) for z in (5.0, 20.0) for n in (5, 60)),
    ]
]
FULL = [(z, 1.0, n) for z in (1.5, 4.0, 10.0, 25.0) for n in (1, 5, 15)] + [
    (0.6, 1.0, 1),
    (60.0, 1.0, 30),
    (60.0, 1.0, 3000),
    (4.25, 1.0, 100),
    (13.9, 1.0, 100),
    (37.3, 1.0, 100),
    (2.68, 1.0, 20),
    (6.22, 1.0, 20),
    (16.7, 1.0, 20),
    (1000.0, 1.0, 100),
]
DELTAS = (1e-5, 1e-6, 1e-3)


@pytest.mark.parametrize(
    ("z", "q", "n", "delta"),
    [(*setting, DELTAS[i % 3]) for i, setting in enumerate(SAMPLED + FULL)],
)
def test_a_claim_agrees_with_an_independent_accountant(z: float, q: float, n: int, delta: float) -> None:
    claimed = epsilon([steps(z, q, n)], delta)
    recomputed = second_opinion([steps(z, q, n)], delta)
    assert recomputed <= 20
    assert recomputed - 1e-5 <= claimed <= recomputed + 0.02


def test_there_are_at_least_fifty_settings() -> None:
    assert len(SAMPLED + FULL) >= 50


@pytest.mark.parametrize(
    ("mu", "delta", "expected"),
    [(0.2681, 1e-5, 1.0), (0.7191, 1e-5, 3.0), (1.6660, 1e-5, 8.0), (1.0, 1e-5, 4.3772)],
)
def test_one_gaussian_costs_what_the_closed_form_says(mu: float, delta: float, expected: float) -> None:
    assert gaussian_epsilon(mu, delta) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("mu", [1e-3, 0.05, 0.3, 1.0, 4.0, 8.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-9])
def test_the_closed_form_stands_just_on_the_safe_side(mu: float, delta: float) -> None:
    found = gaussian_epsilon(mu, delta)
    assert delta_at(found, mu) <= delta * (1 + 1e-6)
    if found:
        assert delta_at(found - 1e-4, mu) > delta


@pytest.mark.parametrize("mu", [1e-6, 40.0, 500.0])
def test_the_closed_form_is_stable_far_from_ordinary_noise(mu: float) -> None:
    found = gaussian_epsilon(mu, 1e-5)
    assert 0 <= found <= mu * mu / 2 + mu * math.sqrt(2 * math.log(1e5))
    if mu > 1:
        assert found > mu * mu / 2


def test_full_batch_steps_add_up_as_one_gaussian() -> None:
    parts: list[DpEvent] = [steps(5.0, n=10), steps(8.0, n=3), steps(5.0, n=6)]
    whole = [steps(1 / math.sqrt(16 / 25 + 3 / 64))]
    assert epsilon(parts, 1e-5) == epsilon(whole, 1e-5)


@pytest.mark.parametrize(("one", "two"), [(1.0, 2.15), (3.0, 6.71), (8.0, 19.1)])
def test_replacing_a_patient_doubles_mu_at_full_batch(one: float, two: float) -> None:
    z = noise_multiplier_for(epsilon=one, delta=1e-5, sample_rate=1.0, steps=30)
    replaced = epsilon([steps(z, n=30)], 1e-5, "replace-one")
    assert replaced == pytest.approx(two, rel=5e-3)
    assert replaced == epsilon([steps(z / 2, n=30)], 1e-5)
    assert replaced == pytest.approx(second_opinion([steps(z, n=30)], 1e-5, "replace-one"), abs=2e-4)


def test_replacing_a_patient_costs_more_than_adding_one_under_sampling() -> None:
    events = [steps(3.0, 0.25, 50)]
    added, replaced = epsilon(events, 1e-5), epsilon(events, 1e-5, "replace-one")
    assert added < replaced < epsilon([steps(3.0, 1.0, 50)], 1e-5, "replace-one")


def test_full_batch_and_sampled_studies_of_one_pool_are_composed_together() -> None:
    mixed: list[DpEvent] = [steps(3.0, 0.25, 50), steps(8.0)]
    claimed, recomputed = epsilon(mixed, 1e-5), second_opinion(mixed, 1e-5)
    assert recomputed - 1e-5 <= claimed <= recomputed + 0.02
    assert max(epsilon(mixed[:1], 1e-5), epsilon(mixed[1:], 1e-5)) < claimed


def test_order_and_grouping_of_events_do_not_matter() -> None:
    a, b = steps(3.0, 0.25, 20), steps(2.0, 0.1, 30)
    split = [steps(3.0, 0.25, 15), b, steps(3.0, 0.25, 5)]
    assert epsilon([a, b], 1e-5) == epsilon([b, a], 1e-5) == epsilon(split, 1e-5)


def test_nothing_released_costs_nothing_and_no_guarantee_costs_infinity() -> None:
    assert epsilon([], 1e-5) == 0.0
    assert second_opinion([], 1e-5) == 0.0
    assert epsilon([steps(10.0), NonPrivate()], 1e-5) == math.inf
    assert second_opinion([NonPrivate(), steps(10.0)], 1e-5) == math.inf


def test_claims_are_rounded_up_at_four_decimals() -> None:
    for z in np.linspace(1.0, 9.0, 40):
        exact, claimed = gaussian_epsilon(1 / float(z), 1e-5), epsilon([steps(float(z))], 1e-5)
        assert 0 <= claimed - exact < 1.0001e-4
        assert round(claimed, 4) == claimed


def test_hopeless_noise_gives_a_finite_upper_bound_in_seconds() -> None:
    begin = time.perf_counter()
    events = [steps(0.6, 0.3, 1000)]
    claimed = epsilon(events, 1e-5)
    assert 304.4 < claimed < 400
    assert time.perf_counter() - begin < 20


def test_many_different_noises_still_get_an_upper_bound() -> None:
    events = [steps(2.0 + k / 10, 0.1, 5) for k in range(20)]
    claimed, recomputed = epsilon(events, 1e-5), second_opinion(events, 1e-5)
    assert recomputed <= claimed <= 1.3 * recomputed


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_a_delta_that_is_no_probability_is_refused(delta: float) -> None:
    with pytest.raises(UsageError, match="delta"):
        epsilon([steps(1.0)], delta)


def test_an_unknown_relation_is_refused() -> None:
    unknown: Relation = "edit-one"  # type: ignore[assignment]
    with pytest.raises(UsageError, match="relation"):
        epsilon([steps(1.0)], 1e-5, unknown)


@pytest.mark.parametrize(
    ("wanted", "q", "n"), [(1.0, 1.0, 20), (3.0, 1.0, 50), (8.0, 1.0, 100), (3.0, 0.25, 50)]
)
def test_calibrated_noise_is_the_least_that_keeps_the_claim(wanted: float, q: float, n: int) -> None:
    z = noise_multiplier_for(epsilon=wanted, delta=1e-5, sample_rate=q, steps=n)
    assert round(z, 3) == z
    assert epsilon([steps(z, q, n)], 1e-5) <= wanted < epsilon([steps(round(z - 0.001, 3), q, n)], 1e-5)


@pytest.mark.parametrize(
    ("wanted", "n", "published"),
    [(1.0, 20, 16.7), (3.0, 20, 6.22), (8.0, 20, 2.68), (1.0, 100, 37.3), (3.0, 100, 13.9), (8.0, 100, 6.0)],
)
def test_calibrated_noise_matches_the_known_table(wanted: float, n: int, published: float) -> None:
    z = noise_multiplier_for(epsilon=wanted, delta=1e-5, sample_rate=1.0, steps=n)
    assert z == pytest.approx(published, rel=5e-3)


def test_noise_that_no_accountant_can_confirm_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no noise multiplier"):
        noise_multiplier_for(epsilon=0.009, delta=1e-3, sample_rate=0.5, steps=1)


def test_a_full_batch_claim_takes_less_than_a_millisecond_and_needs_no_torch() -> None:
    code = """
import sys, time
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import GaussianSteps
times = []
for k in range(50):
    begin = time.perf_counter()
    epsilon([GaussianSteps(noise_multiplier=5.0 + k, sample_rate=1.0, steps=30)], 1e-5)
    times.append(time.perf_counter() - begin)
heavy = [name for name in ("torch", "opacus", "dp_accounting") if name in sys.modules]
print(min(times) < 1e-3, heavy)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True []"
