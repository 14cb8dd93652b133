"""Updates of one round to one vector: the weighted mean and three robust rules.

Assumes admitted updates: right shape, finite, one row per site in the order of the roster, so that equal
rounds give equal bytes. Weights are the protocol's public constants, never a site's claim. Sums are float64.

The robust rules bound what a few faulty sites can do; they do not use the weights (a site could otherwise buy
influence with its size) and they treat honest but different hospitals as outliers too. They cannot be used on
masked sums.

Source: McMahan et al. (2017) for the weighted mean; Yin et al. (2018) for the coordinate-wise median and
trimmed mean; Blanchard et al. (2017) for Krum.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import StudyError
from wardround.common.study.terms import FederationTerms

Rows = NDArray[np.float32] | NDArray[np.float64]
Vector = NDArray[np.float64]

COLUMNS: Final = 1 << 16
"""Columns worked on at a time: 64 sites in float64 are 32 MiB."""


def combine(terms: FederationTerms, updates: NDArray[np.float32], weights: NDArray[np.floating]) -> Vector:
    """The round's one vector.

    Args:
        terms: Decides the rule (`strategy`) and its public constants (`trim`, `byzantine`).
        updates: (K, d), one row per admitted site, in the order of the roster; local model minus base model.
        weights: (K,), > 0, public; used by the weighted mean only.

    Returns:
        (d,) float64.

    Guarantees:
        Every value lies between the smallest and largest of its column up to rounding,
        whatever the weights.

    Raises:
        StudyError: No updates, values that are not finite, weights that do not fit, or too few sites for the
            rule.

    Example:
        >>> updates = np.array([[1.0], [2.0], [90.0]], dtype=np.float32)
        >>> combine(FederationTerms(strategy="fedavg"), updates, np.array([2.0, 1.0, 1.0]))
        array([23.5])
        >>> combine(FederationTerms(strategy="median"), updates, np.ones(3))
        array([2.])
    """
    _check(updates, weights)
    match terms.strategy:
        case "trimmed-mean":
            return trimmed_mean(updates, terms.trim)
        case "median":
            return median(updates)
        case "krum":
            chosen: Vector = updates[krum(updates, terms.byzantine)].astype(np.float64)
            return chosen
        case "fedavg" | "fedavgm" | "fedprox" | "fedadam" | "fedyogi" | "fedadagrad":
            return weighted_mean(updates, weights)


def weighted_mean(updates: Rows, weights: NDArray[np.floating]) -> Vector:
    """The mean of (K, d) rows under (K,) weights, summed in float64 from the first row to the last."""
    shares = weights.astype(np.float64) / math.fsum(weights)
    total = np.zeros(updates.shape[1])
    weighted = np.empty_like(total)
    for row, share in zip(updates, shares, strict=True):
        total += np.multiply(row, share, out=weighted, dtype=np.float64)
    return total


def trimmed_mean(updates: Rows, trim: float) -> Vector:
    """Per coordinate, the mean of what is left after the largest and smallest values are cut.

    The number cut at each end is `trim * K` rounded UP, and at most what leaves one value: rounded down, four
    sites and a trim of .2 would cut nobody and a single faulty site would steer the model.

    Args:
        updates: (K, d), K >= 3.
        trim: Share cut at each end, 0 to .49.

    Raises:
        StudyError: Fewer than three updates: nothing can be cut at both ends.
    """
    count = len(updates)
    _at_least(3, count, "trimmed-mean")
    # 1e-9: .1 * 30 is above 3 in floating point, and three sites are meant.
    cut = min(math.ceil(trim * count - 1e-9), (count - 1) // 2)
    return _by_columns(updates, lambda block: np.sort(block, axis=0)[cut : count - cut].mean(axis=0))


def median(updates: Rows) -> Vector:
    """Per coordinate, the middle value, or the mean of the two middle ones.

    Raises:
        StudyError: Fewer than three updates, where the median is the mean and protects nobody.
    """
    _at_least(3, len(updates), "median")
    return _by_columns(updates, lambda block: np.median(block, axis=0))


def krum(updates: Rows, byzantine: int) -> int:
    """The row whose K - f - 2 nearest other rows are nearest, in squared distance; the first one on a tie.

    Args:
        updates: (K, d), with K >= 2f + 3.
        byzantine: f, the number of faulty sites assumed.

    Raises:
        StudyError: Too few updates for f; names how many are needed.
    """
    count = len(updates)
    _at_least(2 * byzantine + 3, count, f"krum with byzantine = {byzantine}")
    distances = squared_distances(updates)
    np.fill_diagonal(distances, np.inf)
    nearest = np.sort(distances, axis=1)[:, : count - byzantine - 2]
    return int(np.argmin(nearest.sum(axis=1)))


def squared_distances(updates: Rows) -> NDArray[np.float64]:
    """(K, K) squared Euclidean distances between rows.

    Differences are squared, not expanded into inner products: nearly equal updates would cancel to noise.
    """
    count = len(updates)
    result = np.zeros((count, count))
    for block in _blocks(updates):
        for row in range(count):
            result[row] += np.square(block - block[row]).sum(axis=1)
    return result


def _by_columns(updates: Rows, rule: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Vector:
    parts = [rule(block) for block in _blocks(updates)]
    return np.concatenate(parts) if parts else np.empty(0)


def _blocks(updates: Rows) -> Iterator[NDArray[np.float64]]:
    for start in range(0, updates.shape[1], COLUMNS):
        yield updates[:, start : start + COLUMNS].astype(np.float64)


def _check(updates: Rows, weights: NDArray[np.floating]) -> None:
    if updates.ndim != 2 or len(updates) == 0:
        raise StudyError(f"expected one row per admitted update, found an array of shape {updates.shape}")
    if weights.shape != (len(updates),):
        raise StudyError(f"expected {len(updates)} weights, found an array of shape {weights.shape}")
    if not (np.all(np.isfinite(weights)) and np.all(weights > 0)):
        raise StudyError("expected finite weights above zero; they come from the protocol")
    if not np.all(np.isfinite(updates)):
        raise StudyError("an admitted update holds a value that is not finite")


def _at_least(needed: int, found: int, rule: str) -> None:
    if found < needed:
        raise StudyError(
            f"{rule} needs at least {needed} admitted updates, found {found}",
            advice="raise the protocol's quorum, invite more sites, or choose another strategy",
        )
