"""A site's cohort: patients aligned with model inputs and targets, or named findings.

Identifiers stay inside the process: they are hidden from every text, order the patients, and decide by a keyed
hash who is held out. The same key and patient give the same part in every round, run and study.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.client.checkup import check_prepared
from wardround.client.findings import CheckReport
from wardround.client.heldout import folds, split
from wardround.client.prepared import Floats, PreparedTable, prepare
from wardround.client.sites import plan_sites
from wardround.common.errors import CohortError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.features import FeaturePath
from wardround.common.study.outcomes import ContinuousOutcome, Outcome, SurvivalOutcome, Targets
from wardround.common.study.protocol import StudyProtocol

__all__ = [
    "Cohort",
    "SiteCohorts",
    "build_cohort",
    "cohorts_by_site",
    "folds",
    "prepare",
    "split",
    "verbatim_columns",
]

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The patients of one site who take part. Private; its text shows the site's name only.

    Attributes:
        site: Name of the site.
        patients: Identifiers of the n patients, sorted.
        rows: Model inputs and targets, in that order.
        groups: One row per patient, one column per subgroup of the protocol; text, NaN where not known.
    """

    site: str
    patients: tuple[str, ...] = field(repr=False)
    rows: PatientRows = field(repr=False)
    groups: pd.DataFrame = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCohorts:
    """The sites of one table.

    Attributes:
        cohorts: Those that take part, sorted by name.
        left_out: Name to codes of reasons for those that do not.
        report: Everything the check-up found.
    """

    cohorts: tuple[Cohort, ...]
    left_out: Mapping[str, tuple[str, ...]]
    report: CheckReport


def verbatim_columns(
    protocol: StudyProtocol, site_column: str = "", *, columns: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Columns in which a cell such as `NA` is a code and not a missing value: see `tables.read_table`.

    Args:
        protocol: The study.
        site_column: The column that names the hospital, if the table has one.
        columns: The site's mapping to its own names: those stand in the file.
    """
    patient = protocol.cohort.patient_column
    names = ((columns or {}).get(patient, patient), site_column)
    return tuple(name for name in names if name)


def build_cohort(
    protocol: StudyProtocol,
    frame: pd.DataFrame,
    *,
    site: str,
    path: FeaturePath,
    minimum: int | None = None,
    columns: Mapping[str, str] | None = None,
) -> Cohort:
    """Check a table and align its patients.

    Args:
        protocol: The study.
        frame: The site's table as `read_table` gives it.
        site: Name of the site.
        path: The study's public feature path.
        minimum: Fewest patients, from `SitePolicy.minimum_patients`; the protocol's if None.
        columns: The site's mapping from the protocol's column names to its own.

    Raises:
        CohortError: The table does not fit; lists every finding that refuses it.
    """
    table = prepare(protocol, frame, columns=columns)
    check_prepared(table, minimum=minimum).raise_if_refused(site)
    table = _in_order(table, _usable_rows(table))
    return _aligned(table, path.transform(table.features_frame()), site=site)


def cohorts_by_site(
    protocol: StudyProtocol,
    frame: pd.DataFrame,
    site_column: str,
    *,
    path: FeaturePath,
    minimum: int | None = None,
) -> SiteCohorts:
    """Cohorts of a table with a site per row; sites below the minimum are left out and counted.

    Raises:
        CohortError: The table does not fit, or no site is large enough.
    """
    plan = plan_sites(prepare(protocol, frame), site_column, minimum=minimum)
    plan.report.raise_if_refused(f"the sites in {site_column!r}")
    tables = {site: _in_order(plan.table, rows) for site, rows in plan.rows.items()}
    # The feature path has a fixed cost per call, so all sites pass it together; it works row by row.
    everyone = plan.table.take(
        np.concatenate([np.searchsorted(plan.table.at, t.at) for t in tables.values()])
    )
    inputs = path.transform(everyone.features_frame())
    bounds = np.cumsum([len(table) for table in tables.values()])[:-1]
    cohorts = tuple(
        _aligned(table, own, site=site)
        for (site, table), own in zip(tables.items(), np.split(inputs, bounds), strict=True)
    )
    return SiteCohorts(cohorts=cohorts, left_out=plan.left_out, report=plan.report)


def _usable_rows(table: PreparedTable) -> Indices:
    patients = table.patients()
    if not patients.usable.any():
        raise CohortError("no patient has a usable outcome")
    return np.flatnonzero((patients.number >= 0) & patients.usable[patients.number])


def _in_order(table: PreparedTable, rows: Indices) -> PreparedTable:
    """Some rows, ordered by patient."""
    chosen = table.take(rows)
    return chosen.take(np.argsort(chosen.patients().number, kind="stable"))


def _aligned(table: PreparedTable, inputs: NDArray[np.float32], *, site: str) -> Cohort:
    """The cohort of rows that all belong to usable patients and are ordered by them."""
    patients = table.patients()
    firsts = np.searchsorted(patients.number, np.arange(len(patients.ids)))
    groups = _groups(table, firsts)
    return Cohort(
        site=site,
        patients=tuple(str(patient) for patient in patients.ids),
        rows=PatientRows(
            inputs=inputs,
            patient=patients.number,
            targets=targets_of(table.protocol.outcome, patients.value, patients.event),
            weight=_weights(table.protocol, groups),
        ),
        groups=groups,
    )


def _weights(protocol: StudyProtocol, groups: pd.DataFrame) -> Floats | None:
    """What each patient counts in training, by public weights of groups."""
    terms = protocol.fairness
    return terms.patient_weights(groups[terms.group_column].tolist()) if terms.groups else None


def _groups(table: PreparedTable, firsts: Indices) -> pd.DataFrame:
    names = table.protocol.cohort.subgroups
    unknown = np.full(len(firsts), np.nan)
    columns = {
        name: table.cells(name).to_numpy(dtype=object)[firsts] if name in table.frame.columns else unknown
        for name in names
    }
    return pd.DataFrame(columns, index=range(len(firsts)), dtype=object)


def targets_of(outcome: Outcome, value: Floats, event: Floats) -> Targets:
    """Targets by public constants: a number is clamped and standardised, a survival time is clamped.

    Args:
        outcome: The declared outcome.
        value: Shape (n,): 0 or 1, a class index, a number or a time in declared units.
        event: Shape (n,): 1 where the event was observed.
    """
    match outcome:
        case SurvivalOutcome():
            return Targets(value=np.minimum(value, outcome.high), event=event > 0)
        case ContinuousOutcome():
            clamped = np.clip(value, outcome.low, outcome.high)
            return Targets(value=(clamped - outcome.mean) / outcome.sd)
        case _:
            return Targets(value=value)
