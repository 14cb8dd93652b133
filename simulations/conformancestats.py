"""Tests of a release against the law that the protocol promises: each gives a p-value, small for a fault.

A p-value here is exact or an upper bound: under the promised law it falls below a with probability at most a. A check
fails below `ALPHA`, so a run of at most `MOST_CHECKS` checks refuses correct code with probability at most
MOST_CHECKS * ALPHA = 9e-4 (Bonferroni), whatever the dependence between its checks.

Two laws are approximations, whose error is measured by simulation in the tests: sums of squares of standardised
binomial counts against chi-square (conservative for q in [.22, .78], where a binomial has lighter tails than a
Gaussian), and sums of at least 2,000 products of independent normals against a Gaussian. Noise is rounded to a grid of
at most 2^-12 standard deviations, which moves a distribution function by less than 1e-4.

Sources: Wilson and Hilferty's chi-square laws as in Johnson, Kotz and Balakrishnan (1994); Kolmogorov (1933);
Bartlett (1946) for serial correlations; Davidson and Szarek (2001) for singular values; Bonferroni (1936).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

ALPHA: Final = 1e-5
"""A check fails below this p-value."""

MOST_CHECKS: Final = 90
"""Checks of a whole run, at most; the run refuses to be longer."""

_EXPECTED_BEYOND: Final = 15
_STRIP: Final = 2048  # columns compared with all others at a time
_SMALLEST: Final = 2.0**-14  # of the distribution function of a square: what is released stands on a grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One property of the installed code.

    Attributes:
        study: The study in which it was looked at.
        name: Short and stable, for machines.
        claim: What must hold, in words.
        expected, found: Numbers or words, for people.
        p: Probability of something as far off, under the claim; 1 or 0 where nothing is left to chance.
    """

    study: str
    name: str
    claim: str
    expected: str
    found: str
    p: float

    @property
    def holds(self) -> bool:
        """Whether the claim survives."""
        return self.p >= ALPHA


def certain(condition: bool) -> float:
    """The p-value of a check without chance."""
    return 1.0 if condition else 0.0


def scale_p(squares: float, degrees: int) -> float:
    """Whether a sum of squares of standard normals fits its chi-square law, two-sided.

    >>> scale_p(1000.0, 1000) > 0.9, scale_p(1000 * 0.98**2, 1000) > 0.01, scale_p(1e5 * 0.98**2, 100_000) < 1e-9
    (True, True, True)
    """
    law = stats.chi2(degrees)
    return _two_sided(float(law.cdf(squares)), float(law.sf(squares)))


def bound_p(norm: float, bound: float, deviation: float, dimensions: int) -> float:
    """Whether a vector seen through Gaussian noise can be at most `bound` long.

    Args:
        norm: Length of what was seen.
        bound: The promised bound, >= 0.
        deviation: Standard deviation of the noise per coordinate, > 0.
        dimensions: Coordinates.

    Returns:
        P(length >= norm) for the longest allowed vector: the noncentral chi-square's upper tail.
    """
    return float(stats.ncx2.sf((norm / deviation) ** 2, dimensions, (bound / deviation) ** 2))


def mean_p(values: Floats) -> float:
    """Whether standard normals have mean 0, two-sided."""
    z = abs(float(values.mean())) * math.sqrt(values.size)
    return 2 * float(stats.norm.sf(z))


def shape_p(values: Floats) -> float:
    """Whether values are standard normal, by the largest distance of distribution functions."""
    return float(stats.kstest(values.ravel(), "norm").pvalue)


def tail_threshold(size: int) -> float:
    """Beyond how many deviations 15 of `size` standard normals are expected, either side."""
    return float(stats.norm.isf(_EXPECTED_BEYOND / (2 * size)))


def tails_p(values: Floats) -> float:
    """Whether as many standard normals lie far out as should: exact, two-sided; none at all is found."""
    beyond = int((np.abs(values) > tail_threshold(values.size)).sum())
    return rate_p(beyond, values.size, _EXPECTED_BEYOND / values.size)


def repeats_p(values: Floats) -> float:
    """Whether standard normals are uncorrelated at every distance, and with their mirror image at every offset.

    So noise is found that begins again, shifted or not, forwards or backwards.

    Args:
        values: Shape (n,), n >= 2000, in the order in which they were drawn or released.

    Returns:
        Of the largest circular autocorrelation over all (n - 1) / 2 distances and n mirrors.
    """
    odd = values[: values.size - 1 + values.size % 2]  # at even n the middle distance would count pairs twice
    spectrum = np.fft.rfft(odd)
    lags = np.fft.irfft(np.abs(spectrum) ** 2, n=odd.size)[1 : odd.size // 2 + 1]
    middle = np.arange(odd.size) * (odd.size // 2 + 1) % odd.size  # of mirror s: 2 m = s modulo n
    mirrored = (np.fft.irfft(spectrum**2, n=odd.size) - odd[middle] ** 2) / math.sqrt(2)
    worst = max(float(np.abs(lags).max()), float(np.abs(mirrored).max()))
    return _worst(worst / math.sqrt(odd.size), lags.size + mirrored.size)


def magnitudes(values: Floats) -> Floats:
    """Standard normals made of the squares of standard normals: what a fresh sign cannot hide."""
    share = stats.chi2(1).cdf(values**2)
    return np.asarray(stats.norm.ppf(np.clip(share, _SMALLEST, 1 - 2.0**-53)))


def each_scale_p(rows: Floats) -> float:
    """Whether every row of standard normals has its promised size: the worst of them."""
    each = [scale_p(float((row**2).sum()), row.size) for row in rows]
    return min(1.0, len(each) * min(each))


def directions_p(matrix: Floats) -> float:
    """Whether standard normals have unit variance in every direction over their columns: shape (n, d), n > d.

    Returns:
        Of the largest or the smallest singular value, by Davidson and Szarek's bound:
        P(s_max > sqrt(n) + sqrt(d) + t) and P(s_min < sqrt(n) - sqrt(d) - t) are at most exp(-t^2 / 2) each.
    """
    rows, columns = matrix.shape
    ends = np.sqrt(np.maximum(np.linalg.eigvalsh(matrix.T @ matrix)[[0, -1]], 0.0))
    low, high = math.sqrt(rows) - math.sqrt(columns) - ends[0], ends[1] - math.sqrt(rows) - math.sqrt(columns)
    beyond = max(float(low), float(high), 0.0)
    return min(1.0, 2 * math.exp(-(beyond**2) / 2))


def twins_p(releases: Floats) -> float:
    """Whether no two coordinates carry one noise, whatever their distance: shape (releases, n), releases >= 8.

    Args:
        releases: Of one sum, which need not be known: its mean is taken off.

    Returns:
        Of the largest correlation of two columns; exact for each pair: r^2 is Beta(1/2, (releases - 2) / 2).
    """
    centred = releases - releases.mean(axis=0)
    unit = (centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-30)).astype(np.float32)
    count, size = unit.shape
    largest = 0.0
    for begin in range(0, size, _STRIP):
        products = unit[:, begin : begin + _STRIP].T @ unit[:, begin:]
        np.fill_diagonal(products, 0.0)
        largest = max(largest, float(products.max()), -float(products.min()))
    law = stats.beta(0.5, (count - 2) / 2)
    return float(min(1.0, law.sf(min(1.0, largest**2)) * size * (size - 1) / 2))


def residues_p(steps: Counts, modulus: int) -> float:
    """Whether whole numbers of a law many times wider than `modulus` leave every remainder equally often."""
    counts = np.bincount((steps % modulus).ravel(), minlength=modulus)
    return float(stats.chisquare(counts).pvalue)


def counts_p(counts: Counts, trials: int, rate: float) -> float:
    """Whether each of some counts is Binomial(trials, rate), exact, two-sided: the worst of them."""
    law = stats.binom(trials, rate)
    each = np.minimum(law.cdf(counts), law.sf(counts - 1))
    return min(1.0, 2 * float(each.min()) * counts.size)


def together_p(counts: Counts, trials: int, rate: float) -> float:
    """Whether no two patients are always sampled alike: counts (releases, patients) of Binomial(trials, rate).

    Returns:
        Of the most releases in which two patients have the same count; exact for each pair.
    """
    releases, patients = counts.shape
    same = sum((counts == value).T.astype(np.int64) @ (counts == value) for value in range(trials + 1))
    pairs = np.asarray(same)[np.triu_indices(patients, 1)]
    alike = float((stats.binom(trials, rate).pmf(np.arange(trials + 1)) ** 2).sum())
    return min(1.0, float(stats.binom(releases, alike).sf(pairs.max() - 1)) * pairs.size)


def between_p(releases: Floats) -> float:
    """Whether releases carry independent noise, by the largest correlation of two: shape (releases, n)."""
    count, size = releases.shape
    products = releases @ releases.T / math.sqrt(size)
    pairs = products[np.triu_indices(count, 1)]
    return _worst(float(np.abs(pairs).max()), pairs.size)


def rate_p(included: int, trials: int, rate: float) -> float:
    """Whether a count is Binomial(trials, rate), exact, two-sided."""
    law = stats.binom(trials, rate)
    return _two_sided(float(law.cdf(included)), float(law.sf(included - 1)))


def dispersion_p(counts: Counts, trials: int, rate: float) -> float:
    """Whether independent counts vary like Binomial(trials, rate): less is shuffling, more is sampling in groups."""
    squares = (counts - trials * rate) ** 2 / (trials * rate * (1 - rate))
    return scale_p(float(squares.sum()), counts.size)


def overlap_p(included: NDArray[np.bool_], rate: float) -> float:
    """Whether any two rows were chosen independently: shape (rows, n); exact for each pair.

    The number of columns in which both are chosen is Binomial(n, rate^2).
    """
    chosen = included.astype(np.int64)
    rows, size = chosen.shape
    pairs = (chosen @ chosen.T)[np.triu_indices(rows, 1)]
    law = stats.binom(size, rate**2)
    each = np.minimum(law.cdf(pairs), law.sf(pairs - 1))
    return min(1.0, 2 * float(each.min()) * pairs.size)


def _two_sided(below: float, above: float) -> float:
    return min(1.0, 2 * min(below, above))


def _worst(z: float, trials: int) -> float:
    return min(1.0, 2 * float(stats.norm.sf(z)) * trials)
