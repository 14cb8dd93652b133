"""What a table of score bin by outcome says: AUC, accuracy, Brier score, calibration, net benefit.

Every function takes tables of shape (draws, bins, 2), exact or noised, and gives shape (draws,). Cells of a noised
table may be negative and are used as they are: sums of cells stay unbiased, where cutting at zero would not.

Within a bin, probabilities are taken to lie evenly and to be right. The Brier score loses the variance of that spread,
and pairs of patients in one bin count w / 12 more than a half towards the AUC, for log-odds of width w (first order).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from wardround.common.learning import calibration
from wardround.common.learning.calibration import Recalibration, ratio
from wardround.common.learning.histograms import Bins, Counts, Forecasts

Numbers = NDArray[np.float64]

_CERTAIN: Final = 0.015
"""Where the log-odds of a bin end that reaches to 0 or 1."""


def auc(tables: Numbers, bins: Bins) -> Numbers:
    """The chance that a random patient to whom it happened has a higher score than a random other one.

    Example:
        >>> from wardround.common.learning.histograms import PROBABILITY
        >>> table = np.zeros((1, 8, 2))
        >>> table[0, 7, 1] = table[0, 0, 0] = 5.0
        >>> auc(table, PROBABILITY).tolist()
        [1.0]
    """
    negative, positive = tables[:, :, 0], tables[:, :, 1]
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    width = np.diff(logit(_uncertain(bins)), axis=1)[:, 0]
    pairs = positive * below + positive * negative * width / 12
    return ratio(pairs.sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _uncertain(bins: Bins) -> Numbers:
    """The spans, drawn in from 0 and 1."""
    lowest, highest = min(_CERTAIN, bins.edges[0] / 2), max(1 - _CERTAIN, (1 + bins.edges[-1]) / 2)
    return bins.spans.clip(lowest if bins.low <= 0 else 0.0, highest if bins.high >= 1 else 1.0)


def accuracy(tables: Numbers, bins: Bins, threshold: float = 0.5) -> Numbers:
    """The share of patients on the right side of a threshold, which must be one of the edges."""
    named = above(bins, threshold)
    right = tables[:, ~named, 0].sum(axis=1) + tables[:, named, 1].sum(axis=1)
    return ratio(right, tables.sum(axis=(1, 2)))


def brier(tables: Numbers, bins: Bins) -> Numbers:
    """Mean squared error of the probabilities."""
    errors = np.stack([bins.middles**2, (1 - bins.middles) ** 2], axis=1) - bins.widths[:, None] ** 2 / 12
    return ratio((tables * errors).sum(axis=(1, 2)), tables.sum(axis=(1, 2)))


def net_benefit(tables: Numbers, bins: Bins, threshold: float) -> Numbers:
    """Net benefit per patient of treating above a threshold, which must be one of the edges."""
    treated = tables[:, above(bins, threshold)].sum(axis=1)
    gain = treated[:, 1] - treated[:, 0] * threshold / (1 - threshold)
    return ratio(gain, tables.sum(axis=(1, 2)))


def observed(tables: Numbers, place: int) -> Numbers:
    """The share to whom it happened in one bin."""
    return ratio(tables[:, place, 1], tables[:, place].sum(axis=1))


def recalibrated(tables: Numbers, bins: Bins) -> Recalibration:
    """Calibration slope and intercept, by the score equations of the cells."""
    return calibration.recalibration(*_cells(tables, bins))


def in_the_large(tables: Numbers, bins: Bins) -> Numbers:
    """Calibration in the large."""
    return calibration.in_the_large(*_cells(tables, bins))


def _cells(tables: Numbers, bins: Bins) -> tuple[Numbers, Numbers, Numbers]:
    """Outcome, probability and weight of each cell, as `calibration` takes patients."""
    outcomes, probability = np.tile([0.0, 1.0], len(bins)), np.repeat(bins.middles, 2)
    return outcomes, probability, tables.reshape(len(tables), -1)


def expected_error(tables: Numbers, bins: Bins, deviation: float = 0.0) -> Numbers:
    """Expected calibration error over the bins.

    Distances have no sign, so noise alone would look like an error: in each bin the variance of the noise is taken off
    the square of the distance before its root.

    Args:
        tables: Shape (draws, bins, 2).
        bins: Public.
        deviation: Of the noise in each cell; 0 for an exact table.
    """
    middle = bins.middles
    surplus = tables[:, :, 1] * (1 - middle) - tables[:, :, 0] * middle
    noise = deviation**2 * ((1 - middle) ** 2 + middle**2)
    distance = np.sqrt(np.maximum(surplus**2 - noise, 0.0))
    return ratio(distance.sum(axis=1), tables.sum(axis=(1, 2)))


def above(bins: Bins, threshold: float) -> NDArray[np.bool_]:
    """Which bins lie above a threshold."""
    return np.array([-np.inf, *bins.edges]) >= threshold - 1e-9


def scattered(table: Counts, rng: np.random.Generator, *, bins: Bins) -> Forecasts:
    """Patients whose table this is, lying in their bins as this module takes them to.

    Args:
        table: Shape (bins, 2), exact counts.
        rng: Draws where in its bin each patient lies.
        bins: Public.
    """
    place, happened = (np.repeat(axis.ravel(), table.ravel()) for axis in np.indices(table.shape))
    low, high = bins.spans[place].T
    # A density in proportion to the probability of what happened, by inverting its distribution function.
    start, end = np.where(happened == 1, low, 1 - high), np.where(happened == 1, high, 1 - low)
    found = np.sqrt(start**2 + rng.random(len(place)) * (end**2 - start**2))
    return Forecasts(np.where(happened == 1, found, 1 - found), happened.astype(np.float64))
