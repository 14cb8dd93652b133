"""Calibration and decision curves of the federated model: rows for all patients, each site and each group.

Curves and decision curves are made for all patients and for groups; a site gets the summary measures only. Exact,
therefore not private. Groups and sites with too few patients to tell (see `common.learning.enough`) get none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning import calibration
from wardround.common.learning.calibration import BIN_EDGES, THRESHOLDS
from wardround.common.learning.enough import enough
from wardround.common.learning.intervals import RESAMPLES, percentiles, sample_and_draws
from wardround.common.learning.questions import Question, measure, questions
from wardround.common.study.outcomes import SurvivalOutcome
from wardround.simulations.evaluation import ALL, Board
from wardround.simulations.evidencerows import INTEGRATED, BinRow, CalibrationRow, NetBenefitRow
from wardround.simulations.subgroups import MODEL, Whole, groups_of, whole

Numbers = NDArray[np.float64]

_NORMAL: Final = 1.959963984540054

_Draws = Mapping[tuple[str, str | float], Numbers]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationTables:
    """Summary measures, calibration curves and decision curves."""

    measures: tuple[CalibrationRow, ...] = ()
    bins: tuple[BinRow, ...] = ()
    benefits: tuple[NetBenefitRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Some patients: of a site, of a group, or all."""

    on: str
    column: str = ""
    group: str = ""
    whole: Whole

    @property
    def names(self) -> dict[str, str]:
        return {"model": MODEL, "on": self.on, "column": self.column, "group": self.group}


def calibration_tables(
    board: Board, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> CalibrationTables:
    """What `results.json` says about the federated model's probabilities.

    Args:
        board: Truth, groups and predictions.
        rng: Draws the resamples.
        resamples: How many draws.
    """
    places = [place for place in _places(board) if enough(board.outcome, place.whole.targets)]
    measures: list[CalibrationRow] = []
    benefits: list[NetBenefitRow] = []
    bins: list[BinRow] = []
    for place in places:
        asked = _questions(place.whole)
        draws = _draws(place, asked, rng, resamples)
        measures += _measures(place, draws)
        if place.on == ALL:
            benefits += (row for question in asked for row in _benefits(place, question, draws))
            bins += (row for question in asked for row in _bins(place, question))
    return CalibrationTables(measures=tuple(measures), bins=tuple(bins), benefits=tuple(benefits))


def _places(board: Board) -> Iterator[_Place]:
    everybody = whole(board)
    if everybody is None:
        return
    yield _Place(on=ALL, whole=everybody)
    for site, made in board.predictions[MODEL].items():
        survival = board.survival.get(MODEL, {}).get(site)
        part = Whole(outcome=board.outcome, targets=board.truth[site], predictions=made, survival=survival)
        yield _Place(on=site, whole=part)
    for column, group, patients in groups_of(board):
        yield _Place(on=ALL, column=column, group=group, whole=everybody.take(patients))


def _questions(part: Whole) -> tuple[Question, ...]:
    """Those that can be answered: somebody was followed beyond the horizon."""
    asked = questions(part.outcome, part.targets, part.predictions, part.survival)
    if not isinstance(part.outcome, SurvivalOutcome):
        return asked
    last = part.targets.value.max(initial=0.0)
    return tuple(question for question in asked if question.horizon < last)


def _draws(place: _Place, asked: Sequence[Question], rng: np.random.Generator, resamples: int) -> _Draws:
    """Subject and measure, or subject and threshold -> its value in the sample, then in every draw."""
    found: dict[tuple[str, str | float], list[Numbers]] = {}
    part = place.whole
    for counts in sample_and_draws(np.zeros(len(part.targets), np.int64), resamples, rng):
        for question in asked:
            values: dict[str | float, Numbers] = {}
            values.update(measure(question, counts.astype(np.float64)).items())
            if place.on == ALL:
                values |= _net_benefits(question, counts.astype(np.float64))
            for name, value in values.items():
                found.setdefault((question.subject, name), []).append(value)
        if part.survival is not None and part.horizons:
            found.setdefault((_span(part), INTEGRATED), []).append(part.measured(INTEGRATED, counts))
    return {key: np.concatenate(values) for key, values in found.items()}


def _net_benefits(question: Question, counts: Numbers) -> dict[str | float, Numbers]:
    weights = question.weights(counts)
    return {
        threshold: calibration.net_benefit(question.y, question.probability, weights, threshold)
        for threshold in THRESHOLDS
    }


def _span(part: Whole) -> str:
    unit = part.outcome.unit if isinstance(part.outcome, SurvivalOutcome) else ""
    return f"{part.horizons[0]:g} to {part.horizons[-1]:g} {unit}"


def _measures(place: _Place, draws: _Draws) -> Iterator[CalibrationRow]:
    """A measure whose sample value is undefined has no interval either."""
    for (subject, name), values in draws.items():
        if isinstance(name, str):
            low, high = percentiles(values[1:] if not np.isnan(values[0]) else values[:1])
            yield CalibrationRow(
                **place.names,
                subject=subject,
                measure=name,
                value=float(values[0]),
                low=low,
                high=high,
                patients=len(place.whole.targets),
            )


def _benefits(place: _Place, question: Question, draws: _Draws) -> Iterator[NetBenefitRow]:
    weights = question.weights(np.ones((1, len(question.y))))
    for threshold in THRESHOLDS:
        values = draws[question.subject, threshold]
        low, high = percentiles(values[1:])
        yield NetBenefitRow(
            **place.names,
            subject=question.subject,
            threshold=threshold,
            value=float(values[0]),
            low=low,
            high=high,
            treat_all=float(calibration.treat_all(question.y, weights, threshold)[0]),
        )


def _bins(place: _Place, question: Question) -> Iterator[BinRow]:
    weights = question.weights(np.ones((1, len(question.y))))
    found = calibration.curve(question.y, question.probability, weights)
    inside = calibration.bins_of(question.probability)
    for number in np.flatnonzero(found.weight[0] > 0):
        own = weights[0][inside == number]
        observed = float(found.observed[0, number])
        low, high = wilson(observed, own.sum() ** 2 / (own**2).sum())
        yield BinRow(
            **place.names,
            subject=question.subject,
            above=BIN_EDGES[number],
            upto=BIN_EDGES[number + 1],
            patients=int((own > 0).sum()),
            predicted=float(found.predicted[0, number]),
            observed=observed,
            low=low,
            high=high,
        )


def wilson(share: float, patients: float) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927), for a number of patients that weights may have made a fraction.

    >>> [round(end, 3) for end in wilson(0.0, 10)]
    [0.0, 0.278]
    """
    square = _NORMAL**2 / patients
    middle = (share + square / 2) / (1 + square)
    half = _NORMAL / (1 + square) * np.sqrt(share * (1 - share) / patients + square / (4 * patients))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
