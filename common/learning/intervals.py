"""How sure a metric is: percentile bootstrap intervals over patients.

Patients are drawn with replacement; a draw is a count per patient, and a metric of all draws at once is a few
matrix products. AUCs are drawn within classes, so that no draw loses a class. A C-index of more than
`PAIR_LIMIT` patients is linearised: its draws are the value plus the drawn mean of each patient's influence.

Intervals are computed from patients and are not private. They describe the test patients drawn, not how
training would vary.

Sources: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapters 13 and 22 (delta method).
"""

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning.metrics import score
from wardround.common.learning.resampled import resampled
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, Outcome, Targets

Numbers = NDArray[np.float64]

RESAMPLES: Final = 400
CELLS: Final = 2_000_000
"""Largest draws-by-patients matrix held at once."""


class Difference(NamedTuple):
    """Metric of a minus metric of b on the same patients.

    Attributes:
        value: The difference.
        low, high: Its 95 percent interval.
        probability_better: Share of draws in which the metric of a is larger, equal ones counted one half. For
            `brier`, where smaller is better, the share in which it is smaller.
    """

    value: float
    low: float
    high: float
    probability_better: float


def bootstrap(
    outcome: Outcome,
    targets: Targets,
    predictions: Numbers,
    metric: str,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """The 95 percent interval of one metric.

    Args:
        outcome: The study's outcome.
        targets: n patients.
        predictions: As `predictions.predict` gives them.
        metric: A name of `metrics.metric_names(outcome)`.
        rng: Draws the patients.
        resamples: How many draws.

    Returns:
        (low, high); NaN where the metric itself is undefined.
    """
    if np.isnan(score(outcome, targets, predictions, metric)):
        return float("nan"), float("nan")
    draws = _draws(outcome, targets, [predictions], metric, rng, resamples)
    return percentiles(draws[0])


def paired_difference(
    outcome: Outcome,
    targets: Targets,
    a: Numbers,
    b: Numbers,
    metric: str,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Difference:
    """How much better model a is than model b on the same patients: both see the same draws.

    Returns:
        All NaN where the metric is undefined.
    """
    value = score(outcome, targets, a, metric) - score(outcome, targets, b, metric)
    if np.isnan(value):
        return Difference(value, value, value, value)
    first, second = _draws(outcome, targets, [a, b], metric, rng, resamples)
    gain = first - second
    gain = gain[~np.isnan(gain)]
    better = -gain if metric == "brier" else gain
    return Difference(value, *percentiles(gain), float(np.mean((better > 0) + 0.5 * (better == 0))))


def _draws(
    outcome: Outcome,
    targets: Targets,
    models: list[Numbers],
    metric: str,
    rng: np.random.Generator,
    resamples: int,
) -> list[Numbers]:
    """The metric of each model in each draw: one array (resamples,) per model."""
    strata = _strata(outcome, targets, metric)
    found: list[list[Numbers]] = [[] for _ in models]
    for counts in itertools.islice(sample_and_draws(strata, resamples, rng), 1, None):
        for values, predictions in zip(found, models, strict=True):
            values.append(resampled(outcome, targets, predictions, metric, counts))
    return [np.concatenate(values) for values in found]


def _strata(outcome: Outcome, targets: Targets, metric: str) -> NDArray[np.int64]:
    if metric == "auc" and isinstance(outcome, BinaryOutcome | ClassOutcome):
        return targets.value.astype(np.int64)
    return np.zeros(len(targets), np.int64)


def drawn_counts(strata: NDArray[np.int64], draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each patient is drawn, shape (draws, n); each stratum keeps its size."""
    counts = np.zeros((draws, len(strata)), np.float32)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        size = len(members)
        drawn = rng.integers(size, size=(draws, size)) + size * np.arange(draws)[:, None]
        counts[:, members] = np.bincount(drawn.ravel(), minlength=draws * size).reshape(draws, size)
    return counts


def sample_and_draws(
    strata: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """Blocks of counts, shape (some draws, n): first one row of ones, the sample itself, then `resamples` draws."""
    yield np.ones((1, len(strata)), np.float32)
    block = max(1, CELLS // max(1, len(strata)))
    for start in range(0, resamples, block):
        yield drawn_counts(strata, min(block, resamples - start), rng)


def percentiles(draws: Numbers) -> tuple[float, float]:
    """The middle 95 percent of draws, those that are undefined left out; NaN where all are."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return float("nan"), float("nan")
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
