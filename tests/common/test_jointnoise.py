"""A site's share and what the opened sum means: one grid for all, from public terms alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from wardround.common.errors import PrivacyError
from wardround.common.privacy.jointnoise import grid_of, noisy_share, opened_sum
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.trust.masking import ring_sum

TERMS = PrivacyTerms(mechanism="joint-noise", noise_multiplier=4.0, honest_sites=3)
SIZE = 4000


def share(total: float, *, sites: int = 5) -> NDArray[np.uint32]:
    with SecureRandom() as random:
        return noisy_share(TERMS, np.full(SIZE, total), sites=sites, random=random)


def test_the_sum_of_all_shares_is_the_sum_plus_all_noise() -> None:
    sums = [-700.0, 0.25, 3.0, 900.0, -4.0]
    opened = opened_sum(TERMS, ring_sum([share(total) for total in sums]), sites=5)
    grid = grid_of(TERMS, sites=5, coordinates=SIZE)
    deviation = math.sqrt(5) * grid.share_deviation
    assert abs(opened.mean() - sum(sums)) < 5 * deviation / math.sqrt(SIZE)
    assert abs(opened.var() / deviation**2 - 1) < 5 * math.sqrt(2 / SIZE)


def test_any_three_shares_carry_the_noise_that_is_claimed() -> None:
    grid = grid_of(TERMS, sites=5, coordinates=SIZE)
    assert math.sqrt(3) * grid.share_deviation >= TERMS.noise_multiplier * grid.sensitivity
    assert grid.sensitivity > TERMS.clipping_norm


def test_two_shares_of_one_sum_differ_and_one_share_is_noisy() -> None:
    first, second = share(1.0), share(1.0)
    assert np.mean(first == second) < 0.01
    assert len(np.unique(first)) > SIZE / 2


def test_a_sum_below_zero_comes_back_below_zero() -> None:
    opened = opened_sum(TERMS, ring_sum([share(-1000.0) for _ in range(5)]), sites=5)
    assert opened.max() < -4000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_before_noise(bad: float) -> None:
    with pytest.raises(PrivacyError, match="not finite"):
        share(bad)


def test_a_sum_that_was_rounded_to_float32_is_refused() -> None:
    with SecureRandom() as random, pytest.raises(PrivacyError, match="float64"):
        noisy_share(TERMS, np.zeros(4, np.float32), sites=5, random=random)


def test_other_terms_have_no_grid() -> None:
    for terms in (PrivacyTerms(mechanism="site-noise", noise_multiplier=2.0), PrivacyTerms(mechanism="none")):
        with pytest.raises(PrivacyError, match="expected mechanism 'joint-noise'"):
            grid_of(terms, sites=5, coordinates=4)


def test_a_roster_without_anybody_to_be_curious_has_no_grid() -> None:
    with pytest.raises(PrivacyError, match="fewer than all 3 sites"):
        grid_of(TERMS, sites=3, coordinates=4)


def test_longer_sums_than_the_charge_is_stated_for_are_refused() -> None:
    with pytest.raises(PrivacyError, match=f"at most {LARGEST_SUM} values"):
        grid_of(TERMS, sites=5, coordinates=LARGEST_SUM + 1)


def test_too_little_noise_for_so_many_patients_has_no_grid() -> None:
    with pytest.raises(PrivacyError, match="no grid holds"):
        grid_of(replace(TERMS, noise_multiplier=1e-4), sites=5, coordinates=4)


def test_all_members_find_the_same_grid_whatever_they_hold() -> None:
    assert grid_of(TERMS, sites=5, coordinates=7) == grid_of(replace(TERMS), sites=5, coordinates=7)
