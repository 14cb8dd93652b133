"""Integer noise: its table against high-precision decimals, its law, its amount, and its independence."""

import math
import os
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.grid import NoiseGrid, noise_grid
from wardround.common.privacy.integernoise import (
    TOTAL_VARIATION,
    WIDENINGS,
    WIDTH,
    integer_gaussian,
    share_variance,
    table,
)
from wardround.common.privacy.randomness import SecureRandom

MANY = 1_000_000
UNIT = 1 << 208  # weights are multiples of 2^-208


def shares(widening: int, n: int = MANY) -> NDArray[np.int64]:
    with SecureRandom() as random:
        return integer_gaussian(n, widening, random)


def variance_z(values: NDArray[np.int64], variance: float) -> float:
    """Standard errors by which the mean square of Gaussian values lies above `variance`."""
    return float((np.mean(values.astype(float) ** 2) / variance - 1) / np.sqrt(2 / len(values)))


def grid(z: float = 6.0, d: int = 153, sites: int = 5) -> NoiseGrid:
    return noise_grid(
        clipping_norm=1.0,
        noise_multiplier=z,
        honest=sites - 1,
        sites=sites,
        coordinates=d,
        most_patients=2000,
    )


def decimals(width: int, n: int) -> list[Decimal]:
    """exp(-x^2 / (2 width^2)) for x = 0 .. n-1 by the decimal module, to 90 digits."""
    with localcontext() as context:
        context.prec = 90
        return [(-Decimal(x * x) / (2 * width**2)).exp() for x in range(n)]


def test_the_table_is_the_discrete_gaussian_within_the_stated_total_variation() -> None:
    found = table().weights()
    middle = len(found) // 2
    assert sum(found) == UNIT
    assert found[0] == 0
    assert found[1:middle] == found[:middle:-1]
    # Beyond 20 widths nothing is left that 2^-183 could notice: exp(-200) < 2^-288.
    exact = decimals(WIDTH, 20 * WIDTH)
    with localcontext() as context:
        context.prec = 90
        total = exact[0] + 2 * sum(exact[1:])
        inside = [abs(Decimal(w) / UNIT - p / total) for w, p in zip(found[middle:], exact, strict=False)]
        distance = (inside[0] + 2 * sum(inside[1:]) + 2 * sum(exact[middle:]) / total) / 2
    assert distance < Decimal(TOTAL_VARIATION)
    assert distance > Decimal(TOTAL_VARIATION) / 100  # the bound says something


def test_every_column_keeps_its_exact_share_of_words() -> None:
    small = table(8, 7)
    full = Fraction(1, 1 << 57)
    law = dict.fromkeys(range(-64, 64), Fraction(0))
    for column in range(128):
        kept = Fraction((int(small.high[column]) << 144) + small.low[column], 1 << 144) * full
        law[column - 64] += kept / 128
        law[int(small.alias[column]) - 64] += (1 - kept) / 128
    assert [weight * UNIT for weight in law.values()] == list(small.weights())


@pytest.mark.parametrize("index_bits", [7, 15])
def test_words_below_and_above_the_threshold_take_the_column_or_its_alias(index_bits: int) -> None:
    chosen = table(8 if index_bits == 7 else WIDTH, index_bits)
    columns = np.flatnonzero((chosen.high > 0) & (chosen.high < 1 << (64 - index_bits)))
    below = (chosen.high[columns] - np.uint64(1) << np.uint64(index_bits)) | columns.astype(np.uint64)
    above = (chosen.high[columns] + np.uint64(1) << np.uint64(index_bits)) | columns.astype(np.uint64)
    half = 1 << (index_bits - 1)
    with SecureRandom() as random:
        np.testing.assert_array_equal(chosen.look_up(below, random), columns - half)
        np.testing.assert_array_equal(chosen.look_up(above, random), chosen.alias[columns] - half)


def test_a_word_that_does_not_decide_is_decided_by_further_bits_at_their_rate() -> None:
    small = table(8, 7)
    rates = np.array([low / 2.0**144 for low in small.low])
    column = int(np.argmin(abs(rates - 0.3) + (small.high == 0)))
    word = (int(small.high[column]) << 7) | column
    with SecureRandom() as random:
        found = small.look_up(np.full(20_000, word, np.uint64), random)
    assert set(found.tolist()) == {column - 64, int(small.alias[column]) - 64}
    kept = int((found == column - 64).sum())
    assert stats.binomtest(kept, 20_000, float(rates[column])).pvalue > 1e-9


def test_draws_of_a_small_table_follow_its_exact_law() -> None:
    small = table(8, 7)
    with SecureRandom() as random:
        found = small.draw(MANY, random)
    expected = np.array(small.weights(), dtype=object) * MANY / UNIT
    counts = np.bincount(found + 64, minlength=128)
    usual = expected > 10
    tails = [counts[~usual].sum()], [expected[~usual].sum()]
    observed = np.append(counts[usual], tails[0]).astype(float)
    wanted = np.append(expected[usual], tails[1]).astype(float)
    assert stats.chisquare(observed, wanted).pvalue > 1e-9


@pytest.mark.parametrize("widening", [1, 8, 512])
def test_shares_follow_the_discrete_gaussian(widening: int) -> None:
    deviation = math.sqrt(share_variance(widening))
    # On so fine a grid the discrete law and the normal one differ by less than a step: shift by half a step.
    centred = shares(widening) + np.random.default_rng(1).uniform(-0.5, 0.5, MANY)
    assert stats.kstest(centred / math.hypot(deviation, math.sqrt(1 / 12)), "norm").pvalue > 1e-9


def test_shares_reach_into_the_tails_as_often_as_they_should() -> None:
    values = np.abs(shares(64, 4 * MANY)) / math.sqrt(share_variance(64))
    for bound in (3.0, 4.0):
        expected = 4 * MANY * 2 * stats.norm.sf(bound)
        assert abs(np.sum(values > bound) - expected) < 6 * np.sqrt(expected) + 6


@pytest.mark.parametrize("widening", [1, 2, 512])
def test_low_bits_of_shares_are_uniform(widening: int) -> None:
    found = shares(widening)
    for modulus in (2, 16, widening):
        counts = np.bincount(found % modulus, minlength=modulus)
        assert modulus == 1 or stats.chisquare(counts).pvalue > 1e-9


@pytest.mark.parametrize(("z", "d"), [(0.5, 20), (6.0, 153), (20.0, 30_000), (60.0, 100_000)])
def test_every_share_carries_the_noise_that_is_claimed_and_two_percent_less_is_seen(z: float, d: int) -> None:
    chosen = grid(z, d)
    claimed = (z * chosen.sensitivity / chosen.step) ** 2 / chosen.honest
    for _ in range(chosen.sites):
        share = shares(chosen.widening)
        assert abs(variance_z(share, claimed)) < 5.2  # 20 such tests: one in 250,000 runs fails
        assert variance_z((0.98 * share).astype(np.int64), claimed) < -4.8


@pytest.mark.parametrize("sites", [2, 3, 5])
def test_any_honest_shares_together_carry_at_least_the_claim(sites: int) -> None:
    chosen = grid(sites=sites)
    claimed = (6.0 * chosen.sensitivity / chosen.step) ** 2
    each = [shares(chosen.widening) for _ in range(sites)]
    for left_out in range(sites):
        total = sum(each) - each[left_out]
        assert variance_z(np.asarray(total), claimed) > -4.8


def test_shares_are_uncorrelated_with_each_other_at_every_small_lag() -> None:
    values = shares(512) / math.sqrt(share_variance(512))
    for lag in (1, 2, 1 << 15, (1 << 15) + 1):
        assert abs(np.mean(values[lag:] * values[:-lag])) < 6 / np.sqrt(MANY - lag)


def test_the_two_parts_of_a_share_use_different_words() -> None:
    found = shares(512)
    fine = (found + 256) % 512 - 256  # x1 modulo 512
    coarse = (found - fine) // 512  # x2, give or take a little
    assert abs(np.corrcoef(fine, coarse)[0, 1]) < 6 / np.sqrt(MANY)


@pytest.mark.parametrize("n", [0, 1, 3, 1 << 15, (1 << 15) + 1, 100_003])
def test_as_many_shares_come_as_were_asked_for_within_the_range(n: int) -> None:
    found = shares(512, n)
    assert found.shape == (n,)
    assert found.dtype == np.int64
    assert not n or np.abs(found).max() < 16384 * 513
    assert n < 1000 or len(set(found[-1000:].tolist())) > 900


def test_two_releases_never_share_noise() -> None:
    first, second = shares(512, 2000), shares(512, 2000)
    assert np.mean(first == second) < 0.01


@pytest.mark.parametrize("widening", [0, 3, 1024, -1])
def test_a_widening_without_a_proof_is_refused(widening: int) -> None:
    with pytest.raises(UsageError, match="widening"), SecureRandom() as random:
        integer_gaussian(3, widening, random)


def test_a_negative_number_of_shares_is_refused() -> None:
    with pytest.raises(UsageError, match="n"), SecureRandom() as random:
        integer_gaussian(-1, 1, random)


def test_a_closed_source_gives_no_noise() -> None:
    random = SecureRandom()
    random.close()
    with pytest.raises(PrivacyError, match="closed"):
        integer_gaussian(1, 1, random)


def test_a_forked_child_cannot_use_its_parents_source_and_two_children_differ() -> None:
    random = SecureRandom()
    integer_gaussian(1, 1, random)

    def child(own: SecureRandom | None) -> bytes:
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                noise = integer_gaussian(50, 512, own or SecureRandom()).tobytes()
            except PrivacyError:
                noise = b"refused"
            os.write(writer, noise)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            found = answer.read()
        os.waitpid(pid, 0)
        return found

    assert child(random) == b"refused"
    first, second = child(None), child(None)
    assert len(first) == len(second) == 400
    assert first != second


def test_variances_are_exact_integers() -> None:
    assert [share_variance(k) for k in WIDENINGS[:2]] == [2 * 1024**2, 5 * 1024**2]
