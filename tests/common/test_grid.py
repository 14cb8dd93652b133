"""The public grid: enough noise, no wrapping, a sensitivity that no neighbour exceeds, and what it refuses."""

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.excess import gaussian_variance
from wardround.common.privacy.grid import NoiseGrid, from_ring, noise_grid, to_grid, to_ring
from wardround.common.privacy.integernoise import WIDENINGS, integer_gaussian, share_variance
from wardround.common.privacy.randomness import SecureRandom


def grid(**changed: float) -> NoiseGrid:
    terms = {
        "clipping_norm": 1.0,
        "noise_multiplier": 6.0,
        "honest": 4,
        "sites": 5,
        "coordinates": 153,
        "most_patients": 32_768,
    }
    return noise_grid(**{**terms, **changed})  # type: ignore[arg-type]


def patients(n: int, d: int, seed: int, norm: float = 1.0) -> NDArray[np.float64]:
    """Per-patient vectors of norm `norm`, aligned so that their sums are as large as they can be."""
    found = np.abs(np.random.default_rng(seed).standard_normal((n, d))) + 1
    found *= norm / np.linalg.norm(found, axis=1, keepdims=True)
    return found


@settings(max_examples=300, deadline=None)
@given(
    norm=st.floats(1e-6, 1e6),
    z=st.floats(0.05, 80.0),
    sites=st.integers(2, 64),
    tolerated=st.integers(1, 63),
    d=st.integers(1, 200_000),
    patients=st.integers(10, 2**20),
)
def test_every_grid_carries_the_noise_that_its_event_promises_and_never_wraps(
    norm: float, z: float, sites: int, tolerated: int, d: int, patients: int
) -> None:
    honest = max(1, sites - tolerated)
    try:
        found = noise_grid(
            clipping_norm=norm,
            noise_multiplier=z,
            honest=honest,
            sites=sites,
            coordinates=d,
            most_patients=patients,
        )
    except PrivacyError:
        return
    # Exactly, with C' rebuilt from its parts; of the slack of 2^-10 the rounding of gamma uses less than 2^-40.
    step, slack = Fraction(found.step), Fraction(1025, 1024) * (1 - Fraction(1, 2**40))
    roots = math.sqrt(gaussian_variance(honest, found.widening)), math.sqrt(d)
    units = Fraction(norm) * slack / step + Fraction(roots[1])
    assert Fraction(z) * units <= Fraction(roots[0])
    assert found.sensitivity >= float(units * step)
    sums = patients * norm / found.step + 12 * math.sqrt(sites * share_variance(found.widening))
    assert sums < 2**31
    assert found.step * math.sqrt(d) <= 0.1001 * norm


def test_the_finest_grid_without_wrapping_is_taken() -> None:
    found = grid()
    assert found.widening == 128
    finer = 6.0 * 1.001 / math.sqrt(gaussian_variance(4, 256))
    assert 32_768 / finer > 2**31
    assert grid(most_patients=2000).widening == max(WIDENINGS)
    assert grid(noise_multiplier=60.0).widening == max(WIDENINGS)


def test_one_share_is_the_claimed_noise_divided_by_the_root_of_honest() -> None:
    for honest in (1, 2, 4):
        found = grid(honest=honest)
        assert found.share_deviation == pytest.approx(6.0 * found.sensitivity / math.sqrt(honest), rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_moves_the_rounded_sum_by_more_than_the_sensitivity(seed: int) -> None:
    found = grid(noise_multiplier=60.0, coordinates=2000)
    each = patients(300, 2000, seed)
    whole = to_grid(each.sum(axis=0), found)
    for left_out in (0, 150, 299):
        moved = whole - to_grid(np.delete(each, left_out, axis=0).sum(axis=0), found)
        assert np.linalg.norm(moved) <= found.sensitivity / found.step


def test_rounding_alone_can_move_every_coordinate_by_a_whole_step() -> None:
    found = grid(coordinates=100)
    near = np.full(100, 0.49 * found.step)
    moved = to_grid(near + 0.02 * found.step, found) - to_grid(near, found)
    assert np.linalg.norm(moved) == 10.0
    assert found.sensitivity - 1025 / 1024 == pytest.approx(10.0 * found.step)


def test_float64_sums_in_any_order_stay_within_the_slack() -> None:
    each = patients(7, 3, 1)
    exact = [sum((Fraction(float(value)) for value in column), Fraction(0)) for column in each.T]
    for order in list(permutations(range(7)))[:500]:
        added = np.add.reduce(each[list(order)], axis=0)
        error = math.sqrt(sum(float(Fraction(float(a)) - e) ** 2 for a, e in zip(added, exact, strict=True)))
        assert error <= (7 + 2) * 2.0**-53 * 7
    # The bound of the module, at the most patients it speaks of.
    n = 2**20
    assert 2 * (n + 2) * 2.0**-53 * n * (1 + 2.0**-19) + 2.0**-20 + 2.0**-32 + 2.0**-11.2 < 2.0**-10


def test_a_sum_that_went_through_float32_moves_by_more_than_the_slack() -> None:
    # 30,000 patients with vectors (1/64, ..., 1/64), and one with almost nothing.
    last = np.spacing(np.float32(30_000 / 64)).astype(float)
    part = np.full(4096, 30_000 / 64 + 0.49 * last)
    whole = part + 0.02 * last
    moved = whole.astype(np.float32).astype(float) - part.astype(np.float32).astype(float)
    assert np.linalg.norm(moved) - np.linalg.norm(whole - part) > 2.0**-10
    with pytest.raises(PrivacyError, match="float64"):
        to_grid(whole.astype(np.float32), grid())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sum_that_is_not_finite_is_refused_before_noise(bad: float) -> None:
    total = np.zeros(153)
    total[77] = bad
    with pytest.raises(PrivacyError, match="not finite"):
        to_grid(total, grid())


def test_a_sum_of_more_patients_than_declared_is_cut_and_not_refused() -> None:
    # Whether a site refuses must not depend on its patients; cutting moves no two sums further apart.
    found = grid(most_patients=100)
    total = np.full(153, 99.9)
    total[:3] = (200.0, -1e300, 100.2)
    rounded = to_grid(total, found) * found.step
    assert np.abs(rounded).max() <= found.largest + found.step
    assert rounded[3] == pytest.approx(99.9, abs=found.step)
    moved = to_grid(total + 0.01, found) - to_grid(total, found)
    assert np.abs(moved).max() <= 0.01 / found.step + 1


def test_values_are_rounded_to_the_nearest_step() -> None:
    found = grid()
    total = np.array([0.0, 0.4, 0.6, -0.6, 7.0, -1234.4]) * found.step
    assert to_grid(total, found).tolist() == [0, 0, 1, -1, 7, -1234]
    assert to_grid(np.zeros((3, 4)), found).shape == (3, 4)


@given(st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20))
def test_the_ring_is_arithmetic_modulo_two_to_the_32(values: list[int]) -> None:
    found = to_ring(np.array(values, np.int64))
    assert found.dtype == np.uint32
    assert found.tolist() == [value % 2**32 for value in values]


def test_the_opened_sum_of_all_sites_is_their_sum_plus_noise_of_the_stated_size() -> None:
    found = grid(coordinates=4000)
    parts = [patients(60, 4000, seed).sum(axis=0) * (-1) ** seed for seed in range(5)]
    opened = np.zeros(4000, np.uint32)
    for part in parts:
        with SecureRandom() as random:
            opened += to_ring(to_grid(part, found) + integer_gaussian(4000, found.widening, random))
    noise = from_ring(opened, found) - sum(parts)
    assert noise.dtype == np.float64
    expected = found.share_deviation * math.sqrt(5)
    assert abs(np.std(noise) / expected - 1) < 5 / math.sqrt(8000)
    assert abs(np.mean(noise)) < 5 * expected / math.sqrt(4000)


def test_negative_sums_come_back_negative() -> None:
    found = grid()
    values = np.array([-5, 0, 5, -(2**31), 2**31 - 1], np.int64)
    np.testing.assert_array_equal(from_ring(to_ring(values), found), values * found.step)


@pytest.mark.parametrize("honest", [5, 6])
def test_noise_that_needs_every_site_is_refused(honest: int) -> None:
    with pytest.raises(PrivacyError, match="fewer than all") as refused:
        grid(honest=honest)
    assert "sites - 1" in refused.value.advice


def test_a_model_too_large_for_its_noise_is_refused() -> None:
    with pytest.raises(PrivacyError, match="raise the sensitivity by") as refused:
        grid(coordinates=5_000_000, noise_multiplier=60.0)
    assert "smaller model" in refused.value.advice
    with pytest.raises(PrivacyError, match="no grid"):
        grid(coordinates=2**39, noise_multiplier=60.0)


def test_so_little_noise_that_sums_would_wrap_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no grid") as refused:
        grid(noise_multiplier=0.01)
    assert "most_patients" in refused.value.advice


@pytest.mark.parametrize(
    "changed",
    [
        {"clipping_norm": 0.0},
        {"clipping_norm": math.nan},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": math.inf},
        {"honest": 0},
        {"sites": 1},
        {"coordinates": 0},
        {"most_patients": 0},
        {"most_patients": 2**20 + 1},
    ],
)
def test_terms_that_mean_nothing_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(changed))):
        grid(**changed)
