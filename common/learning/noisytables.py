"""Estimates and intervals from a noised table of patients.

Known: the noised cells and the standard deviation of the noise in each. Two 95% intervals are given: *privacy-only*
covers what an exact evaluation of the same patients would say, *total* covers the truth in the population that they
came from. Both come from simulation. Tables like the noised one are noised again, and for the total interval drawn
again; patients are laid into the bins of such tables, to see by how much bins differ from an exact evaluation. The
estimate is corrected by the mean of that difference, and an interval reaches as far to both sides as `_LEVEL` of the
simulated estimates lie from their own truth. No formula per statistic is needed.

Suppression looks at noised cells only, which costs nothing: where they say that there are too few patients, or where
the noise leaves a statistic undefined too often, the estimate is withheld and says so.

Source: Efron and Tibshirani (1993), chapter 10 (bootstrap bias) and 13, with the noise as a part of the model.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import positive
from wardround.common.errors import UsageError

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]
Patients = TypeVar("Patients")

REPLICATES: Final = 400
LAID_OUT: Final = 40
MOST_PATIENTS: Final = 50_000
"""Patients that are laid out at most: of a larger table so many are drawn, lest one reply of a hospital that claims
millions fills the memory of everybody who looks at the sum. How bins differ from an exact evaluation they tell too."""
MOST_COUNTED: Final = 2.0**48
"""No table of patients has more in a cell, noise included."""
FEWEST: Final = 10.0
STEADY: Final = 3.0
"""A count is believed where it is so many standard deviations of its noise above zero."""
_DEFINED: Final = 0.9
_LEVEL: Final = 0.96
"""Simulated tables are like the noised one, not like the exact one, and there are few of them: at .95, intervals of 95%
were measured to hold their truth in 92 to 95 of 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisedTable:
    """What left the sites: cells under noise.

    Attributes:
        cells: Counts plus noise, any shape; may be negative.
        deviation: Standard deviation of the noise in every cell, > 0.
    """

    cells: Numbers = field(repr=False)
    deviation: float

    def __post_init__(self) -> None:
        """Refuse a table that nobody noised, and one that counts no patients."""
        positive(deviation=self.deviation)
        if not (np.abs(self.cells) <= MOST_COUNTED).all():  # NaN fails too
            raise UsageError(f"a cell of the table is not finite or exceeds {MOST_COUNTED:g}")

    def believed(self, part: Numbers) -> bool:
        """Whether the noised sum of some cells shows at least `FEWEST` patients, and is clear of its noise."""
        return float(part.sum()) >= max(FEWEST, STEADY * self.deviation * math.sqrt(part.size))

    def over(self, axes: tuple[int, ...]) -> "NoisedTable":
        """The table summed over some axes; its noise is that of as many cells.

        Example:
            >>> NoisedTable(cells=np.ones((3, 2, 4)), deviation=1.0).over((2,)).deviation
            2.0
        """
        cells = math.prod(self.cells.shape[axis] for axis in axes)
        return NoisedTable(cells=self.cells.sum(axis=axes), deviation=self.deviation * math.sqrt(cells))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(Generic[Patients]):
    """One statistic.

    Attributes:
        binned: Of tables, shape (draws, ...) to (draws,).
        exact: Of patients.
        covers: `population`, or `patients` where a sample says systematically more than its population, as with an
            expected calibration error; then there is no total interval.
    """

    binned: Callable[[Numbers], Numbers]
    exact: Callable[[Patients], float]
    covers: Literal["population", "patients"] = "population"


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """One number from a noised table; all NaN where it is withheld.

    Attributes:
        value: The estimate.
        private: Low and high of the 95% interval for the exact value of the same patients.
        total: Low and high of the 95% interval for the population.
    """

    value: float
    private: tuple[float, float]
    total: tuple[float, float]

    @property
    def withheld(self) -> bool:
        """Whether there is nothing to show."""
        return math.isnan(self.value)


_NOTHING: Final = (math.nan, math.nan)
WITHHELD: Final = Estimate(value=math.nan, private=_NOTHING, total=_NOTHING)


def estimates(
    table: NoisedTable,
    measures: Mapping[str, Measure[Patients]],
    lay_out: Callable[[Counts, np.random.Generator], Patients],
    *,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
) -> dict[str, Estimate]:
    """Every measure with both intervals.

    Args:
        table: Noised cells; their sum is believed (see `NoisedTable.believed`).
        measures: By name.
        lay_out: Patients whose table an exact table is; see `scattered` beside the statistics.
        rng: Draws the simulated tables. It holds nothing secret: whoever has the noised table may draw anew.
        replicates: How many simulated tables.
    """
    share = np.maximum(table.cells, 0.0)
    total = max(1, round(float(table.cells.sum())))
    like = share * (total / share.sum())
    chances = (like / like.sum()).ravel()
    drawn = rng.multinomial(total, chances, replicates).reshape(replicates, *share.shape)
    noise = rng.normal(0.0, table.deviation, drawn.shape)
    few = drawn[:LAID_OUT]
    if total > MOST_PATIENTS:
        few = rng.multinomial(MOST_PATIENTS, chances, len(few)).reshape(few.shape)
    laid = few, [lay_out(each, rng) for each in few]
    return {name: _estimate(table, measure, like, drawn, noise, laid) for name, measure in measures.items()}


def _estimate(
    table: NoisedTable,
    measure: Measure[Patients],
    like: Numbers,
    drawn: Counts,
    noise: Numbers,
    laid: tuple[Counts, list[Patients]],
) -> Estimate:
    value, centre = (float(each) for each in measure.binned(np.stack([table.cells, like])))
    few, patients = laid
    coarse = np.array([measure.exact(each) for each in patients]) - measure.binned(few.astype(np.float64))
    coarse = coarse[~np.isnan(coarse)]
    if not len(coarse) or math.isnan(value + centre):
        return WITHHELD
    again = measure.binned(table.cells + noise) - value
    # Where in their bins patients lie is as unknown as the noise.
    private = _reach(again + np.resize(coarse - coarse.mean(), len(again)))
    value += float(coarse.mean())
    if math.isnan(private):
        return WITHHELD
    around = Estimate(value=value, private=(value - private, value + private), total=_NOTHING)
    if measure.covers == "patients":
        return around
    # Drawing the patients again is never surer than keeping them.
    sampled = max(_reach(measure.binned(drawn + noise) - centre), private)
    return WITHHELD if math.isnan(sampled) else replace(around, total=(value - sampled, value + sampled))


def _reach(deviations: Numbers) -> float:
    """How far nearly all lie from the centre; NaN where too many are undefined."""
    known = np.abs(deviations[~np.isnan(deviations)])
    return float(np.quantile(known, _LEVEL)) if len(known) >= _DEFINED * len(deviations) else math.nan
