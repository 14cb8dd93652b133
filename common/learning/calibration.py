"""Whether probabilities mean what they say, and whether acting on them would help.

Everything is exact, on numpy arrays, computed from patients and therefore not private. Every function takes weights of
shape (draws, n): a row of ones is the sample itself, a row of counts is a bootstrap draw, and inverse-probability
weights (see `censoring`) make censored patients count. Bins and thresholds are public constants.

Sources: Cox (1958), "Two further applications of a model for binary regression", for slope and intercept; Van Calster
et al. (2019), "Calibration: the Achilles heel of predictive analytics"; Naeini et al. (2015) for the expected
calibration error; Vickers and Elkin (2006), "Decision curve analysis".
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Numbers = NDArray[np.float64]

BIN_EDGES: Final[tuple[float, ...]] = tuple(number / 10 for number in range(11))
"""Public bins of probability: (0, .1], (.1, .2], ... (.9, 1]; 0 itself is in the first."""
THRESHOLDS: Final[tuple[float, ...]] = tuple(number / 20 for number in range(1, 20))
"""Public thresholds of the decision curve."""
EXTREME: Final = 1e-6
"""Probabilities are kept this far from 0 and 1 before their logit is taken."""

_STEPS: Final = 60
_LONGEST_STEP: Final = 4.0
_STEEPEST: Final = 1e3


class Curve(NamedTuple):
    """Per draw and bin, shapes (draws, bins): weight in the bin, mean probability, and share that happened.

    `predicted` and `observed` are NaN in an empty bin.
    """

    weight: Numbers
    predicted: Numbers
    observed: Numbers


def bins_of(probability: Numbers, edges: tuple[float, ...] = BIN_EDGES) -> NDArray[np.int64]:
    """The bin of each probability; a value on an edge belongs to the bin below it.

    >>> bins_of(np.array([0.0, 0.1, 0.11, 1.0])).tolist()
    [0, 0, 1, 9]
    """
    return np.searchsorted(edges[1:-1], probability, side="left").astype(np.int64)


def curve(y: Numbers, probability: Numbers, weights: Numbers) -> Curve:
    """The calibration curve.

    Args:
        y: Shape (n,), 1 where it happened, else 0.
        probability: Shape (n,), of it happening.
        weights: Shape (draws, n), >= 0.
    """
    member = np.eye(len(BIN_EDGES) - 1)[bins_of(probability)]
    inside = weights @ member
    return Curve(
        weight=inside,
        predicted=ratio(weights @ (member * probability[:, None]), inside),
        observed=ratio(weights @ (member * y[:, None]), inside),
    )


def expected_error(y: Numbers, probability: Numbers, weights: Numbers) -> Numbers:
    """Expected calibration error: mean distance of predicted and observed over the bins, by weight.

    Args as in `curve`.

    Returns:
        Shape (draws,), in [0, 1]; NaN without weight.
    """
    found = curve(y, probability, weights)
    distance = np.abs(np.nan_to_num(found.predicted - found.observed))
    return ratio((found.weight * distance).sum(axis=1), found.weight.sum(axis=1))


class Recalibration(NamedTuple):
    """logit P(y = 1) = intercept + slope * logit(probability), per draw; 0 and 1 are perfect. NaN where undefined."""

    slope: Numbers
    intercept: Numbers


def recalibration(y: Numbers, probability: Numbers, weights: Numbers) -> Recalibration:
    """Slope and intercept by maximum likelihood.

    A slope below 1 means predictions are too extreme. Undefined with one outcome only, with one predicted value only,
    and where a threshold separates the outcomes perfectly.

    Args as in `curve`.
    """
    given = _logits(probability)
    centre = given.mean() if len(given) else 0.0
    level, slope = _fit(y, given - centre, weights)
    return Recalibration(slope=slope, intercept=level - slope * centre)


def in_the_large(y: Numbers, probability: Numbers, weights: Numbers) -> Numbers:
    """Calibration in the large: the intercept while the slope is held at 1, shape (draws,).

    Above 0, more happened than was predicted. Args as in `curve`.
    """
    given = _logits(probability)
    outcomes, total = weights @ y, weights.sum(axis=1)
    shift = np.zeros(len(weights))
    for _ in range(_STEPS):
        expected = expit(shift[:, None] + given)
        slope = (weights * expected * (1 - expected)).sum(axis=1)
        step = _bounded(ratio(outcomes - (weights * expected).sum(axis=1), slope))
        shift = shift + step
        if not (np.abs(step) > 1e-12).any():
            break
    return np.where((outcomes > 0) & (outcomes < total), shift, np.nan)


def net_benefit(y: Numbers, probability: Numbers, weights: Numbers, threshold: float) -> Numbers:
    """Net benefit of treating those with at least this probability, shape (draws,).

    True positives minus false positives times odds of the threshold, per patient. Treating nobody gives 0.

    Args:
        y: Shape (n,), as in `curve`.
        probability: Shape (n,).
        weights: Shape (draws, n).
        threshold: In (0, 1): whoever treats at 0.2 accepts four needless treatments for one that was needed.

    Example:
        >>> y, p = np.array([1.0, 0.0, 0.0, 1.0]), np.array([0.9, 0.6, 0.1, 0.2])
        >>> net_benefit(y, p, np.ones((1, 4)), 0.5).tolist()
        [0.0]
    """
    treated = probability >= threshold
    gain = np.where(treated, y - (1 - y) * threshold / (1 - threshold), 0.0)
    return ratio(weights @ gain, weights.sum(axis=1))


def treat_all(y: Numbers, weights: Numbers, threshold: float) -> Numbers:
    """Net benefit of treating everybody."""
    return net_benefit(y, np.ones(len(y)), weights, threshold)


def ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    """Elementwise quotient; NaN where the denominator is not above zero."""
    result = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def _logits(probability: Numbers) -> Numbers:
    return np.asarray(logit(np.clip(probability, EXTREME, 1 - EXTREME)))


def _bounded(step: Numbers) -> Numbers:
    return np.clip(np.nan_to_num(step), -_LONGEST_STEP, _LONGEST_STEP)


def _fit(y: Numbers, x: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
    """Logistic regression of y on x with an intercept, by bounded Newton steps: (intercept, slope) per draw."""
    total = weights.sum(axis=1)
    level, slope = (
        _bounded(logit(np.clip(ratio(weights @ y, total), EXTREME, 1 - EXTREME))),
        np.zeros(len(weights)),
    )
    reached = np.zeros(len(weights), np.bool_)
    for _ in range(_STEPS):
        expected = expit(level[:, None] + slope[:, None] * x)
        left, bend = weights * (y - expected), weights * expected * (1 - expected)
        a, b, c = bend.sum(axis=1), bend @ x, bend @ x**2
        room = a * c - b**2
        first, second = left.sum(axis=1), left @ x
        solvable = np.where(room > 1e-12 * a * c, room, 0.0)
        up, turn = ratio(c * first - b * second, solvable), ratio(a * second - b * first, solvable)
        level, slope = level + _bounded(up), slope + _bounded(turn)
        reached = (np.abs(up) < 1e-10) & (np.abs(turn) < 1e-10)
        if (reached | np.isnan(up)).all():
            break
    sane = reached & (np.abs(slope) < _STEEPEST)
    return np.where(sane, level, np.nan), np.where(sane, slope, np.nan)
