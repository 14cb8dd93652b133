"""A metric of many weighted samples at once, for the bootstrap.

Every function takes counts of shape (draws, n): how often each patient stands in each draw. A draw in which all
counts are one gives exactly the plain metric (to float32 rounding).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.learning.metrics import correct, in_units, squared_errors
from wardround.common.learning.ordering import pairs_of_patients
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome, Outcome, Targets

Numbers = NDArray[np.float64]
Counts = NDArray[np.float32]

PAIR_LIMIT: Final = 1500
"""Up to here the C-index of a draw comes from all pairs; beyond, from patients' influence (first order)."""


def resampled(
    outcome: Outcome, targets: Targets, predictions: Numbers, metric: str, counts: Counts
) -> Numbers:
    """One metric in each draw, shape (draws,); NaN where a draw leaves it undefined.

    Raises:
        UsageError: The metric is unknown.
    """
    y = in_units(outcome, targets) if isinstance(outcome, ContinuousOutcome) else targets.value
    match metric:
        case "auc" if isinstance(outcome, ClassOutcome):
            return _macro_aucs(y, predictions, counts)
        case "auc":
            return _aucs(y == 1, predictions, counts)
        case "accuracy":
            return _means(correct(y, predictions), counts)
        case "brier":
            return _means(squared_errors(y, predictions), counts)
        case "r2":
            return _r2s(y, predictions, counts)
        case "spearman":
            return _correlations(_drawn_ranks(y, counts), _drawn_ranks(predictions, counts), counts)
        case "c_index" if targets.event is not None:
            return _c_indices(targets.value, targets.event, predictions, counts)
    raise UsageError(f"no metric {metric!r} for this outcome")


def _ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    result = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _means(values: Numbers, counts: Counts) -> Numbers:
    return _ratio(counts @ values, counts.sum(axis=1, dtype=np.float64))


def _aucs(positive: NDArray[np.bool_], score: Numbers, counts: Counts) -> Numbers:
    """Per draw: for each positive, the negatives below it plus half of those level with it."""
    order = np.argsort(score)
    edges = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    above = np.add.reduceat(counts[:, order] * positive[order], edges, axis=1, dtype=np.float64)
    below = np.add.reduceat(counts[:, order] * ~positive[order], edges, axis=1, dtype=np.float64)
    passed = np.cumsum(below, axis=1) - 0.5 * below
    return _ratio((above * passed).sum(axis=1), above.sum(axis=1) * below.sum(axis=1))


def _macro_aucs(y: Numbers, probabilities: Numbers, counts: Counts) -> Numbers:
    """Over the classes that somebody has; `score` leaves the same ones out."""
    present = [place for place in range(probabilities.shape[1]) if 0 < (y == place).sum() < len(y)]
    columns = [_aucs(y == place, probabilities[:, place], counts) for place in present]
    return np.asarray(np.mean(columns, axis=0))


def _r2s(y: Numbers, predicted: Numbers, counts: Counts) -> Numbers:
    centred = y - y.mean()
    total = counts @ centred**2 - (counts @ centred) ** 2 / counts.sum(axis=1, dtype=np.float64)
    return 1 - _ratio(counts @ (y - predicted) ** 2, total)


def _drawn_ranks(values: Numbers, counts: Counts) -> Numbers:
    """The mean rank of each patient's value in each draw, up to a constant: shape (draws, n)."""
    order = np.argsort(values)
    edges = np.flatnonzero(np.diff(values[order], prepend=-np.inf))
    drawn = np.add.reduceat(counts[:, order], edges, axis=1, dtype=np.float64)
    middle = np.cumsum(drawn, axis=1) - 0.5 * drawn
    return middle[:, np.unique(values, return_inverse=True)[1]]


def _correlations(first: Numbers, second: Numbers, counts: Counts) -> Numbers:
    weights = counts / counts.sum(axis=1, keepdims=True, dtype=np.float64)
    first = first - (weights * first).sum(axis=1, keepdims=True)
    second = second - (weights * second).sum(axis=1, keepdims=True)
    scale = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
    return _ratio((weights * first * second).sum(axis=1), scale)


def _c_indices(time: Numbers, event: NDArray[np.bool_], risk: Numbers, counts: Counts) -> Numbers:
    if len(time) > PAIR_LIMIT:
        return _linear_c_indices(time, event, risk, counts)
    comparable = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
    halves = np.sign(risk[:, None] - risk).astype(np.float32) * 0.5 + np.float32(0.5)
    pairs = ((counts @ comparable.astype(np.float32)) * counts).sum(axis=1, dtype=np.float64)
    right = ((counts @ (comparable * halves)) * counts).sum(axis=1, dtype=np.float64)
    return _ratio(right, pairs)


def _linear_c_indices(time: Numbers, event: NDArray[np.bool_], risk: Numbers, counts: Counts) -> Numbers:
    """C + sum_i (count_i - 1) dC/dcount_i: the pairs of i that are right, minus C times the pairs of i."""
    comparable, concordant = pairs_of_patients(time, event, risk)
    total = comparable.sum() / 2
    if not total:
        return np.full(len(counts), np.nan)
    value = concordant.sum() / 2 / total
    influence = (concordant - value * comparable) / total
    return np.asarray(value + (counts - 1) @ influence)
