"""How sure a released model is about one patient, from the study's noised table and nothing else.

The interval of a probability is an interval for a *group*: of held-out patients whose prediction lay in the same public
bin, or in neighbouring ones where those are few, the share to whom it happened lies in it, with 95% confidence, noise
and sampling included. It need not hold the predicted probability itself; where it does not, the model is wrong on such
patients and the interval is right. It says nothing about how one patient differs from others in the group.

A prediction set is conformal (see `conformal`). Survival has none: of a patient who was lost nobody knows the score,
and a bound under censoring needs a model of who is lost (Candes, Lei and Ren 2023), which a noised table cannot check.

The simulated tables behind an interval are drawn from a fixed seed: equal files give equal answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning import conformal
from wardround.common.learning.calibration import ratio
from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.histograms import Bins, Counts, Courses
from wardround.common.learning.noisytables import WITHHELD, Estimate, Measure, NoisedTable, estimates
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome, Outcome, SurvivalOutcome

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

NO_TABLE: Final = "the study released no calibration table"
TOO_FEW: Final = "too few held-out patients with such a prediction for the noise of the table"
SURVIVAL_SET: Final = (
    "not offered for survival: a lost patient has no known time, and the table cannot tell who is lost"
)
TOO_FEW_FOR_SETS: Final = "too few held-out patients for this coverage and the noise of the table"
ENOUGH: Final = 50.0
"""Patients that the noised cells of an interval show at least, where there are more bins than that needs."""
_SEED: Final = 20230731


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """A calibration, ready to answer for many patients.

    Attributes:
        outcome: Of the study.
        calibration: What the study released about the model.
        coverage: Declared coverage of the sets.
    """

    outcome: Outcome
    calibration: Calibration = field(repr=False)
    coverage: float = conformal.COVERAGE

    @cached_property
    def limit(self) -> float:
        """The threshold of the sets; infinite where the table supports none, and for survival."""
        if isinstance(self.outcome, SurvivalOutcome):
            return math.inf
        return conformal.threshold(self._scored, coverage=self.coverage)

    @cached_property
    def _scored(self) -> conformal.ScoredTable:
        table, bins = self.calibration.table, self.calibration.bins
        if isinstance(self.outcome, ContinuousOutcome):
            return conformal.of_distances(table, bins[0])
        if isinstance(self.outcome, ClassOutcome):
            return conformal.of_classes(table, bins)
        return conformal.of_forecasts(NoisedTable(cells=table.cells[0], deviation=table.deviation), bins[0])

    def sets(self, probabilities: Numbers) -> Flags | None:
        """Which classes each patient's set holds, shape (n, classes); None where the table supports no set.

        Args:
            probabilities: Shape (n, classes); for a binary outcome negative, then positive.
        """
        if not math.isfinite(self.limit):
            return None
        bins = self.calibration.bins
        if isinstance(self.outcome, ClassOutcome):
            return conformal.admitted(conformal.class_scores(probabilities, bins), self.limit)
        return conformal.admitted(conformal.forecast_scores(probabilities[:, 1], bins[0]), self.limit)

    @cached_property
    def groups(self) -> tuple[NDArray[np.int64], ...]:
        """Of each subject the group of each bin: neighbours are joined until enough patients are seen."""
        table = self.calibration.table
        return tuple(joined(NoisedTable(cells=cells, deviation=table.deviation)) for cells in table.cells)

    @cached_property
    def by_bin(self) -> Numbers:
        """Low and high of the share in the group of each bin: shape (subjects, bins, 2); NaN where withheld."""
        deviation, found = self.calibration.table.deviation, []
        for cells, group in zip(self.calibration.table.cells, self.groups, strict=True):
            each = [_observed(cells[group == place], deviation) for place in range(group[-1] + 1)]
            found.append(_shares_of(each)[group])
        return np.stack(found)

    def intervals(self, probabilities: Numbers) -> Numbers:
        """The interval of each class's probability, shape (n, classes, 2); NaN where the table supports none."""
        bins = self.calibration.bins
        if isinstance(self.outcome, ClassOutcome):
            classes = zip(self.by_bin, bins, probabilities.T, strict=True)
            return np.stack([found[own.place(column)] for found, own, column in classes], axis=1)
        positive = self.by_bin[0][bins[0].place(probabilities[:, 1])]
        return np.stack([1 - positive[:, ::-1], positive], axis=1)

    @cached_property
    def survival_by_bin(self) -> Numbers:
        """Low and high of the survival in each risk bin to each horizon: shape (bins, horizons, 2)."""
        calibration = self.calibration
        if calibration.times is None:
            return np.empty((0, 0, 2))
        horizons = range(len(calibration.times.edges))
        found = [
            [_survival(calibration, risk, horizon) for horizon in horizons]
            for risk in range(len(calibration.bins[0]))
        ]
        return np.stack([_shares_of(row) for row in found])

    def survival_intervals(self, by_last: Numbers) -> Numbers:
        """The interval of survival to each horizon, shape (n, horizons, 2).

        Args:
            by_last: Shape (n,), the predicted chance of the event by the last horizon.
        """
        return self.survival_by_bin[self.calibration.bins[0].place(by_last)]


def _shares_of(found: Sequence[Estimate]) -> Numbers:
    return np.clip(np.array([each.total for each in found], np.float64), 0.0, 1.0)


def joined(table: NoisedTable) -> NDArray[np.int64]:
    """Neighbouring bins joined until the noised cells show `ENOUGH` patients; what is left joins the last group.

    Args:
        table: Shape (bins, 2).

    Returns:
        Shape (bins,), numbers from 0 that never decrease.

    Example:
        >>> cells = np.array([[30.0, 30.0], [60.0, 0.0], [50.0, 50.0], [3.0, 1.0]])
        >>> joined(NoisedTable(cells=cells, deviation=1.0)).tolist()
        [0, 1, 2, 2]
    """
    group, start, found = np.zeros(len(table.cells), np.int64), 0, 0
    for end in range(1, len(table.cells) + 1):
        part = table.cells[start:end]
        group[start:end] = found
        if table.believed(part) and part.sum() >= ENOUGH:
            start, found = end, found + 1
    group[group == found] = max(found - 1, 0)
    return group


def _observed(cells: Numbers, deviation: float) -> Estimate:
    """The share to whom it happened, of the patients of some bins."""
    part = NoisedTable(cells=cells, deviation=deviation)
    if not part.believed(part.cells):
        return WITHHELD
    share: Measure[Numbers] = Measure(
        binned=_share, exact=lambda outcomes: float(outcomes.mean()) if len(outcomes) else math.nan
    )
    rng = np.random.default_rng(_SEED)
    return estimates(part, {"": share}, _outcomes, rng=rng)[""]


def _share(tables: Numbers) -> Numbers:
    return ratio(tables[..., 1].sum(axis=1), tables.sum(axis=(1, 2)))


def _outcomes(table: Counts, _: np.random.Generator) -> Numbers:
    return np.repeat([0.0, 1.0], table.sum(axis=0))


def _survival(calibration: Calibration, risk: int, horizon: int) -> Estimate:
    """Survival to a horizon in one bin of risk, from its noised row."""
    table, times = calibration.table, calibration.times
    part = NoisedTable(cells=table.cells[risk], deviation=table.deviation)
    if times is None or not part.believed(part.cells):
        return WITHHELD
    measure = Measure(
        binned=partial(actuarial, horizon=horizon), exact=partial(kaplan_meier, at=times.edges[horizon])
    )
    rng = np.random.default_rng(_SEED)
    return estimates(part, {"": measure}, partial(_laid_out, times=times), rng=rng)[""]


def actuarial(tables: Numbers, horizon: int) -> Numbers:
    """Survival to the end of a time bin, from tables of shape (draws, times, 2), lost and died: shape (draws,).

    Losses lie evenly in their bin, so half of them are still there when the bin's patients die.

    Example:
        >>> actuarial(np.array([[[0.0, 5.0], [0.0, 5.0]]]), 0).tolist()
        [0.5]
    """
    lost, died = tables[..., 0], tables[..., 1]
    present = np.cumsum((lost + died)[:, ::-1], axis=1)[:, ::-1]
    dies = np.clip(ratio(died, present - lost / 2), 0.0, 1.0)
    return np.asarray(np.prod(1 - dies[:, : horizon + 1], axis=1))


def kaplan_meier(patients: Courses, at: float) -> float:
    """Survival to a time, by Kaplan and Meier (1958); NaN without patients."""
    if not len(patients.time):
        return math.nan
    deaths, died = np.unique(patients.time[patients.event & (patients.time <= at)], return_counts=True)
    present = len(patients.time) - np.searchsorted(np.sort(patients.time), deaths)
    return float(np.prod(1 - died / present))


def _laid_out(table: Counts, rng: np.random.Generator, *, times: Bins) -> Courses:
    """Patients whose table this is, spread evenly over their bins of time."""
    place, event = (np.repeat(axis.ravel(), table.ravel()) for axis in np.indices(table.shape))
    time = times.ends[place] + (1 - rng.random(len(place))) * np.diff(times.ends)[place]
    return Courses(np.zeros(len(place)), time, event == 1)
