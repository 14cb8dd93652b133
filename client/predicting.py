"""A released model over a hospital's table, part by part, in constant memory per row beyond one part.

Rows of one patient may lie anywhere in the table: each row is predicted on its own, and a patient's answer is the mean
over its rows, as in training. Nothing is sent, nothing is written here, and no message holds a value or an identifier.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.client.findings import CheckReport, Finding
from wardround.client.patientcheck import MOST_ROWS, lost_zeros
from wardround.client.predictcheck import FAR, Distance, distances, listed, row_reasons, table_findings
from wardround.client.prepared import PreparedTable, prepare
from wardround.client.tablestream import TablePart
from wardround.common.errors import UsageError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.features import Standardised
from wardround.common.learning.predictions import predict
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.outcomes import Targets
from wardround.common.study.terms import ROW_IS_PATIENT

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Texts = Mapping[int, tuple[str, ...]]

MOST_KEPT: Final = 10_000
"""Patients that are explained at most: their rows are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What a model says of n patients. Private to the hospital; its text shows nothing of them.

    Attributes:
        ids: Identifiers, in order of first appearance.
        made: Shape (n, ...), as `predictions.predict`.
        reasons: Patient -> why the model was not made for this patient; no answer may be shown.
        unlike: Patient -> how it is unlike the public reference.
        notes: Patient -> what should be read beside the answer.
        typical: Shape (n,), see `predictcheck.Distance`; the largest of a patient's rows.
        value, event: Shape (n,), the outcome where the table has a clear one, else NaN; as in `prepared.RowOutcomes`.
        kept: Rows between table and inputs, and the patient of each, where they were asked for.
        warnings: What a person should look at.
        rows: How many rows were read.
    """

    ids: tuple[str, ...] = field(repr=False)
    made: Floats = field(repr=False)
    reasons: Texts = field(repr=False)
    unlike: Texts = field(repr=False)
    notes: Texts = field(repr=False)
    typical: Floats = field(repr=False)
    value: Floats = field(repr=False)
    event: Floats = field(repr=False)
    kept: tuple[Standardised, Places] | None = field(repr=False)
    warnings: tuple[Finding, ...] = ()
    rows: int


def predict_table(
    model: ReleasedModel,
    parts: Iterable[TablePart],
    *,
    name: str,
    columns: Mapping[str, str] | None = None,
    keep: int = 0,
    step: Callable[[float, int], None] = lambda *_: None,
) -> Predicted:
    """Predict for every patient of a table.

    Args:
        model: The released model.
        parts: The table, as `tablestream.read_parts` gives it.
        name: Of the table's file, for messages.
        columns: The site's mapping from the protocol's column names to its own.
        keep: For so many patients at most, keep the rows that an explanation needs.
        step: Told the share that is done and the rows that were read.

    Raises:
        CohortError: The table does not fit; every finding that refuses it is named.
        UsageError: More patients than `keep`, where it is not 0.
        StudyError: The model gives something that is not a number.
    """
    gathered = _Gathered(model, name, columns or {}, keep)
    for part in parts:
        gathered.add(part)
        step(part.done, gathered.rows)
    return gathered.whole()


class _Gathered:
    """What was read so far."""

    def __init__(self, model: ReleasedModel, name: str, columns: Mapping[str, str], keep: int) -> None:
        self._model, self._name, self._columns, self._keep = model, name, columns, keep
        self._numbers: dict[str, int] = {}
        self._texts: tuple[dict[int, list[str]], ...] = ({}, {}, {})
        self._parts: list[tuple[NDArray[np.generic], ...]] = []
        self._kept: list[Standardised] = []
        self.rows = 0

    def add(self, part: TablePart) -> None:
        table = self._prepared(part)
        self._refuse(table)
        numbers = self._numbered(table.ids)
        far = distances(table)
        standard = self._model.path.standardised(table.features_frame())
        made = self._predicted(standard)
        marks = np.array([hash(row.tobytes()) for row in np.ascontiguousarray(table.values)], np.int64)
        outcome = table.outcomes
        self._parts.append((numbers, made, far.typical, marks, outcome.value, outcome.event))
        self._note(table, far, numbers)
        if self._keep:
            self._kept.append(standard)
        self.rows += len(table)

    def _prepared(self, part: TablePart) -> PreparedTable:
        protocol = self._model.protocol
        wanted = {protocol.cohort.patient_column, *(feature.name for feature in protocol.features)}
        columns = {
            name: own for name, own in self._columns.items() if name in wanted or own in part.frame.columns
        }
        table = prepare(protocol, part.frame, columns=columns)
        if protocol.cohort.patient_column == ROW_IS_PATIENT:
            rows = range(part.first, part.first + len(table))
            return replace(table, ids=np.array([f"{row:09d}" for row in rows], dtype=object))
        return table

    def _refuse(self, table: PreparedTable) -> None:
        findings = table_findings(table)
        column = table.protocol.cohort.patient_column
        nameless = int((table.ids == "").sum())
        if column not in table.frame.columns:
            findings.append(
                Finding(
                    code="missing-column",
                    column=column,
                    message="the protocol needs this column and the table does not have it",
                    advice="add it, or map your own name in [columns] of site.toml and give --policy",
                )
            )
        elif nameless:
            findings.append(
                Finding(
                    code="missing-id",
                    column=column,
                    count=nameless,
                    message=f"{nameless} rows have no patient identifier",
                    advice="complete it or remove the rows: an answer without a patient is of no use",
                )
            )
        self._check(findings)

    def _check(self, findings: Iterable[Finding]) -> None:
        CheckReport(findings=tuple(findings)).raise_if_refused(self._name)

    def _numbered(self, ids: NDArray[np.object_]) -> Places:
        codes, found = pd.factorize(ids)
        known = [self._numbers.setdefault(str(one), len(self._numbers)) for one in found]
        if self._keep and len(self._numbers) > self._keep:
            raise UsageError(
                f"expected at most {self._keep} patients to explain, found more",
                advice="explain fewer patients at a time, or leave --explain out",
            )
        return np.array(known, np.int64)[codes]

    def _predicted(self, standard: Standardised) -> Floats:
        rows = PatientRows(
            inputs=self._model.path.inputs_of(standard),
            patient=np.arange(len(standard.values)),
            targets=Targets(value=np.zeros(len(standard.values))),
        )
        return predict(self._model.protocol, self._model.parameters, rows)

    def _note(self, table: PreparedTable, far: Distance, numbers: Places) -> None:
        found = row_reasons(table)
        unlike = {
            row: [f"{listed(names)}: beyond what the model can see"] for row, names in far.extreme.items()
        }
        for row in np.flatnonzero(far.typical > FAR).tolist():
            unlike.setdefault(row, []).append("far from the public reference as a whole")
        for kept, texts in zip(self._texts, (found.reasons, unlike, found.notes), strict=True):
            for row, said in texts.items():
                kept.setdefault(int(numbers[row]), []).extend(said)

    def whole(self) -> Predicted:
        numbers, made, typical, marks, value, event = (
            np.concatenate(column) for column in zip(*self._parts, strict=True)
        )
        counts = np.bincount(numbers)
        self._check(self._repeated(numbers, marks, counts))
        sums = np.zeros((len(counts), *made.shape[1:]))
        np.add.at(sums, numbers, made)
        far = np.full(len(counts), -np.inf)
        np.fmax.at(far, numbers, typical)
        reasons, unlike, notes = (
            {patient: tuple(dict.fromkeys(said)) for patient, said in texts.items()} for texts in self._texts
        )
        known = tuple(_one(each, numbers, len(counts)) for each in (value, event))
        ids = tuple(self._numbers)
        return Predicted(
            ids=ids,
            made=np.asarray((sums.T / counts).T),
            reasons=reasons,
            unlike=unlike,
            notes=notes,
            typical=np.where(np.isfinite(far), far, np.nan),
            value=known[0],
            event=known[1],
            kept=self._kept_rows(numbers),
            warnings=tuple(
                lost_zeros(np.array(ids, dtype=object), self._model.protocol.cohort.patient_column)
            ),
            rows=self.rows,
        )

    def _kept_rows(self, numbers: Places) -> tuple[Standardised, Places] | None:
        if not self._keep:
            return None
        joined = Standardised(*(np.concatenate(parts) for parts in zip(*self._kept, strict=True)))
        return joined, numbers

    def _repeated(self, numbers: Places, marks: Places, counts: Places) -> list[Finding]:
        column = self._model.protocol.cohort.patient_column
        again = np.flatnonzero(counts[numbers] > 1)
        pairs = Counter(zip(numbers[again].tolist(), marks[again].tolist(), strict=True))
        repeated, many = sum(pairs.values()) - len(pairs), int((counts > MOST_ROWS).sum())
        findings = []
        if repeated:
            message = f"{repeated} rows repeat an earlier row of the same patient in every feature"
            advice = "remove the repeated rows; they often come from a join"
            findings.append(
                Finding(
                    code="duplicate-patients", column=column, count=repeated, message=message, advice=advice
                )
            )
        if many:
            message = f"expected at most {MOST_ROWS} rows of one patient, {many} patients have more"
            advice = "average repeated measurements"
            findings.append(
                Finding(code="many-rows", column=column, count=many, message=message, advice=advice)
            )
        return findings


def _one(values: Floats, numbers: Places, n: int) -> Floats:
    """The one value of each patient; NaN where its rows have none, or disagree."""
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    there = np.isfinite(values)
    np.minimum.at(low, numbers[there], values[there])
    np.maximum.at(high, numbers[there], values[there])
    return np.where(low == high, low, np.nan)
