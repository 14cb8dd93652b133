"""Imagined patients of a study that is planned: how wide the intervals of a private evaluation would be for them.

A model that is about right, whose scores are normal; nothing of it is known yet, so bins lie as they would for it.
"""

from typing import Final

import numpy as np
from scipy.special import expit

from wardround.common.learning.histograms import (
    Bins,
    Courses,
    Forecasts,
    binary_table,
    survival_table,
)
from wardround.common.learning.noisytables import Estimate, NoisedTable
from wardround.common.learning.tablebins import spread_bins, time_bins
from wardround.common.learning.tableevaluation import evaluate_courses, evaluate_forecasts
from wardround.common.learning.tablesurvival import SurvivalBins
from wardround.common.study.outcomes import ClassOutcome, Outcome, SurvivalOutcome

IMAGINED: Final = 5
REPLICATES: Final = 200
SPREAD: Final = 1.6
"""Standard deviation of imagined log-odds: with half of the patients ill, an AUC of about .8."""

RISKS: Final = Bins(
    edges=(-0.84, -0.25, 0.25, 0.84), low=-2.0, high=2.0, source="fifths of a standard normal risk score"
)


def half_widths(
    outcome: Outcome, measure: str, patients: int, deviation: float, edges: tuple[float, ...] = ()
) -> tuple[float, float]:
    """Expected half widths of both 95% intervals; NaN where the answer would be withheld.

    Args:
        outcome: Of the study; not a number. One patient in as many as there are classes has it.
        measure: As in `tableevaluation`.
        patients: Held out at all sites together.
        deviation: Of the noise in each cell of their table.
        edges: `score_edges` of the study; where empty, bins lie as they would for the imagined model.

    Returns:
        For these patients, the price of privacy; and for the population that they came from, where there is one.
    """
    rng = np.random.default_rng(0)  # of imagined patients only
    if isinstance(outcome, SurvivalOutcome):
        axes = survival_bins(outcome, edges)
        made = [_course(axes, measure, patients, deviation, rng) for _ in range(IMAGINED)]
    else:
        classes = len(outcome.classes) if isinstance(outcome, ClassOutcome) else 2
        bins = forecast_bins(outcome, edges)
        made = [_forecast(bins, classes, measure, patients, deviation, rng) for _ in range(IMAGINED)]
    private, total = (
        np.median([ends[1] - each.value for ends, each in zip(interval, made, strict=True)])
        for interval in ([each.private for each in made], [each.total for each in made])
    )
    return float(private), float(total)


def forecast_bins(outcome: Outcome, edges: tuple[float, ...] = ()) -> Bins:
    """Bins of probability of the imagined model."""
    if edges:
        return Bins(edges=edges, low=0.0, high=1.0, source="the study")
    classes = len(outcome.classes) if isinstance(outcome, ClassOutcome) else 2
    return spread_bins(-np.log(classes - 1), SPREAD)


def _forecast(
    bins: Bins, classes: int, measure: str, patients: int, deviation: float, rng: np.random.Generator
) -> Estimate:
    """A measure of imagined patients of whom one in `classes` has the outcome."""
    odds = rng.normal(-np.log(classes - 1), SPREAD, patients)
    people = Forecasts(expit(odds), (rng.random(patients) < expit(odds)).astype(np.float64))
    exact = binary_table(people, bins=bins)
    table = NoisedTable(cells=exact + rng.normal(0, deviation, exact.shape), deviation=deviation)
    return evaluate_forecasts(table, bins, (), rng=rng, replicates=REPLICATES, only=(measure,))[""][measure]


def _course(
    bins: SurvivalBins, measure: str, patients: int, deviation: float, rng: np.random.Generator
) -> Estimate:
    """A measure of imagined patients, half of whom die by the last horizon."""
    last, end = bins.times.edges[-1], bins.times.high
    risk = rng.normal(0, 1, patients)
    dies = rng.exponential(last / np.log(2) * np.exp(-risk))
    lost = rng.uniform(last / 4, end, patients)
    people = Courses(risk, np.minimum(dies, lost), dies <= lost)
    exact = survival_table(people, risks=bins.risks, times=bins.times)
    table = NoisedTable(cells=exact + rng.normal(0, deviation, exact.shape), deviation=deviation)
    return evaluate_courses(table, bins, rng=rng, replicates=REPLICATES, only=(measure,))[measure]


def table_bins(outcome: Outcome) -> int:
    """How many bins the table of one question has, of score and time together."""
    if isinstance(outcome, SurvivalOutcome):
        return survival_bins(outcome).survival.size
    return len(forecast_bins(outcome))


def survival_bins(outcome: SurvivalOutcome, edges: tuple[float, ...] = ()) -> SurvivalBins:
    """Public bins of an imagined survival study: its own bins of time, and fifths of risk, or its own chances of it."""
    times, risks = time_bins(outcome), _risks(edges) if edges else RISKS
    hazard = np.log(2) / times.edges[-1]
    return SurvivalBins(
        risks=risks,
        times=times,
        survival=np.exp(-hazard * np.exp(risks.middles)[:, None] * times.ends[1:]),
    )


def _risks(chances: tuple[float, ...]) -> Bins:
    """The risks at which the event has these chances by the last horizon, where half of the patients have it."""
    ends = np.array([chances[0] / 4, *chances, 1 - (1 - chances[-1]) / 4])
    first, *inner, last = np.log(-np.log1p(-ends) / np.log(2)).tolist()
    return Bins(edges=tuple(inner), low=first, high=last, source="the study")
