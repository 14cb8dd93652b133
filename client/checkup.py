"""The check-up of a site's table: does it fit the protocol, and what should a person look at?

It runs before a study is approved, at the site, on the site's own screen. Values, identifiers and rows never
appear; counts do, so a report stays at the site.

    report = check(protocol, read_table("patients.csv"))
    report.raise_if_refused("North Hospital")
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from wardround.client.columncheck import column_findings, column_reports, name_warnings
from wardround.client.fairnesscheck import group_findings
from wardround.client.findings import CheckReport, Finding
from wardround.client.leaks import leak_findings
from wardround.client.outcomecheck import eligibility, outcome_findings, outcome_range_findings
from wardround.client.patientcheck import identity_findings
from wardround.client.prepared import Patients, PreparedTable, prepare
from wardround.client.valuecheck import (
    constant_findings,
    mean_findings,
    range_findings,
    value_findings,
)
from wardround.common.study.protocol import StudyProtocol


def check(
    protocol: StudyProtocol,
    frame: pd.DataFrame,
    *,
    minimum: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> CheckReport:
    """Check one site's table.

    Args:
        protocol: The study.
        frame: The table as `read_table` gives it.
        minimum: Fewest patients with an outcome; the protocol's if None. A policy can only raise it.
        columns: The site's mapping from the protocol's column names to its own.

    Raises:
        CohortError: The mapping does not fit the table. Everything else is a finding.
    """
    return check_prepared(prepare(protocol, frame, columns=columns), minimum=minimum)


def check_prepared(table: PreparedTable, *, minimum: int | None = None) -> CheckReport:
    """Check a table that was parsed already; as `check`."""
    patients = table.patients()
    part, part_patients = taking_part(table, patients)
    findings = [
        *table_findings(table, patients, part),
        *unit_findings(part, part_patients),
        *_enough(table, patients, minimum),
        *look_at(part, part_patients),
    ]
    return CheckReport(findings=tuple(findings), columns=column_reports(table, findings))


def _enough(table: PreparedTable, patients: Patients, minimum: int | None) -> list[Finding]:
    needed = (table.protocol.cohort.patient_column, *table.protocol.outcome_columns)
    if any(name not in table.frame.columns for name in needed):
        return []  # named as missing already; everything else follows from that
    return eligibility_of(table.protocol, patients, minimum)


def taking_part(table: PreparedTable, patients: Patients) -> tuple[PreparedTable, Patients]:
    """The rows of patients with a clear outcome; all rows if there is no such patient."""
    kept = patients.usable[patients.number] & (patients.number >= 0) if len(patients.ids) else None
    if kept is None or not kept.any() or kept.all():
        return table, patients
    part = table.take(np.flatnonzero(kept))
    return part, part.patients()


def table_findings(table: PreparedTable, patients: Patients, part: PreparedTable) -> list[Finding]:
    """Findings about columns, identifiers, outcomes and cells; the same whether one site is asked or many."""
    return [
        *column_findings(table),
        *identity_findings(table, patients),
        *outcome_findings(table, patients),
        *value_findings(part),
    ]


def unit_findings(table: PreparedTable, patients: Patients, site: str = "") -> list[Finding]:
    """Findings about ranges and units, which differ from site to site."""
    value = patients.value[np.isfinite(patients.value)]
    return [
        *range_findings(table, site),
        *outcome_range_findings(table.protocol, value, site),
        *mean_findings(table, site),
    ]


def eligibility_of(protocol: StudyProtocol, patients: Patients, minimum: int | None) -> list[Finding]:
    """Whether there are enough patients, classes and events; needs the columns that say so."""
    usable = patients.usable
    fewest = protocol.cohort.minimum_patients if minimum is None else minimum
    return eligibility(protocol, patients.value[usable], patients.event[usable], fewest)


def look_at(table: PreparedTable, patients: Patients) -> list[Finding]:
    """Warnings: leaks, constants, repeated columns, names that tell of a trap."""
    return [
        *leak_findings(table, patients),
        *constant_findings(table),
        *name_warnings(table),
        *group_findings(table),
    ]
