"""What a table of risk bin by time bin by event says: C-index and integrated Brier score.

Every function takes tables of shape (draws, risks, times, 2), exact or noised, and gives shape (draws,). The released
model is public, and so is the survival that it predicts at the middle of each risk bin; it also says how patients lie
within a bin. Of two events in one time bin nobody knows the order: they count as the model's own hazards order them.
A censored patient in the time bin of an event was followed longer in half of the cases.
"""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.learning.calibration import ratio
from wardround.common.learning.histograms import Bins, Counts, Courses

Numbers = NDArray[np.float64]

_SLOTS: Final = 16


@dataclass(frozen=True, kw_only=True)
class SurvivalBins:
    """The public axes of a survival table.

    Attributes:
        risks: Bins of the risk score, in log hazards.
        times: Bins of time; the inner edges are the horizons of the Brier score.
        survival: Shape (risks, times), what the released model predicts at the middle of each risk bin for the end of
            each time bin: the chance of no event. Falls along a row, above 0.
    """

    risks: Bins
    times: Bins
    survival: Numbers = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse a survival that does not fit the bins, or rises."""
        expected = (len(self.risks), len(self.times))
        if self.survival.shape != expected or not (self.hazards >= 0).all():
            raise UsageError(
                f"expected survival that falls along each row, shape {expected}", advice="see SurvivalBins"
            )

    @cached_property
    def hazards(self) -> Numbers:
        """The cumulative hazard within each bin: shape (risks, times)."""
        whole = np.concatenate([np.ones((len(self.risks), 1)), self.survival], axis=1)
        return np.asarray(-np.diff(np.log(whole), axis=1))


def c_index(tables: Numbers, bins: SurvivalBins) -> Numbers:
    """Harrell's concordance.

    Two patients in one risk bin of width w are ordered rightly in 1/2 + w / 12 of the cases, to first order.
    """
    events, lost = tables[..., 1], tables[..., 0]
    everybody = events + lost
    later = np.cumsum(everybody[:, :, ::-1], axis=2)[:, :, ::-1] - everybody + 0.5 * lost
    lower = np.cumsum(later, axis=1) - later
    level = 0.5 + np.diff(bins.risks.ends)[:, None] / 12
    right = (events * (lower + later * level)).sum(axis=(1, 2))
    pairs = (events.sum(axis=1) * later.sum(axis=1)).sum(axis=1)
    same, same_right = _same_time(events, bins)
    return ratio(right + same_right, pairs + same)


def _same_time(events: Numbers, bins: SurvivalBins) -> tuple[Numbers, Numbers]:
    """Pairs of events in one time bin, and how many of them are ordered rightly: 1/2 + (difference in hazard) / 12."""
    own = 0.5 * events**2
    pairs, right = own.sum(axis=(1, 2)), 0.5 * own.sum(axis=(1, 2))
    for lower, higher in combinations(range(len(bins.risks)), 2):
        both = events[:, lower] * events[:, higher]
        first = 0.5 + np.clip(bins.hazards[higher] - bins.hazards[lower], 0.0, 3.0) / 12
        pairs, right = pairs + both.sum(axis=1), right + (both * first).sum(axis=1)
    return pairs, right


def followed(tables: Numbers) -> Numbers:
    """The chance of still being followed at the beginning and after each time bin: shape (draws, times + 1).

    Losses lie evenly in their bin, so half of its deaths come before them (the actuarial estimate).
    """
    lost, died = tables[..., 0].sum(axis=1), tables[..., 1].sum(axis=1)
    present = np.cumsum((lost + died)[:, ::-1], axis=1)[:, ::-1]
    leave = np.clip(np.nan_to_num(ratio(lost, present - died / 2)), 0.0, 0.99)
    return np.concatenate([np.ones((len(tables), 1)), np.cumprod(1 - leave, axis=1)], axis=1)


def integrated_brier(tables: Numbers, bins: SurvivalBins) -> Numbers:
    """The Brier score over the inner edges of time, by inverse probability of censoring; see `censoring`."""
    chance, everybody = followed(tables), tables.sum(axis=-1)
    own = np.sqrt(chance[:, :-1] * chance[:, 1:])
    scores = []
    for place in range(len(bins.times.edges)):
        survival = bins.survival[:, place][:, None]
        early = tables[:, :, : place + 1, 1] / own[:, None, : place + 1] * survival**2
        late = everybody[:, :, place + 1 :] * (1 - survival) ** 2
        total = early.sum(axis=(1, 2)) + late.sum(axis=(1, 2)) / chance[:, place + 1]
        scores.append(ratio(total, everybody.sum(axis=(1, 2))))
    times, found = np.array(bins.times.edges), np.stack(scores, axis=1)
    if len(times) == 1:
        return np.asarray(found[:, 0])
    return np.asarray(np.trapezoid(found, times, axis=1) / (times[-1] - times[0]))


def scattered(table: Counts, rng: np.random.Generator, *, bins: SurvivalBins) -> Courses:
    """Patients whose table this is, lying in their bins as the released model would have it.

    Risks are even in their bin before anything is known; what happened makes the higher or the lower ones likelier.

    Args:
        table: Shape (risks, times, 2), exact counts.
        rng: Draws where in its bin each patient lies.
        bins: Public.
    """
    risk, time, event = (np.repeat(axis.ravel(), table.ravel()) for axis in np.indices(table.shape))
    chances = np.cumsum(_likelihood(bins), axis=-1)[risk, time, event]
    slot = (rng.random(len(risk))[:, None] * chances[:, -1:] > chances).sum(axis=1)
    width = np.diff(bins.risks.ends)[risk]
    above = (slot + rng.random(len(risk))) / _SLOTS - 0.5
    hazard = bins.hazards[risk, time] * np.exp(above * width)
    at = rng.random(len(time))
    early = -np.log1p(-at * -np.expm1(-hazard)) / np.maximum(hazard, 1e-12)
    part = np.clip(np.where(event == 1, early, at), 1e-6, 1.0)  # nobody is at time 0
    span = np.diff(bins.times.ends)[time]
    return Courses(bins.risks.middles[risk] + above * width, bins.times.ends[time] + part * span, event == 1)


def _likelihood(bins: SurvivalBins) -> Numbers:
    """How likely each course is at each of `_SLOTS` places within a risk bin: shape (risks, times, 2, slots)."""
    places = (np.arange(_SLOTS) + 0.5) / _SLOTS - 0.5
    relative = np.exp(places * np.diff(bins.risks.ends)[:, None])[:, None, :]
    inside = bins.hazards[:, :, None]
    before = np.cumsum(inside, axis=1) - inside
    happened = np.exp(-before * relative) * -np.expm1(-inside * relative)
    lost = np.exp(-(before + inside / 2) * relative)
    return np.stack([lost, happened], axis=2) + 1e-300
