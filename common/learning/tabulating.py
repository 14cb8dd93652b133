"""Counting held-out patients in the table that a study's evaluation declares. Exact, and therefore private.

One score per patient: several samples were reduced to their mean. What a model says that is no number counts in the
first bin, so that no model and no patient can make a site refuse.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import ProtocolError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.histograms import (
    Bins,
    Counts,
    Courses,
    Forecasts,
    binary_table,
    survival_table,
)
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import unchecked
from wardround.common.learning.questions import questions
from wardround.common.learning.tablebins import risk_bins, score_bins, time_bins
from wardround.common.study.evaluation import EvaluationTerms, table_shape
from wardround.common.study.outcomes import Outcome, SurvivalOutcome, Targets
from wardround.common.study.protocol import StudyProtocol

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]


def group_codes(terms: EvaluationTerms, groups: Mapping[str, NDArray[np.object_]], n: int) -> Codes:
    """The declared group of each patient, by place; everybody else, and all where a column is missing, come last.

    Returns:
        Shape (n, columns).
    """
    codes = np.empty((n, len(terms.groups)), np.int64)
    for place, group in enumerate(terms.groups):
        known = {value: number for number, value in enumerate(group.values)}
        column = groups.get(group.column, np.full(n, None, object))
        codes[:, place] = [
            known.get(value, len(group.values)) if isinstance(value, str) else len(group.values)
            for value in column
        ]
    return codes


def counted(protocol: StudyProtocol, model: Parameters, rows: PatientRows, codes: Codes) -> Numbers:
    """The table of some patients.

    Args:
        protocol: A study with an evaluation.
        model: Of its shapes, whatever is in it.
        rows: Held-out patients; there may be none.
        codes: As `group_codes` gives them.

    Returns:
        Shape (cells,), flat in the order of `table_shape`. Whole numbers; each table in it sums to the patients.

    Raises:
        ProtocolError: The study declares no evaluation.
    """
    if protocol.evaluation is None:
        raise ProtocolError("the study declares no evaluation")
    sizes = [len(group.values) + 1 for group in protocol.evaluation.groups]
    group = np.ravel_multi_index(tuple(codes.T), sizes) if sizes else np.zeros(rows.n_patients, np.int64)
    made = unchecked(protocol, model, rows)
    tables = _counting(protocol, protocol.evaluation, model)
    parts = [
        tables(made[group == place], rows.targets.take(np.flatnonzero(group == place)))
        for place in range(math.prod(sizes))
    ]
    table = np.stack(parts, axis=-1).reshape(table_shape(protocol.evaluation, protocol.outcome))
    return table.ravel().astype(np.float64)


def _counting(
    protocol: StudyProtocol, terms: EvaluationTerms, model: Parameters
) -> Callable[[Numbers, Targets], Counts]:
    """Counts one group: its tables, of shape (tables, score bins, (time bins,) 2); the bins are made once."""
    outcome = protocol.outcome
    if isinstance(outcome, SurvivalOutcome):
        return partial(
            _course_table, risks=risk_bins(protocol, terms, outcome, model), times=time_bins(outcome)
        )
    return partial(forecast_tables, outcome=outcome, bins=score_bins(protocol, terms, model))


def forecast_tables(made: Numbers, targets: Targets, *, outcome: Outcome, bins: Sequence[Bins]) -> Counts:
    """One table per question, shape (questions, bins, 2).

    Args:
        made: The probabilities, as `predictions.predict` gives them.
        targets: What happened.
        outcome: Of the study; its questions are those of `questions`.
        bins: Of probability, for each question; equally many.
    """
    tables = [
        binary_table(Forecasts(one.probability, one.y), bins=own)[:, :, 0]
        for one, own in zip(questions(outcome, targets, made, None), bins, strict=True)
    ]
    return np.stack(tables)


def _course_table(made: Numbers, targets: Targets, *, risks: Bins, times: Bins) -> Counts:
    event = targets.event if targets.event is not None else np.zeros(len(targets), np.bool_)
    return survival_table(Courses(made, targets.value, event), risks=risks, times=times)[None]
