"""The theorem on integer noise: its lemmas on exact small laws, its constants, and two independent oracles."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from wardround.common.privacy.accounting import epsilon, gaussian_epsilon
from wardround.common.privacy.events import JointGaussianSteps
from wardround.common.privacy.excess import (
    LOG_RATIO,
    ROUNDING_VARIANCE,
    Excess,
    gaussian_variance,
    noise_ratio,
)
from wardround.common.privacy.integernoise import TOTAL_VARIATION, WIDENINGS, WIDTH, share_variance, table

Law = NDArray[np.float64]  # probabilities of the integers -n .. n


def poisson(t: Decimal) -> Decimal:
    """e(t) of the module: twice the sum of exp(-2 pi^2 t^2 j^2)."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    return 2 * sum(((-2 * (pi * t * j) ** 2).exp() for j in range(1, 6)), Decimal(0))


def log_factor(t: Decimal) -> Decimal:
    return ((1 + poisson(t)) / (1 - poisson(t))).ln()


def discrete(variance: float, n: int) -> Law:
    """The discrete Gaussian by its definition."""
    weights: Law = np.exp(-(np.arange(-n, n + 1) ** 2) / (2 * variance))
    law: Law = weights / weights.sum()
    return law


def share(width: int, bits: int, k: int) -> Law:
    """The exact law of x1 + k x2 of a small table."""
    half = 1 << (bits - 1)
    weights = np.array([float(Fraction(w, 1 << 208)) for w in table(width, bits).weights()])
    fine = np.append(weights, 0.0)  # symmetric: -half .. half
    coarse = np.zeros(2 * half * k + 1)
    coarse[::k] = fine
    return np.convolve(fine, coarse)


def delta_at(eps: float, mu: float) -> float:
    return float(norm.cdf(mu / 2 - eps / mu) - math.exp(eps) * norm.cdf(-mu / 2 - eps / mu))


def hockey_stick(eps: float, laws: list[Law], shifts: list[int]) -> float:
    """delta of adding `shifts` to independent integer noise, one law per coordinate, by summing over everything."""
    here = there = np.ones(())
    for law, shift in zip(laws, shifts, strict=True):
        here = np.multiply.outer(here, np.append(law, np.zeros(shift)))
        there = np.multiply.outer(there, np.append(np.zeros(shift), law))
    return float(np.maximum(here - math.exp(eps) * there, 0).sum())


# Lemma 1


@pytest.mark.parametrize(("width", "bits", "k"), [(4, 7, 1), (4, 7, 2), (2, 6, 1), (8, 8, 4), (3, 7, 2)])
def test_a_widened_draw_is_the_wider_discrete_gaussian_within_the_lemmas_factor(
    width: int, bits: int, k: int
) -> None:
    law = share(width, bits, k)
    n = len(law) // 2
    wide = discrete(width**2 * (1 + k * k), n)
    middle = slice(n - 6 * width * k, n + 6 * width * k + 1)
    ratio = np.log(law[middle] / wide[middle])
    bound = float(log_factor(Decimal(width) / Decimal(1 + k * k).sqrt()))
    assert np.abs(ratio).max() <= bound + 1e-11


def test_too_wide_a_widening_shows_steps_as_large_as_the_lemma_says() -> None:
    law = share(4, 7, 6)
    n = len(law) // 2
    middle = slice(n - 40, n + 41)
    ratio = np.log(law[middle] / discrete(16 * 37, n)[middle])
    t = 4 / math.sqrt(37)
    found, bound = np.abs(ratio).max(), float(log_factor(Decimal(t)))
    assert 0.4 * bound < found <= bound


# Lemma 2


def test_integer_noise_is_a_gaussian_mechanism_and_then_rounding_at_random() -> None:
    variance, r = 6.0, 0.5  # so narrow a rounding that its trace can be seen
    points = np.arange(-40, 41)
    y = np.linspace(-40, 40, 80_001)
    gaussian = np.exp(-(y**2) / (2 * (variance - r * r)))
    rounding = np.exp(-((points[:, None] - y) ** 2) / (2 * r * r))
    law = (rounding / rounding.sum(axis=0) * gaussian).sum(axis=1)
    ratio = np.log(law / law.sum() / discrete(variance, 40))[20:61]
    bound = float(((1 + poisson(Decimal(6).sqrt())) / (1 - poisson(Decimal("0.5")))).ln())
    assert 1e-5 < np.abs(ratio).max() < bound < 0.015


# Constants


@pytest.mark.parametrize("widening", WIDENINGS)
@pytest.mark.parametrize("shares", [1, 2, 5, 100])
def test_the_ratio_of_one_coordinate_is_below_its_constant(widening: int, shares: int) -> None:
    with localcontext() as context:
        context.prec = 80
        sums = 2 * (shares - 1) * poisson(Decimal(WIDTH) / Decimal(2).sqrt())
        widened = log_factor((Decimal(shares) * WIDTH**2 / (1 + widening**2)).sqrt())
        rounded = 3 * poisson(Decimal(ROUNDING_VARIANCE).sqrt())
        total = 4 * sums + widened + rounded
    assert total < Decimal(LOG_RATIO)
    assert total > Decimal(LOG_RATIO) / 4 or widening < 512 or shares > 1


@given(shares=st.integers(1, 300), honest=st.integers(1, 300), widening=st.sampled_from(WIDENINGS))
def test_the_noise_ratio_is_a_lower_bound_whatever_the_grid(shares: int, honest: int, widening: int) -> None:
    exact = math.sqrt(Fraction(gaussian_variance(shares, widening), gaussian_variance(honest, widening)))
    assert exact * (1 - 2**-17) <= noise_ratio(shares, honest) <= exact * (1 + 1e-15)
    assert noise_ratio(honest, honest) == 1


# What is claimed


CLAIMS = [(0.0, 5), (0.3, 5), (1.0, 5), (1.0, 20), (3.0, 20), (6.0, 30)]


@pytest.mark.parametrize(("eps", "shift"), CLAIMS)
def test_brute_force_in_one_dimension_stays_below_the_claim_and_close_to_it(eps: float, shift: int) -> None:
    law = np.convolve(share(4, 7, 2), share(4, 7, 2))  # two sites
    found = hockey_stick(eps, [law], [shift])
    claimed = delta_at(eps, shift / math.sqrt(160 - ROUNDING_VARIANCE))
    assert found <= claimed * (1 + 1e-9) + 1e-14
    assert found >= 0.7 * delta_at(eps, shift / math.sqrt(160))
    # The same check refuses a claim that rests on a tenth more noise than there is.
    assert found > delta_at(eps, shift / math.sqrt(1.1 * 160))


@pytest.mark.parametrize("shifts", [[3, 4], [5, 0], [8, 15], [1, 1]])
@pytest.mark.parametrize("eps", [0.1, 1.0])
def test_brute_force_in_two_dimensions_stays_below_the_claim(eps: float, shifts: list[int]) -> None:
    law = np.convolve(share(4, 7, 2), share(4, 7, 2))
    law = law[len(law) // 2 - 120 : len(law) // 2 + 121]  # 9.5 standard deviations
    mu = math.hypot(*shifts) / math.sqrt(160 - ROUNDING_VARIANCE)
    found = hockey_stick(eps, [law, law], shifts)
    assert found <= delta_at(eps, mu) * (1 + 1e-9) + 1e-14
    assert found >= 0.5 * delta_at(eps, math.hypot(*shifts) / math.sqrt(160)) - 1e-14


@pytest.mark.parametrize(
    ("sensitivity", "steps", "honest"), [(700, 1, 1), (300, 30, 4), (100, 60, 2), (450, 10, 9)]
)
def test_the_claim_agrees_with_dp_accounting_on_the_discrete_gaussian(
    sensitivity: int, steps: int, honest: int
) -> None:
    deviation = math.sqrt(honest * share_variance(1))
    noise = math.sqrt(gaussian_variance(honest, 1)) / sensitivity
    event = JointGaussianSteps(noise_multiplier=noise, honest=honest, coordinates=1, steps=steps)
    claimed = epsilon([event], 1e-5)
    above, below = (
        pld.from_discrete_gaussian_mechanism(
            deviation,
            sensitivity,
            value_discretization_interval=1e-3,
            pessimistic_estimate=pessimistic,
        )
        .self_compose(steps)
        .get_epsilon_for_delta(1e-5)
        for pessimistic in (True, False)
    )
    assert below - 1e-6 <= claimed <= above + 2e-4
    assert above - below < 0.1


def test_the_excess_is_added_to_epsilon_and_taken_from_delta() -> None:
    none = Excess(values=0, draws=0)
    assert none.gaussian_delta(1e-5) == 1e-5
    assert none.claim(100.0, 1e-5) == 100.0
    huge = Excess(values=2**112, draws=0)  # u = 2: no study, but the formula shows
    assert huge.claim(1.0, 1e-5) == 5.0
    assert huge.gaussian_delta(1e-5) == pytest.approx(1e-5 * math.exp(-2))


@pytest.mark.parametrize("draws", [2**20, 2**40, 2**60, 2**80])
def test_a_claim_whose_total_variation_does_not_fit_into_delta_is_infinite(draws: int) -> None:
    excess = Excess(values=1, draws=draws)
    spared = 1e-5 * 2.0**-30
    limit = math.log(spared / (draws * TOTAL_VARIATION) - 1)
    assert excess.claim(limit - 1e-6, 1e-5) == pytest.approx(limit, abs=1e-5)
    assert excess.claim(limit + 1e-6, 1e-5) == math.inf
    assert excess.claim(1e6, 1e-5) == math.inf


def test_what_delta_is_left_and_spared_never_exceeds_delta() -> None:
    for values, draws in pairwise([0, 1, 2**30, 2**60, 2**100]):
        excess = Excess(values=values, draws=draws)
        for eps in (0.0, 1.0, 10.0, 40.0):
            claimed = excess.claim(eps, 1e-5)
            if math.isfinite(claimed):
                variation = (1 + math.exp(claimed)) * draws * TOTAL_VARIATION
                gaussian = math.exp(excess.log_ratio) * excess.gaussian_delta(1e-5)
                assert gaussian + variation <= 1e-5 * (1 + 1e-12)


def test_a_study_of_any_size_pays_nothing_visible_for_its_integers() -> None:
    wide = JointGaussianSteps(noise_multiplier=30.0, honest=9, coordinates=3_000_000, steps=1000)
    exact = gaussian_epsilon(math.sqrt(1000) / 30, 1e-5)
    assert exact <= epsilon([wide], 1e-5) <= exact + 1.01e-4
