"""What a released table says of a model: every measure, for all patients and by group, and the study's own verdict.

Everything here follows from public things: the protocol, the released model, and the noised table. The simulated tables
behind the intervals are drawn from a generator seeded by the table's digest, so that whoever has these three finds the
same numbers.

A group of one column is summed over the others; its noise is that of as many cells. What the noised cells do not
support stays in the answer, as withheld.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import ProtocolError
from wardround.common.learning.evaluated import Evaluated, cell_deviation
from wardround.common.learning.histograms import Bins
from wardround.common.learning.noisytables import Estimate, NoisedTable
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.tablebins import score_bins, survival_bins
from wardround.common.learning.tableevaluation import evaluate_courses, evaluate_forecasts
from wardround.common.study.evaluation import (
    EvaluationTerms,
    primary_of,
    subjects_of,
    table_shape,
    time_edges,
)
from wardround.common.study.outcomes import BinaryOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

Numbers = NDArray[np.float64]
Verdict = Literal["met", "not-met", "unsure", "withheld"]

EVERYBODY: Final = ""
"""The column and group of all patients together."""

_SHARES: Final = frozenset(
    {"auc", "accuracy", "brier", "c_index", "integrated_brier", "expected_calibration_error"}
)
"""Measures that lie between 0 and 1, whatever the noise says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateRow:
    """One measure from a noised table; all numbers NaN where it is withheld.

    Attributes:
        subject: The class; of one question its outcome, or the last horizon.
        column: The column of the group; empty for all patients.
        group: The group.
        measure: As in `tableevaluation`.
        value: The estimate.
        private_low, private_high: 95% for what an exact count of the same patients would say.
        low, high: 95% for the population that they came from; NaN where the measure has none.
    """

    subject: str
    column: str
    group: str
    measure: str
    value: float
    private_low: float
    private_high: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The one measure that a study is judged by, and what it was held against before anything was seen.

    Attributes:
        measure, subject: As in `PrivateRow`.
        direction: `at-least` or `at-most`.
        threshold: See above.
        verdict: `met` or `not-met` where the whole interval for the population is on one side of the threshold,
            `unsure` where it is on both, `withheld` where there were too few patients for the noise.
    """

    measure: str
    subject: str
    direction: str
    threshold: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateBin:
    """One bin of the score, as the table was counted.

    Attributes:
        subject: As in `PrivateRow`.
        place: From 0; `observed_<place>` is about its patients.
        above, up_to: Its edges: of a probability, for survival of the risk score. NaN where it is open.
        middle: The value that stands for its patients.
    """

    subject: str
    place: int
    above: float
    up_to: float
    middle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateEvaluation:
    """A whole evaluation.

    Attributes:
        sites: Whose patients are in the table.
        deviation: Standard deviation of the noise in each cell.
        rows: Every measure.
        judgement: The study's verdict.
        bins: Which bins of the score the table has, for each subject.
    """

    sites: tuple[str, ...]
    deviation: float
    rows: tuple[PrivateRow, ...]
    judgement: Judgement
    bins: tuple[PrivateBin, ...]


def evaluation_of(protocol: StudyProtocol, model: Parameters, released: Evaluated) -> PrivateEvaluation:
    """Every measure of a released table.

    Args:
        protocol: The study.
        model: As it was evaluated; it says where bins lie, and for survival what it predicts there.
        released: The table.

    Raises:
        ProtocolError: The study declares no evaluation, or the table is not of its shape.
    """
    terms = protocol.evaluation
    if terms is None or released.table.shape != (protocol.table_cells,):
        raise ProtocolError(f"expected an evaluation of {protocol.table_cells} cells, found another table")
    deviation = cell_deviation(protocol, sites=len(released.sites))
    table = released.table.reshape(table_shape(terms, protocol.outcome))
    rng = _rng(released.digest)
    estimators = _estimators(protocol, terms, model)
    rows = tuple(
        _row(subject, column, group, name, estimate)
        for subject, cells, own in zip(_subjects(protocol), table, estimators, strict=True)
        for column, group, part in _slices(terms, cells, deviation)
        for name, estimate in own.estimates(part, rng).items()
    )
    return PrivateEvaluation(
        sites=released.sites,
        deviation=deviation,
        rows=rows,
        judgement=_judged(protocol, terms, rows),
        bins=tuple(_bins(protocol, estimators)),
    )


def overall_estimates(
    protocol: StudyProtocol, model: Parameters, table: NoisedTable
) -> dict[tuple[str, str], Estimate]:
    """Every measure of all patients together, from a table without groups as a `Calibration` holds it.

    Args:
        protocol: With an evaluation, in whose bins the patients were counted.
        model: As it was evaluated.
        table: Shape (subjects, bins, 2), of survival (bins, times, 2).

    Returns:
        (subject, measure) to the estimate; the same as in `evaluation_of` where no groups split the table.

    Raises:
        ProtocolError: The study declares no evaluation.
    """
    if protocol.evaluation is None:
        raise ProtocolError("the study declares no evaluation")
    estimators = _estimators(protocol, protocol.evaluation, model)
    cells = table.cells[None] if isinstance(protocol.outcome, SurvivalOutcome) else table.cells
    rng = _rng(Evaluated(table=table.cells, sites=()).digest)
    return {
        (subject, name): estimate
        for subject, part, own in zip(_subjects(protocol), cells, estimators, strict=True)
        for name, estimate in own.estimates(NoisedTable(cells=part, deviation=table.deviation), rng).items()
    }


def _rng(table: str) -> np.random.Generator:
    """Of simulated tables; seeded by the digest of the real one."""
    return np.random.Generator(np.random.PCG64(int(table, 16)))


def _subjects(protocol: StudyProtocol) -> tuple[str, ...]:
    match protocol.outcome:
        case BinaryOutcome(column=column, positive=positive):
            return (f"{column}: {positive[0]}",)
        case SurvivalOutcome(unit=unit) as outcome:
            return (f"{time_edges(outcome)[-1]:g} {unit}",)
        case outcome:
            return subjects_of(outcome)


def _slices(
    terms: EvaluationTerms, table: Numbers, deviation: float
) -> Iterator[tuple[str, str, NoisedTable]]:
    """All patients, then each declared group."""
    axes = tuple(range(table.ndim - len(terms.groups), table.ndim))
    yield EVERYBODY, EVERYBODY, NoisedTable(cells=table, deviation=deviation).over(axes)
    for axis, declared in zip(axes, terms.groups, strict=True):
        others = tuple(other - (other > axis) for other in axes if other != axis)
        for number, group in enumerate(declared.values):
            cells = np.asarray(np.take(table, number, axis=axis))
            yield declared.column, group, NoisedTable(cells=cells, deviation=deviation).over(others)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Estimator:
    """The measures of one part of a subject's table, and its bins of the score."""

    estimates: Callable[[NoisedTable, np.random.Generator], dict[str, Estimate]]
    bins: Bins


def _estimators(protocol: StudyProtocol, terms: EvaluationTerms, model: Parameters) -> tuple[_Estimator, ...]:
    """One for each subject; bins are made once, for a model may take long to say where they lie."""
    outcome = protocol.outcome
    if isinstance(outcome, SurvivalOutcome):
        axes = survival_bins(protocol, terms, outcome, model)
        return (
            _Estimator(estimates=lambda part, rng: evaluate_courses(part, axes, rng=rng), bins=axes.risks),
        )
    return tuple(
        _Estimator(estimates=partial(_forecasts, bins), bins=bins)
        for bins in score_bins(protocol, terms, model)
    )


def _forecasts(bins: Bins, part: NoisedTable, rng: np.random.Generator) -> dict[str, Estimate]:
    whole = NoisedTable(cells=part.cells[:, :, None], deviation=part.deviation)
    return evaluate_forecasts(whole, bins, (), rng=rng)[EVERYBODY]


def _bins(protocol: StudyProtocol, estimators: tuple[_Estimator, ...]) -> Iterator[PrivateBin]:
    for subject, own in zip(_subjects(protocol), estimators, strict=True):
        limits = zip((None, *own.bins.edges), (*own.bins.edges, None), own.bins.middles, strict=True)
        for place, (above, up_to, middle) in enumerate(limits):
            yield PrivateBin(
                subject=subject,
                place=place,
                above=math.nan if above is None else above,
                up_to=math.nan if up_to is None else up_to,
                middle=float(middle),
            )


def _row(subject: str, column: str, group: str, measure: str, found: Estimate) -> PrivateRow:
    share = measure in _SHARES or measure.startswith("observed_")
    value, private_low, private_high, low, high = (
        float(np.clip(each, 0.0, 1.0)) if share else each
        for each in (found.value, *found.private, *found.total)
    )
    return PrivateRow(
        subject=subject,
        column=column,
        group=group,
        measure=measure,
        value=value,
        private_low=private_low,
        private_high=private_high,
        low=low,
        high=high,
    )


def _judged(protocol: StudyProtocol, terms: EvaluationTerms, rows: tuple[PrivateRow, ...]) -> Judgement:
    measure = primary_of(terms, protocol.outcome)
    subject = terms.subject or _subjects(protocol)[0]
    row = next(one for one in rows if (one.subject, one.column, one.measure) == (subject, EVERYBODY, measure))
    return Judgement(
        measure=measure,
        subject=subject,
        direction=terms.direction,
        threshold=terms.threshold,
        verdict=_verdict(row, terms),
    )


def _verdict(row: PrivateRow, terms: EvaluationTerms) -> Verdict:
    if math.isnan(row.low):
        return "withheld"
    above, below = row.low >= terms.threshold, row.high <= terms.threshold
    if not (above or below):
        return "unsure"
    return "met" if above == (terms.direction == "at-least") else "not-met"
