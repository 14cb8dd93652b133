"""One fully crossed table of held-out patients: the only thing that a private evaluation asks of a site for.

Every patient is in exactly one cell, so adding or removing a patient changes one cell by one: sensitivity 1 by
construction, whatever the model, the scores or the patients are. Several samples of a patient must have been reduced
to one score first.
Bins are public constants; whatever lies outside, or is no number, is put into the nearest or the first bin. A value of
the group column that was not declared counts in a last group of its own, so that nobody is left out or counted twice.

The counts are exact and therefore private: they leave a site only under noise (see `noisytables`), and each further
table, model or grouping of the same patients is charged again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]


class Forecasts(NamedTuple):
    """n patients of a yes-or-no question: probabilities, and 1 where it happened."""

    probability: Numbers
    y: Numbers


class Courses(NamedTuple):
    """n patients followed over time: risk scores, times, and whether the event was observed."""

    risk: Numbers
    time: Numbers
    event: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Public bins of a score.

    Attributes:
        edges: The inner edges, increasing; a value on an edge belongs to the bin below it.
        low: Where values are taken to begin, for what stands for the patients of a bin; an edge may lie below.
        high: Where they are taken to end; an edge may lie above.
        source: Where the edges come from; never the held-out patients.
    """

    edges: tuple[float, ...]
    low: float
    high: float
    source: str

    def __post_init__(self) -> None:
        """Refuse edges that do not increase."""
        ends = np.array([self.low, self.high, *self.edges], np.float64)
        if not (np.isfinite(ends).all() and self.low < self.high and (np.diff(self.edges) > 0).all()):
            raise UsageError(f"expected increasing finite bin edges, found {list(map(float, self.ends))}")

    @property
    def ends(self) -> Numbers:
        """All edges, the outer ones included: shape (bins + 1,)."""
        return np.array([self.low, *self.edges, self.high], np.float64)

    @property
    def spans(self) -> Numbers:
        """Where the values of each bin are taken to lie: shape (bins, 2).

        A bin beyond all values is taken to be as wide as the last one that holds some.

        >>> Bins(edges=(0.25, 0.5, 1.0), low=0.0, high=0.75, source="s").spans.tolist()
        [[0.0, 0.25], [0.25, 0.5], [0.5, 0.75], [1.0, 1.25]]
        """
        inside = [self.low, *(edge for edge in self.edges if self.low < edge < self.high), self.high]
        below = min(self.low, self.edges[0] - (inside[1] - inside[0]))
        above = max(self.high, self.edges[-1] + (inside[-1] - inside[-2]))
        whole = np.array([[below, *self.edges], [*self.edges, above]]).T
        taken = whole.clip(self.low, self.high)
        return np.where(taken[:, :1] < taken[:, 1:], taken, whole)

    @property
    def middles(self) -> Numbers:
        """The value that stands for each bin: shape (bins,)."""
        return np.asarray(self.spans.mean(axis=1))

    @property
    def widths(self) -> Numbers:
        """How wide the span of each bin is: shape (bins,)."""
        return np.asarray(np.diff(self.spans, axis=1)[:, 0])

    def __len__(self) -> int:
        return len(self.edges) + 1

    def place(self, values: Numbers) -> Counts:
        """The bin of each value; what is no number goes into the first.

        >>> PROBABILITY.place(np.array([0.05, 0.051, 7.0, float("nan")])).tolist()
        [0, 1, 7, 0]
        """
        found = np.searchsorted(self.edges, np.nan_to_num(values, nan=-np.inf), side="left")
        return found.astype(np.int64)


PROBABILITY: Final = Bins(
    edges=(0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85), low=0.0, high=1.0, source="round numbers, fixed in advance"
)
"""Bins that follow no model; see `tablebins` for those that do."""


def binary_table(
    patients: Forecasts, *, bins: Bins, group: Sequence[object] = (), groups: tuple[str, ...] = ()
) -> Counts:
    """Patients by score bin, outcome and group.

    Args:
        patients: n patients, one score each; any y but 1 counts as not.
        bins: Public.
        group: n values; leave out without groups.
        groups: The declared groups.

    Returns:
        Shape (bins, 2, groups + 1); without groups (bins, 2, 1). Sums to n.

    Raises:
        UsageError: There is not one score, outcome and group for each patient.

    Example:
        >>> two = Forecasts(np.array([0.9, 0.01]), np.array([1.0, 0.0]))
        >>> binary_table(two, bins=PROBABILITY)[:, :, 0].sum(axis=0).tolist()
        [1, 1]
    """
    n = _alike(patients.probability, patients.y)
    table = np.zeros((len(bins), 2, len(groups) + 1), np.int64)
    happened = (patients.y == 1).astype(np.int64)
    np.add.at(table, (bins.place(patients.probability), happened, _groups(group, groups, n)), 1)
    return table


def survival_table(patients: Courses, *, risks: Bins, times: Bins) -> Counts:
    """Patients by risk bin, time bin, and whether the event was observed.

    Args:
        patients: n patients, one row each.
        risks: Public bins of risk.
        times: Public bins of time.

    Returns:
        Shape (risks, times, 2). Sums to n.

    Raises:
        UsageError: There is not one risk, time and event for each patient.
    """
    _alike(patients.risk, patients.time, patients.event)
    table = np.zeros((len(risks), len(times), 2), np.int64)
    cells = risks.place(patients.risk), times.place(patients.time), patients.event.astype(np.int64)
    np.add.at(table, cells, 1)
    return table


def _alike(*columns: NDArray[np.generic]) -> int:
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise UsageError(f"expected one value of each kind for each patient, found {sorted(lengths)} values")
    return lengths.pop()


def _groups(group: Sequence[object], groups: tuple[str, ...], n: int) -> Counts:
    if not groups:
        return np.zeros(n, np.int64)
    if len(group) != n:
        raise UsageError(f"expected a group, known or not, for each of {n} patients, found {len(group)}")
    known = {name: place for place, name in enumerate(groups)}
    return np.array([known.get(str(value), len(groups)) for value in group], np.int64)
