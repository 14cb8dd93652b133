"""Whom the model works for: the federated model for each declared group of patients, over all sites.

A gap is the metric in a group minus the metric in all patients together; both are taken from the same draws, in which
every group keeps its size. For an outcome of several classes the AUC of a group is over the classes that the group has.
Exact, therefore not private; intervals are not corrected for looking at several groups. A group is judged where it has
patients enough (`common.learning.enough`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning.censoring import integrated_brier
from wardround.common.learning.enough import enough
from wardround.common.learning.intervals import RESAMPLES, percentiles, sample_and_draws
from wardround.common.learning.metrics import metric_names
from wardround.common.learning.resampled import resampled
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    Outcome,
    SurvivalOutcome,
    Targets,
)
from wardround.simulations.evaluation import Board
from wardround.simulations.evidencerows import INTEGRATED, GapRow, WorstGroupRow
from wardround.simulations.resultrows import LOWER_IS_BETTER, SubgroupRow

MODEL: Final = "federated"

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """All held-out patients of all sites, and what one model said of them.

    Attributes:
        outcome: The study's outcome.
        targets: n patients.
        predictions: As `predictions.predict` gives them.
        survival: Shape (n, J) where the model gives survival; else None.
        last: The integrated Brier score is over the cut points before this time, and before the last follow-up.
    """

    outcome: Outcome
    targets: Targets = field(repr=False)
    predictions: Numbers = field(repr=False)
    survival: Numbers | None = field(default=None, repr=False)
    last: float = math.inf

    def take(self, patients: Indices) -> "Whole":
        """Some of the patients."""
        return replace(
            self,
            targets=self.targets.take(patients),
            predictions=self.predictions[patients],
            survival=None if self.survival is None else self.survival[patients],
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """What can be measured."""
        return (*metric_names(self.outcome), *((INTEGRATED,) if self.survival is not None else ()))

    @property
    def horizons(self) -> tuple[float, ...]:
        """The cut points that the integrated Brier score is over; beyond the last follow-up nothing is known."""
        if not isinstance(self.outcome, SurvivalOutcome):
            return ()
        last = min(self.last, self.targets.value.max(initial=0.0))
        return tuple(cut for cut in self.outcome.cut_points if cut < last)

    def measured(self, metric: str, counts: NDArray[np.float32]) -> Numbers:
        """A metric in each draw, shape (draws,); NaN where undefined."""
        if metric != INTEGRATED:
            return resampled(self.outcome, self.targets, self.predictions, metric, counts)
        if (
            not isinstance(self.outcome, SurvivalOutcome)
            or self.survival is None
            or self.targets.event is None
        ):
            return np.full(len(counts), np.nan)
        times = self.horizons
        if not len(times):
            return np.full(len(counts), np.nan)
        time, event = self.targets.value, self.targets.event
        return integrated_brier(
            time, event, self.survival[:, : len(times)], counts.astype(np.float64), np.array(times)
        )


def whole(board: Board, model: str = MODEL) -> Whole | None:
    """All patients together, if the model covers every site."""
    found = board.pooled(model) if model in board.predictions else None
    if found is None:
        return None
    targets, predictions = found
    return Whole(
        outcome=board.outcome,
        targets=targets,
        predictions=predictions,
        survival=board.pooled_survival(model),
    )


def groups_of(board: Board) -> Iterator[tuple[str, str, Indices]]:
    """Every group: its column, its name, and its patients in the order of `whole`."""
    for column, values in board.pooled_groups().items():
        for name in sorted({value for value in values if value is not None}):
            yield column, name, np.flatnonzero(values == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTables:
    """What is said of groups: values, gaps, and the worst group of each column."""

    values: tuple[SubgroupRow, ...]
    gaps: tuple[GapRow, ...]
    worst: tuple[WorstGroupRow, ...]


def group_tables(board: Board, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> GroupTables:
    """The federated model for each group of each declared column, in every metric of the outcome.

    Args:
        board: Truth, groups and predictions.
        rng: Draws the resamples.
        resamples: How many draws.
    """
    everybody = whole(board)
    if everybody is None:
        return GroupTables(values=(), gaps=(), worst=())
    columns: dict[str, dict[str, Indices]] = {}
    for column, name, patients in groups_of(board):
        columns.setdefault(column, {})[name] = patients
    found = [
        _Comparison(everybody, column, groups, metric, rng, resamples)
        for column, groups in columns.items()
        for metric in everybody.metrics
    ]
    return GroupTables(
        values=tuple(row for each in found for row in each.values()),
        gaps=tuple(row for each in found for row in each.gaps()),
        worst=tuple(row for each in found for row in each.worst()),
    )


class _Comparison:
    """One column and one metric: the groups and everybody, in the same draws."""

    def __init__(
        self,
        everybody: Whole,
        column: str,
        groups: dict[str, Indices],
        metric: str,
        rng: np.random.Generator,
        resamples: int,
    ) -> None:
        self._names = {"model": MODEL, "column": column, "metric": metric}
        self._metric = metric
        self._sizes = {name: len(patients) for name, patients in groups.items()}
        parts = {name: everybody.take(patients) for name, patients in groups.items()}
        parts = {name: part for name, part in parts.items() if enough(part.outcome, part.targets)}
        # Integrals over different horizons do not compare.
        last = min((float(part.targets.value.max()) for part in parts.values()), default=math.inf)
        whole = replace(everybody, last=last)
        parts = {name: replace(part, last=last) for name, part in parts.items()}
        measured: dict[str, list[Numbers]] = {name: [] for name in (*parts, "")}
        for counts in sample_and_draws(_strata(everybody, groups, metric), resamples, rng):
            measured[""].append(whole.measured(metric, counts))
            for name, part in parts.items():
                measured[name].append(part.measured(metric, counts[:, groups[name]]))
        # Entry 0 is the sample itself; the draws follow.
        self._all = np.concatenate(measured.pop(""))
        self._found = {name: np.concatenate(draws) for name, draws in measured.items()}

    def values(self) -> Iterator[SubgroupRow]:
        """Each group's own value; NaN where there are too few patients to tell."""
        for name, size in self._sizes.items():
            value, low, high = _summary(self._found.get(name))
            yield SubgroupRow(**self._names, group=name, value=value, low=low, high=high, patients=size)

    def gaps(self) -> Iterator[GapRow]:
        """Each group against everybody."""
        for name, size in self._sizes.items():
            found = self._found.get(name)
            value, low, high = _summary(None if found is None else found - self._all)
            yield GapRow(
                **self._names,
                group=name,
                difference=value,
                low=low,
                high=high,
                patients=size,
                verdict=_verdict(self._metric, low, high),
            )

    def worst(self) -> Iterator[WorstGroupRow]:
        """The group that is served worst, where at least two can be judged."""
        judged = {name: found for name, found in self._found.items() if not np.isnan(found[0])}
        if len(judged) < 2:
            return
        every = np.stack(list(judged.values()))
        ends = every if self._metric not in LOWER_IS_BETTER else -every
        place = int(ends[:, 0].argmin())
        complete = every[:, ~np.isnan(every).any(axis=0)]
        extreme = complete.max(axis=0) if self._metric in LOWER_IS_BETTER else complete.min(axis=0)
        low, high = percentiles(extreme[1:])
        yield WorstGroupRow(
            **self._names,
            group=list(judged)[place],
            value=float(every[place, 0]),
            low=low,
            high=high,
            judged=len(judged),
            too_few=len(self._sizes) - len(judged),
        )


def _strata(everybody: Whole, groups: dict[str, Indices], metric: str) -> Indices:
    """Each group keeps its size in every draw; for an AUC each class of each group does."""
    strata = np.zeros(len(everybody.targets), np.int64)
    for number, patients in enumerate(groups.values(), start=1):
        strata[patients] = number
    if metric == "auc" and isinstance(everybody.outcome, BinaryOutcome | ClassOutcome):
        classes = everybody.targets.value.astype(np.int64)
        strata = strata * (int(classes.max(initial=0)) + 1) + classes
    return strata


def _summary(draws: Numbers | None) -> tuple[float, float, float]:
    if draws is None or np.isnan(draws[0]):
        return float("nan"), float("nan"), float("nan")
    return float(draws[0]), *percentiles(draws[1:])


def _verdict(metric: str, low: float, high: float) -> str:
    if np.isnan(low) or np.isnan(high):
        return "too-few"
    if metric in LOWER_IS_BETTER:
        low, high = -high, -low
    if low > 0:
        return "better"
    return "worse" if high < 0 else "unsure"
