"""Counting held-out patients in the table that a study's evaluation declares. Exact, and therefore private.

One score per patient: several samples were reduced to their mean. What a model says that is no number counts in the
first bin, so that no model and no patient can make a site refuse.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import ProtocolError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.histograms import Courses, Forecasts, binary_table, survival_table
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import unchecked
from wardround.common.learning.questions import questions
from wardround.common.learning.tablebins import risk_bins, score_bins, time_bins
from wardround.common.study.evaluation import EvaluationTerms, table_shape
from wardround.common.study.outcomes import SurvivalOutcome, Targets
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
    parts = [
        _tables(
            protocol,
            protocol.evaluation,
            model,
            made[group == place],
            rows.targets.take(np.flatnonzero(group == place)),
        )
        for place in range(math.prod(sizes))
    ]
    table = np.stack(parts, axis=-1).reshape(table_shape(protocol.evaluation, protocol.outcome))
    return table.ravel().astype(np.float64)


def _tables(
    protocol: StudyProtocol, terms: EvaluationTerms, model: Parameters, made: Numbers, targets: Targets
) -> NDArray[np.int64]:
    """All tables of one group: shape (tables, score bins, (time bins,) 2)."""
    outcome = protocol.outcome
    if isinstance(outcome, SurvivalOutcome):
        event = targets.event if targets.event is not None else np.zeros(len(targets), np.bool_)
        risks = risk_bins(protocol, terms, outcome, model)
        return survival_table(Courses(made, targets.value, event), risks=risks, times=time_bins(outcome))[
            None
        ]
    bins, asked = score_bins(terms), questions(outcome, targets, made, None)
    return np.stack([binary_table(Forecasts(one.probability, one.y), bins=bins)[:, :, 0] for one in asked])
