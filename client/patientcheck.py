"""Checks of patients: identifiers, duplicates, one patient under two identifiers.

All rows of one identifier are one privacy unit. Identifiers are compared here and never shown.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.client.findings import Finding
from wardround.client.prepared import Patients, PreparedTable

MOST_ROWS: Final = 64
"""Most rows of one patient: decided here, before a study is approved, never by a failure in a round."""


def identity_findings(table: PreparedTable, patients: Patients) -> list[Finding]:
    """What is wrong with identifiers and repeated rows."""
    column = table.protocol.cohort.patient_column
    if column not in table.frame.columns:
        return []
    return [
        *_nameless(patients, column),
        *_repeated(table, patients, column),
        *_conflicts(patients, table.protocol.outcome_columns),
        *lost_zeros(patients.ids, column),
        *_twins(table, patients, column),
    ]


def _nameless(patients: Patients, column: str) -> list[Finding]:
    count = int((patients.number < 0).sum())
    if not count:
        return []
    return [
        Finding(
            code="missing-id",
            column=column,
            count=count,
            message=f"{count} rows have no patient identifier",
            advice="without it, one patient could count as several; complete it or remove the rows",
        )
    ]


def _repeated(table: PreparedTable, patients: Patients, column: str) -> list[Finding]:
    rows = np.bincount(patients.number[patients.number >= 0], minlength=len(patients.ids))
    if many := int((rows > MOST_ROWS).sum()):
        return [
            Finding(
                code="many-rows",
                column=column,
                count=many,
                message=f"expected at most {MOST_ROWS} rows of one patient, {many} patients have more",
                advice="average repeated measurements; one patient's rows are held in memory together",
            )
        ]
    several = int((rows > 1).sum())
    if not several:
        return []
    again = np.flatnonzero((rows[patients.number] > 1) & (patients.number >= 0))
    identical = int(
        pd.util.hash_pandas_object(table.frame.iloc[table.at[again]], index=False).duplicated().sum()
    )
    note = Finding(
        code="several-rows",
        severity="warn",
        column=column,
        count=several,
        message=f"{several} patients have several rows; all rows of a patient are one privacy unit",
    )
    if not identical:
        return [note]
    return [
        note,
        Finding(
            code="duplicate-patients",
            column=column,
            count=identical,
            message=f"{identical} rows repeat an earlier row of the same patient in every column",
            advice="remove the repeated rows; they often come from a join",
        ),
    ]


def _conflicts(patients: Patients, outcome_columns: tuple[str, ...]) -> list[Finding]:
    count = int(patients.conflict.sum())
    if not count:
        return []
    return [
        Finding(
            code="conflicting-outcome",
            column=outcome_columns[-1],
            count=count,
            message=f"{count} patients have rows that disagree about the outcome",
            advice="one patient has one outcome: correct it, or check that two patients do not share an identifier",
        )
    ]


def lost_zeros(codes: NDArray[np.object_], column: str) -> list[Finding]:
    """A hint that a spreadsheet removed leading zeros: digits only, of unequal length, and no plain numbering.

    Example:
        >>> [f.code for f in lost_zeros(np.array(["4711", "811", "9120", "3377"], dtype=object), "pid")]
        ['leading-zeros']
        >>> lost_zeros(np.array([str(n) for n in range(1, 200)], dtype=object), "pid")
        []
    """
    digits = [code for code in codes if code.isdigit() and code.isascii()]
    if not digits or any(code.startswith("0") and len(code) > 1 for code in digits):
        return []
    length = max(len(code) for code in codes)
    short = [code for code in digits if len(code) < length]
    numbering = len(digits) == len(codes) and max(map(int, digits)) <= 2 * len(digits)
    if not short or numbering or len(short) > len(codes) / 2:
        return []
    return [
        Finding(
            code="leading-zeros",
            severity="warn",
            column=column,
            count=len(short),
            message=f"{len(short)} codes are shorter than the others: leading zeros may be lost",
            advice="export the column as text; spreadsheets turn codes into numbers",
        )
    ]


def _twins(table: PreparedTable, patients: Patients, column: str) -> list[Finding]:
    """Patients with other identifiers and the same measurements: perhaps one patient, admitted twice."""
    features = table.protocol.features
    measured = [place for place, feature in enumerate(features) if feature.kind == "continuous"]
    if len(measured) < 5:
        return []
    values = table.values[:, measured]
    rows = np.flatnonzero((np.isfinite(values).sum(axis=1) >= 5) & (patients.number >= 0))
    pairs = equal_neighbours(values[rows])
    count = sum(int(patients.number[rows[a]] != patients.number[rows[b]]) for a, b in pairs)
    if not count:
        return []
    return [
        Finding(
            code="same-measurements",
            severity="warn",
            column=column,
            count=count,
            message=f"{count} patients have exactly the measurements of a patient with another identifier",
            advice="if they are one person, give them one identifier: privacy is accounted per patient",
        )
    ]


def equal_neighbours(rows: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of equal rows (NaN equals NaN); k equal rows give k - 1 pairs.

    Example:
        >>> equal_neighbours(np.array([[1.0, np.nan], [2.0, 3.0], [1.0, np.nan]]))
        [(0, 2)]
    """
    if len(rows) < 2:
        return []
    filled = np.nan_to_num(rows, nan=0.1234567)
    weights = np.random.default_rng(0).normal(size=rows.shape[1])  # only to sort equal rows together
    score = np.einsum("ij,j->i", filled, weights)
    order = np.argsort(score, kind="stable")
    close = np.isclose(score[order[1:]], score[order[:-1]], rtol=1e-9, atol=1e-12)
    pairs = ((int(order[place]), int(order[place + 1])) for place in np.flatnonzero(close))
    return [(a, b) for a, b in pairs if np.array_equal(filled[a], filled[b])]
