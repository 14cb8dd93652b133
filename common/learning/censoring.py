"""Survival probabilities against what happened, where some patients were not followed to the end.

A patient who was lost before a horizon says nothing about it; those who were followed count for the lost by the inverse
of their chance of being followed (IPCW). That chance is the reverse Kaplan-Meier estimate from the same patients; it
assumes that censoring does not depend on prognosis. At equal times deaths come before losses. All exact, not private.

As in `calibration`, counts have shape (draws, n), and a row of ones is the sample itself.

Sources: Graf et al. (1999), "Assessment and comparison of prognostic classification schemes for survival data"; ties
and the integral as in scikit-survival.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from wardround.common.learning.calibration import ratio

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


def survival_curves(risk: Numbers, baseline: Numbers) -> Numbers:
    """The chance of no event up to the end of each interval, from the discrete-time hazard model.

    Args:
        risk: Shape (n,), risk scores.
        baseline: Shape (J,), the logit of the hazard in each interval at risk 0.

    Returns:
        Shape (n, J), falling along each row.

    Example:
        >>> survival_curves(np.array([0.0]), np.array([0.0, 0.0])).tolist()
        [[0.5, 0.25]]
    """
    stays = expit(-(np.asarray(risk, np.float64)[:, None] + np.asarray(baseline, np.float64)))
    return np.asarray(np.cumprod(stays, axis=1))


class Followed(NamedTuple):
    """The chance of still being followed: at each patient's own time, (draws, n), and at a horizon, (draws,)."""

    own: Numbers
    horizon: Numbers


def followed(time: Numbers, event: Flags, counts: Numbers, horizon: float) -> Followed:
    """Reverse Kaplan-Meier estimate of being followed beyond a time.

    Args:
        time: Shape (n,), > 0.
        event: Shape (n,), True where the event was observed.
        counts: Shape (draws, n), >= 0.
        horizon: A time.
    """
    ends, place = np.unique(time, return_inverse=True)
    if not len(ends):
        return Followed(np.ones(counts.shape), np.ones(len(counts)))
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(ends)))
    leaving = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.float64)
    lost = np.add.reduceat((counts * ~event)[:, order], starts, axis=1, dtype=np.float64)
    present = np.cumsum(leaving[:, ::-1], axis=1)[:, ::-1] - (leaving - lost)
    chance = np.cumprod(1 - np.nan_to_num(ratio(lost, present)), axis=1)
    before = np.concatenate([np.ones((len(counts), 1)), chance], axis=1)
    return Followed(
        np.asarray(chance[:, place], np.float64), before[:, np.searchsorted(ends, horizon, side="right")]
    )


def horizon_weights(time: Numbers, event: Flags, counts: Numbers, horizon: float) -> Numbers:
    """What each patient counts for the question "did it happen by the horizon?", shape (draws, n).

    0 for those lost before; the others' weights sum to about the drawn number of patients.

    Args as in `followed`.
    """
    chance = followed(time, event, counts, horizon)
    by_then, beyond = (time <= horizon) & event, time > horizon
    known = np.where(by_then, np.nan_to_num(ratio(counts * by_then, chance.own)), 0.0)
    later = np.nan_to_num(ratio(counts * beyond, np.broadcast_to(chance.horizon[:, None], counts.shape)))
    return np.asarray(known + later)


def brier_at(time: Numbers, event: Flags, survival: Numbers, counts: Numbers, horizon: float) -> Numbers:
    """The Brier score at a horizon, shape (draws,).

    Args:
        time: Shape (n,), as in `followed`.
        event: Shape (n,).
        survival: Shape (n,), the predicted chance of no event up to the horizon.
        counts: Shape (draws, n).
        horizon: A time.
    """
    happened = (time <= horizon) & event
    errors = (happened - (1 - survival)) ** 2
    return ratio(horizon_weights(time, event, counts, horizon) @ errors, counts.sum(axis=1, dtype=np.float64))


def integrated_brier(
    time: Numbers, event: Flags, survival: Numbers, counts: Numbers, times: Numbers
) -> Numbers:
    """The Brier score over the horizons, by the trapezoid rule, divided by their span; 0 is best.

    Args:
        time: Shape (n,), as in `followed`.
        event: Shape (n,).
        survival: Shape (n, J), the predicted chance of no event up to each horizon.
        counts: Shape (draws, n).
        times: Shape (J,), increasing, J >= 1. One horizon gives its own score.

    Returns:
        Shape (draws,).
    """
    scores = np.stack([brier_at(time, event, survival[:, j], counts, t) for j, t in enumerate(times)], axis=1)
    if len(times) == 1:
        return np.asarray(scores[:, 0])
    return np.asarray(np.trapezoid(scores, times, axis=1) / (times[-1] - times[0]))
