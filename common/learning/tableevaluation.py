"""A whole evaluation from one noised table: every measure of an outcome, for all patients and for each group.

What the noised cells do not support is withheld, and stays in the answer as withheld. A group of a crossed table is a
slice of it; all patients are its sum over groups, whose noise is that of as many cells.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning import calibration, metrics, tablestatistics, tablesurvival
from wardround.common.learning.censoring import integrated_brier
from wardround.common.learning.histograms import Bins, Courses, Forecasts
from wardround.common.learning.noisytables import (
    REPLICATES,
    WITHHELD,
    Estimate,
    Measure,
    NoisedTable,
    estimates,
)
from wardround.common.learning.tablesurvival import SurvivalBins

Numbers = NDArray[np.float64]
_P = TypeVar("_P", Forecasts, Courses)


def forecast_measures(bins: Bins, deviation: float) -> dict[str, Measure[Forecasts]]:
    """The measures of a yes-or-no question.

    Args:
        bins: Public; .5 is one of the edges.
        deviation: Of the noise in each cell.

    Returns:
        `auc`, `accuracy` (where .5 is an edge), `brier`, the calibration measures, `net_benefit_at_<edge>` for each
        inner edge, and `observed_<number>` for each bin.
    """
    table = tablestatistics

    def fitted(part: str) -> Measure[Forecasts]:
        return Measure(
            binned=lambda tables: getattr(table.recalibrated(tables, bins), part),
            exact=_exact(lambda y, p, one: getattr(calibration.recalibration(y, p, one), part)),
        )

    found: dict[str, Measure[Forecasts]] = {
        "auc": Measure(binned=partial(table.auc, bins=bins), exact=lambda f: metrics.auc(f.y, f.probability)),
        "brier": Measure(
            binned=partial(table.brier, bins=bins), exact=lambda f: metrics.brier(f.y, f.probability)
        ),
        "calibration_slope": fitted("slope"),
        "calibration_intercept": fitted("intercept"),
        "calibration_in_the_large": Measure(
            binned=partial(table.in_the_large, bins=bins), exact=_exact(calibration.in_the_large)
        ),
        "expected_calibration_error": Measure(
            binned=partial(table.expected_error, bins=bins, deviation=deviation),
            exact=partial(_expected_error, bins=bins),
            covers="patients",
        ),
    }
    if 0.5 in bins.edges:
        found["accuracy"] = Measure(
            binned=partial(table.accuracy, bins=bins), exact=lambda f: metrics.accuracy(f.y, f.probability)
        )
    for edge in bins.edges:
        found[f"net_benefit_at_{edge:g}"] = Measure(
            binned=partial(table.net_benefit, bins=bins, threshold=edge),
            exact=_exact(partial(_net_benefit, threshold=edge)),
        )
    for place in range(len(bins)):
        found[f"observed_{place}"] = Measure(
            binned=partial(table.observed, place=place), exact=partial(_observed, bins=bins, place=place)
        )
    return found


def _exact(of: Callable[[Numbers, Numbers, Numbers], Numbers]) -> Callable[[Forecasts], float]:
    """A statistic of `calibration`, for patients who each count once."""
    return lambda f: float(of(f.y, f.probability, np.ones((1, len(f.y))))[0])


def _net_benefit(y: Numbers, probability: Numbers, one: Numbers, threshold: float) -> Numbers:
    # A probability on an edge is in the bin below it.
    return calibration.net_benefit(y, (probability > threshold).astype(np.float64), one, threshold)


def _expected_error(patients: Forecasts, bins: Bins) -> float:
    surplus = np.bincount(
        bins.place(patients.probability), weights=patients.y - patients.probability, minlength=len(bins)
    )
    return float(np.abs(surplus).sum() / len(patients.y)) if len(patients.y) else math.nan


def _observed(patients: Forecasts, bins: Bins, place: int) -> float:
    inside = patients.y[bins.place(patients.probability) == place]
    return float(inside.mean()) if len(inside) else math.nan


def course_measures(bins: SurvivalBins) -> dict[str, Measure[Courses]]:
    """The measures of survival: `c_index` and `integrated_brier`."""
    return {
        "c_index": Measure(
            binned=partial(tablesurvival.c_index, bins=bins),
            exact=lambda c: metrics.c_index(c.time, c.event, c.risk),
        ),
        "integrated_brier": Measure(
            binned=partial(tablesurvival.integrated_brier, bins=bins), exact=partial(_brier, bins=bins)
        ),
    }


def _brier(patients: Courses, bins: SurvivalBins) -> float:
    place, times = bins.risks.place(patients.risk), np.array(bins.times.edges)
    shift = np.exp(patients.risk - bins.risks.middles[place])[:, None]
    survival = bins.survival[place, : len(times)] ** shift
    return float(
        integrated_brier(patients.time, patients.event, survival, np.ones((1, len(place))), times)[0]
    )


def evaluate_forecasts(
    table: NoisedTable,
    bins: Bins,
    groups: tuple[str, ...],
    *,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
    only: tuple[str, ...] = (),
) -> dict[str, dict[str, Estimate]]:
    """Every measure for all patients (under "") and for each declared group.

    Args:
        table: Cells of shape (bins, 2, groups + 1), as `histograms.binary_table` counts them.
        bins: Public.
        groups: The declared groups, in the order of the table.
        rng: See `noisytables.estimates`.
        replicates: As there.
        only: Measures that are wanted; all where empty.
    """
    everybody = table.deviation * math.sqrt(table.cells.shape[2])
    slices = {"": NoisedTable(cells=table.cells.sum(axis=2), deviation=everybody)}
    for number, name in enumerate(groups):
        slices[name] = NoisedTable(cells=table.cells[:, :, number], deviation=table.deviation)
    return {name: _forecasts(part, bins, only, rng, replicates) for name, part in slices.items()}


def _forecasts(
    part: NoisedTable, bins: Bins, only: tuple[str, ...], rng: np.random.Generator, replicates: int
) -> dict[str, Estimate]:
    measures = _wanted(forecast_measures(bins, part.deviation), only)
    if not all(part.believed(part.cells[:, outcome]) for outcome in (0, 1)):
        return dict.fromkeys(measures, WITHHELD)
    few = {f"observed_{n}" for n, row in enumerate(part.cells) if not part.believed(row)}
    asked = {name: measure for name, measure in measures.items() if name not in few}
    lay_out = partial(tablestatistics.scattered, bins=bins)
    found = estimates(part, asked, lay_out, rng=rng, replicates=replicates)
    return {name: found.get(name, WITHHELD) for name in measures}


def evaluate_courses(
    table: NoisedTable,
    bins: SurvivalBins,
    *,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
    only: tuple[str, ...] = (),
) -> dict[str, Estimate]:
    """Every measure of survival from a table as `histograms.survival_table` counts it.

    Args as in `evaluate_forecasts`.
    """
    measures = _wanted(course_measures(bins), only)
    if not (table.believed(table.cells[..., 1]) and table.believed(table.cells)):
        return dict.fromkeys(measures, WITHHELD)
    lay_out = partial(tablesurvival.scattered, bins=bins)
    return estimates(table, measures, lay_out, rng=rng, replicates=replicates)


def _wanted(measures: dict[str, Measure[_P]], only: tuple[str, ...]) -> dict[str, Measure[_P]]:
    return {name: measure for name, measure in measures.items() if not only or name in only}
