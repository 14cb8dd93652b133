"""Exact metrics, on numpy arrays.

They are computed from patients and are not private. NaN means undefined: one class only, no comparable pair, no
spread. Sources: Hanley and McNeil (1982) for the AUC as a rank statistic, Brier (1950), Harrell et al. (1996).
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from wardround.common.errors import UsageError
from wardround.common.learning.ordering import pairs_of_events
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
    Targets,
)

Numbers = NDArray[np.float64]


def auc(y: Numbers, score: Numbers) -> float:
    """The chance that a random positive has a higher score than a random negative; ties count one half.

    Args:
        y: Shape (n,), 0 or 1.
        score: Shape (n,), higher = more likely 1.

    Example:
        >>> auc(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.4, 0.4, 0.8]))
        0.875
    """
    positive = y == 1
    n_pairs = int(positive.sum()) * int((~positive).sum())
    if not n_pairs:
        return float("nan")
    ranks = rankdata(score)[positive]
    return float((ranks - (np.arange(len(ranks)) + 1)).sum() / n_pairs)


def macro_auc(y: Numbers, probabilities: Numbers) -> float:
    """The mean over classes of one class against the rest.

    Classes that nobody has are left out; the model still spends probability on them.

    Args:
        y: Shape (n,), class indices.
        probabilities: Shape (n, classes).
    """
    values = [auc((y == place).astype(float), column) for place, column in enumerate(probabilities.T)]
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def accuracy(y: Numbers, probabilities: Numbers) -> float:
    """The share of patients whose class is named: the most probable one, or 1 where a probability exceeds .5.

    Args:
        y: Shape (n,), 0 or 1, or class indices.
        probabilities: Shape (n,) of the class 1, or (n, classes).
    """
    return _mean(correct(y, probabilities))


def brier(y: Numbers, probabilities: Numbers) -> float:
    """Mean squared error of probabilities, 0 is best.

    Binary: of the positive class, between 0 and 1. Several classes: summed over classes as Brier did, between
    0 and 2.

    Example:
        >>> brier(np.array([0.0, 2.0]), np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]))
        0.75
    """
    return _mean(squared_errors(y, probabilities))


def c_index(time: Numbers, event: NDArray[np.bool_], risk: Numbers) -> float:
    """Harrell's concordance: of the comparable pairs, the share in which the earlier event has the higher risk.

    Equal risks count one half. O(n log n).

    Args:
        time: Shape (n,), follow-up, > 0.
        event: Shape (n,), True where observed.
        risk: Shape (n,), higher = worse prognosis.
    """
    comparable, concordant = pairs_of_events(time, event, risk)
    total = comparable.sum()
    return float(concordant.sum() / total) if total else float("nan")


def r2(y: Numbers, predicted: Numbers) -> float:
    """1 - residual / total sum of squares around the mean of these patients; negative is worse than that mean."""
    total = _spread(y)
    return float(1 - ((y - predicted) ** 2).sum() / total) if total else float("nan")


def spearman(y: Numbers, predicted: Numbers) -> float:
    """The correlation of ranks, ties sharing their mean rank."""
    first, second = rankdata(y), rankdata(predicted)
    scale = np.sqrt(_spread(first) * _spread(second))
    return float(((first - first.mean()) * (second - second.mean())).sum() / scale) if scale else float("nan")


def correct(y: Numbers, probabilities: Numbers) -> Numbers:
    """1 for each patient whose class is named, else 0; see `accuracy`."""
    named = probabilities > 0.5 if probabilities.ndim == 1 else probabilities.argmax(axis=1)
    return np.asarray(named == y, np.float64)


def squared_errors(y: Numbers, probabilities: Numbers) -> Numbers:
    """Each patient's term of `brier`."""
    if probabilities.ndim == 1:
        return np.asarray((probabilities - y) ** 2)
    truth = y[:, None] == np.arange(probabilities.shape[1])
    return np.asarray(((probabilities - truth) ** 2).sum(axis=1))


def in_units(outcome: ContinuousOutcome, targets: Targets) -> Numbers:
    """The continuous targets in the outcome's unit, as predictions are."""
    return targets.value * outcome.sd + outcome.mean


def evaluate(outcome: Outcome, targets: Targets, predictions: Numbers) -> dict[str, float]:
    """All metrics of an outcome.

    Args:
        outcome: The study's outcome.
        targets: n patients.
        predictions: As `predictions.predict` gives them.

    Returns:
        Binary and class: `auc` (class: macro), `accuracy`, `brier`. Continuous: `r2`, `spearman`. Survival:
        `c_index`. NaN where undefined.
    """
    return {name: score(outcome, targets, predictions, name) for name in metric_names(outcome)}


def metric_names(outcome: Outcome) -> tuple[str, ...]:
    """The metrics of an outcome, the headline first."""
    match outcome:
        case BinaryOutcome() | ClassOutcome():
            return ("auc", "accuracy", "brier")
        case ContinuousOutcome():
            return ("r2", "spearman")
        case SurvivalOutcome():
            return ("c_index",)


def score(outcome: Outcome, targets: Targets, predictions: Numbers, metric: str) -> float:
    """One metric of an outcome; see `evaluate`.

    Raises:
        UsageError: The outcome has no such metric.
    """
    if metric not in metric_names(outcome):
        raise UsageError(f"expected one of {', '.join(metric_names(outcome))}; found {metric!r}")
    if len(predictions) != len(targets):
        raise UsageError(f"expected {len(targets)} predictions, found {len(predictions)}")
    match outcome:
        case SurvivalOutcome():
            return _c_index(targets, predictions)
        case ContinuousOutcome():
            return _SIMPLE[metric](in_units(outcome, targets), predictions)
        case ClassOutcome() if metric == "auc":
            return macro_auc(targets.value, predictions)
        case _:
            return _SIMPLE[metric](targets.value, predictions)


def _c_index(targets: Targets, risk: Numbers) -> float:
    if targets.event is None:
        raise UsageError("expected events beside the times of a survival outcome, found none")
    return c_index(targets.value, targets.event, risk)


def _mean(values: Numbers) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _spread(values: Numbers) -> float:
    return float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0


_SIMPLE: Final[dict[str, Callable[[Numbers, Numbers], float]]] = {
    "auc": auc,
    "accuracy": accuracy,
    "brier": brier,
    "r2": r2,
    "spearman": spearman,
}
