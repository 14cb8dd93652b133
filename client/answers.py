"""Rows of answers, one per patient: what the model says, how sure it is, and why it says nothing where it does.

An answer never stands alone. A probability comes with the interval of patients predicted alike, or with the reason why
there is none; a set comes with its declared coverage; a patient for whom the model was not made gets reasons and no
number at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wardround.client.predicting import Predicted, Texts
from wardround.common.learning.attribution import Explanations
from wardround.common.learning.predictions import survival_of
from wardround.common.learning.released import ReleasedModel
from wardround.common.learning.uncertainty import (
    NO_TABLE,
    SURVIVAL_SET,
    TOO_FEW,
    TOO_FEW_FOR_SETS,
    Uncertainty,
)
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Columns = dict[str, pa.Array]

ANSWERED: Final = "answered"
UNLIKE: Final = "unlike the reference"
WITHHELD: Final = "withheld"
LEVEL: Final = "95%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """All answers of one table. Private to the hospital.

    Attributes:
        table: One row per patient, in the order of the hospital's table.
        held: Shape (n,), whether the patient's set holds what happened: 1 or 0, NaN where there is no set or no known
            outcome.
    """

    table: pa.Table = field(repr=False)
    held: Floats = field(repr=False)

    def count(self, status: str) -> int:
        """Patients with a status."""
        return int(self.table.column("status").to_pylist().count(status))


def class_names(outcome: BinaryOutcome | ClassOutcome) -> tuple[str, ...]:
    """The classes in the order of their probabilities; of a binary outcome negative, then positive."""
    if isinstance(outcome, ClassOutcome):
        return outcome.classes
    return (outcome.negative[0], outcome.positive[0])


def answers(
    model: ReleasedModel,
    found: Predicted,
    uncertainty: Uncertainty | None,
    explanations: Explanations | None = None,
) -> Answered:
    """One row of answers per patient.

    Args:
        model: The released model.
        found: What it says of a table.
        uncertainty: From the calibration beside the model; None where the study released none.
        explanations: Of the same patients, where they were asked for.
    """
    n = len(found.ids)
    withheld = np.isin(np.arange(n), list(found.reasons))
    status = [
        WITHHELD if patient in found.reasons else UNLIKE if patient in found.unlike else ANSWERED
        for patient in range(n)
    ]
    columns: Columns = {
        "patient": pa.array(found.ids, pa.string()),
        "status": pa.array(status, pa.string()),
        "reasons": _texts(found.reasons, n),
        "unlike": _texts(found.unlike, n),
        "notes": _texts(found.notes, n),
        "distance": _numbers(found.typical, np.zeros(n, np.bool_)),
    }
    said, held = _said(model, found, uncertainty, withheld)
    columns |= said
    if explanations is not None:
        columns |= _explained(explanations, withheld)
    return Answered(table=pa.table(columns), held=np.where(withheld, np.nan, held))


def _said(
    model: ReleasedModel, found: Predicted, sure: Uncertainty | None, withheld: Flags
) -> tuple[Columns, Floats]:
    outcome = model.protocol.outcome
    if isinstance(outcome, SurvivalOutcome):
        return _survival(model, outcome, found.made, sure, withheld), np.full(len(withheld), np.nan)
    if isinstance(outcome, ContinuousOutcome):
        return _number(outcome, found, sure, withheld)
    return _classes(outcome, found, sure, withheld)


def _classes(
    outcome: BinaryOutcome | ClassOutcome, found: Predicted, sure: Uncertainty | None, withheld: Flags
) -> tuple[Columns, Floats]:
    made = found.made if found.made.ndim == 2 else np.stack([1 - found.made, found.made], axis=1)
    names, nothing = class_names(outcome), np.full((*made.shape, 2), np.nan)
    intervals = nothing if sure is None else sure.intervals(made)
    columns: Columns = {}
    for place, name in enumerate(names):
        columns[f"probability:{name}"] = _numbers(made[:, place], withheld)
        columns[f"low:{name}"] = _numbers(intervals[:, place, 0], withheld)
        columns[f"high:{name}"] = _numbers(intervals[:, place, 1], withheld)
    columns["interval"] = _interval(intervals, sure, withheld)
    sets = None if sure is None else sure.sets(made)
    return columns | _sets(sets, names, sure, withheld), _held(sets, found.value)


def _interval(intervals: Floats, sure: Uncertainty | None, withheld: Flags) -> pa.Array:
    without = np.atleast_1d(np.isnan(intervals.reshape(len(intervals), -1)).any(axis=1))
    reason = NO_TABLE if sure is None else TOO_FEW
    texts = [f"no interval: {reason}" if missing else LEVEL for missing in without]
    return pa.array(texts, pa.string(), mask=withheld)


def _sets(sets: Flags | None, names: Sequence[str], sure: Uncertainty | None, withheld: Flags) -> Columns:
    if sets is None or sure is None:
        why = NO_TABLE if sure is None else TOO_FEW_FOR_SETS
        return _no_set(pa.list_(pa.string()), why, withheld)
    members = [[name for name, inside in zip(names, row, strict=True) if inside] for row in sets]
    says = ["" if inside else "empty: no class conforms, take it as no answer" for inside in members]
    return {
        "set": pa.array(members, pa.list_(pa.string()), mask=withheld),
        "set_coverage": pa.array([sure.coverage] * len(members), pa.float64(), mask=withheld),
        "set_says": pa.array(says, pa.string(), mask=withheld),
    }


def _no_set(kind: pa.DataType, why: str, withheld: Flags) -> Columns:
    n = len(withheld)
    return {
        "set": pa.nulls(n, kind),
        "set_coverage": pa.nulls(n, pa.float64()),
        "set_says": pa.array([f"no set: {why}"] * n, pa.string(), mask=withheld),
    }


def _held(sets: Flags | None, value: Floats) -> Floats:
    if sets is None:
        return np.full(len(value), np.nan)
    known = np.isfinite(value)
    place = np.where(known, value, 0).astype(np.int64)
    return np.where(known, sets[np.arange(len(sets)), place], np.nan)


def _number(
    outcome: ContinuousOutcome, found: Predicted, sure: Uncertainty | None, withheld: Flags
) -> tuple[Columns, Floats]:
    reach = np.inf if sure is None else sure.limit * outcome.sd
    bounded = bool(np.isfinite(reach))
    low, high = (
        np.clip(found.made + sign * reach, outcome.low, outcome.high)
        if bounded
        else np.full(len(found.made), np.nan)
        for sign in (-1, 1)
    )
    says = "" if bounded else f"no interval: {NO_TABLE if sure is None else TOO_FEW_FOR_SETS}"
    coverage = sure.coverage if sure is not None and bounded else np.nan
    n = len(found.made)
    columns: Columns = {
        f"value:{outcome.unit}": _numbers(found.made, withheld),
        "low": _numbers(low, withheld),
        "high": _numbers(high, withheld),
        "set_coverage": _numbers(np.full(n, coverage), withheld),
        "set_says": pa.array([says] * n, pa.string(), mask=withheld),
    }
    truth = np.clip(found.value, outcome.low, outcome.high)
    held = np.where(np.isfinite(truth) & bounded, (low <= truth) & (truth <= high), np.nan)
    return columns, held


def _survival(
    model: ReleasedModel,
    outcome: SurvivalOutcome,
    risk: Floats,
    sure: Uncertainty | None,
    withheld: Flags,
) -> Columns:
    columns: Columns = {"risk": _numbers(risk, withheld)}
    curves = survival_of(model.protocol, model.parameters, risk)
    if curves is None:
        why = "no probability: the Cox loss gives an order of risk only"
        columns["interval"] = pa.array([why] * len(risk), pa.string(), mask=withheld)
        return columns
    edges = (
        outcome.cut_points if sure is None or sure.calibration.times is None else sure.calibration.times.edges
    )
    intervals = (
        np.full((len(risk), len(edges), 2), np.nan)
        if sure is None
        else sure.survival_intervals(1 - curves[:, -1])
    )
    for place, edge in enumerate(edges):
        name = f"{edge:g} {outcome.unit}"
        columns[f"survival:{name}"] = _numbers(curves[:, outcome.cut_points.index(edge)], withheld)
        columns[f"low:{name}"] = _numbers(intervals[:, place, 0], withheld)
        columns[f"high:{name}"] = _numbers(intervals[:, place, 1], withheld)
    columns["interval"] = _interval(intervals, sure, withheld)
    columns["set_says"] = pa.array([f"no set: {SURVIVAL_SET}"] * len(risk), pa.string(), mask=withheld)
    return columns


def _explained(found: Explanations, withheld: Flags) -> Columns:
    columns: Columns = {
        "explained": pa.array(found.subject, pa.string(), mask=withheld),
        "output": _numbers(found.output, withheld),
        "reference_output": _numbers(found.reference, withheld),
    }
    columns |= {f"because:{name}": _numbers(values, withheld) for name, values in found.modalities.items()}
    columns["unexplained"] = _numbers(found.unexplained, withheld)
    columns["complete"] = pa.array(found.complete, pa.bool_(), mask=withheld)
    rows: list[list[dict[str, Any]]] = [
        [{name: getattr(one, name) for name in ("feature", "contribution", "low", "high")} for one in row]
        for row in found.features
    ]
    kind = pa.struct(
        [("feature", pa.string()), *((name, pa.float64()) for name in ("contribution", "low", "high"))]
    )
    columns["features"] = pa.array(rows, pa.list_(kind), mask=withheld)
    return columns


def _texts(texts: Texts, n: int) -> pa.Array:
    return pa.array([list(texts.get(patient, ())) for patient in range(n)], pa.list_(pa.string()))


def _numbers(values: Floats, withheld: Flags) -> pa.Array:
    return pa.array(values.round(6) + 0.0, pa.float64(), mask=withheld | ~np.isfinite(values))


def outcome_in_words(outcome: Outcome) -> str:
    """What is predicted, for the head of a report."""
    match outcome:
        case BinaryOutcome():
            return f"{outcome.column}: {outcome.positive[0]} against {outcome.negative[0]}"
        case ClassOutcome():
            return f"{outcome.column}: {', '.join(outcome.classes)}"
        case ContinuousOutcome():
            return f"{outcome.column} in {outcome.unit}"
        case SurvivalOutcome():
            return f"time to {outcome.event_column} in {outcome.unit}"
