"""Tables of several hospitals: which of them take part, and whether the hospital gives the outcome away.

For simulations on one table with a hospital per row. Hospitals below the minimum are left out and counted; a
public column such as the region can group them instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.client.checkup import eligibility_of, look_at, table_findings, taking_part, unit_findings
from wardround.client.columncheck import column_reports
from wardround.client.findings import CheckReport, Finding
from wardround.client.leaks import FEWEST, purity
from wardround.client.patientcheck import lost_zeros
from wardround.client.prepared import Floats, Patients, PreparedTable, numbered, prepare
from wardround.client.spellings import identifiers
from wardround.common.errors import CohortError
from wardround.common.learning.values import spelling
from wardround.common.study.outcomes import ContinuousOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

DETERMINED: Final = 0.95
"""Share of patients in their site's largest class from which the site nearly determines the outcome."""
ONE_SIDED: Final = 0.9
"""Share of one class at one site from which that site is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """Which rows belong to which site, decided once before training.

    Attributes:
        table: The parsed table.
        rows: Rows of each site that takes part, by name in sorted order. Only patients with an outcome.
        left_out: Codes of the reasons for each site that does not.
        report: The findings.
    """

    table: PreparedTable = field(repr=False)
    rows: Mapping[str, NDArray[np.int64]] = field(repr=False)
    left_out: Mapping[str, tuple[str, ...]]
    report: CheckReport


def check_sites(
    protocol: StudyProtocol, frame: pd.DataFrame, site_column: str, *, minimum: int | None = None
) -> CheckReport:
    """Check a table of several sites; as `checkup.check`, and per site where it matters.

    Args:
        protocol: The study.
        frame: The table; read it with `verbatim=(site_column,)`, or hospital NA is lost.
        site_column: The column that names the hospital, or a public group of hospitals.
        minimum: Fewest patients of a site; the protocol's if None.

    Raises:
        CohortError: There is no such column.
    """
    return plan_sites(prepare(protocol, frame), site_column, minimum=minimum).report


def plan_sites(table: PreparedTable, site_column: str, *, minimum: int | None = None) -> SitePlan:
    """Decide which sites take part, and check what they hold."""
    sites = site_of_rows(table.frame, site_column)
    patients = table.patients()
    part, _ = taking_part(table, patients)
    findings = table_findings(table, patients, part)
    rows, left_out = _split(table, patients, sites, minimum)
    for name, chosen in rows.items():
        local = table.take(chosen)
        findings += unit_findings(local, local.patients(), name)
    findings += _site_findings(table, patients, sites, site_column)
    findings += _left_out(rows, left_out, site_column)
    findings += look_at(*taking_part(table, patients))
    report = CheckReport(findings=tuple(findings), columns=column_reports(table, findings))
    return SitePlan(table=table, rows=rows, left_out=left_out, report=report)


def site_of_rows(frame: pd.DataFrame, site_column: str) -> NDArray[np.object_]:
    """The site of each row, empty where none is named.

    Raises:
        CohortError: There is no such column.
    """
    if site_column not in frame.columns:
        raise CohortError(f"there is no column {site_column!r} to name the sites", advice="see --site-column")
    codes = identifiers(frame[site_column])
    return np.array([spelling(code) for code in codes], dtype=object)


def _split(
    table: PreparedTable, patients: Patients, sites: NDArray[np.object_], minimum: int | None
) -> tuple[dict[str, NDArray[np.int64]], dict[str, tuple[str, ...]]]:
    rows: dict[str, NDArray[np.int64]] = {}
    left_out: dict[str, tuple[str, ...]] = {}
    usable = (patients.number >= 0) & patients.usable[patients.number] if len(patients.ids) else sites == ""
    place, names = numbered(sites)
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(len(names) + 1))
    for number, name in enumerate(names):
        own = order[bounds[number] : bounds[number + 1]]
        chosen = np.sort(own[usable[own]])
        reasons = _reasons(table, patients, chosen, minimum)
        if reasons:
            left_out[str(name)] = reasons
        else:
            rows[str(name)] = chosen
    return rows, left_out


def _reasons(
    table: PreparedTable, patients: Patients, rows: NDArray[np.int64], minimum: int | None
) -> tuple[str, ...]:
    own = np.unique(patients.number[rows])
    local = Patients(
        ids=patients.ids[own],
        number=np.empty(0, np.int64),
        value=patients.value[own],
        event=patients.event[own],
        conflict=np.zeros(len(own), np.bool_),
    )
    found = eligibility_of(table.protocol, local, minimum)
    return tuple(finding.code for finding in found if finding.severity == "refuse")


def _left_out(
    rows: Mapping[str, NDArray[np.int64]], left_out: Mapping[str, tuple[str, ...]], column: str
) -> list[Finding]:
    findings = []
    if left_out:
        reasons = sorted({reason for codes in left_out.values() for reason in codes})
        findings.append(
            Finding(
                code="sites-left-out",
                severity="warn",
                column=column,
                count=len(left_out),
                message=f"{len(left_out)} of {len(left_out) + len(rows)} sites are left out "
                f"({', '.join(reasons)})",
                advice="group small sites by a public column such as the region",
            )
        )
    if not rows:
        findings.append(
            Finding(code="no-site", column=column, message="no site meets the protocol's minimum")
        )
    return findings


def _site_findings(
    table: PreparedTable, patients: Patients, sites: NDArray[np.object_], column: str
) -> list[Finding]:
    unnamed = int((sites == "").sum())
    findings = lost_zeros(np.unique(sites[sites != ""]), column)
    if unnamed:
        message = f"{unnamed} rows name no site and are left out"
        findings.append(
            Finding(code="no-site-name", severity="warn", column=column, count=unnamed, message=message)
        )
    codes = _site_of_patients(patients, sites)
    shared = _shared(patients, sites)
    if shared:
        findings.append(_several_sites(column, shared))
    return findings + _explained(table.protocol, patients, codes, column)


def _site_of_patients(patients: Patients, sites: NDArray[np.object_]) -> NDArray[np.object_]:
    codes = np.full(len(patients.ids), "", dtype=object)
    named = patients.number >= 0
    codes[patients.number[named][::-1]] = sites[named][::-1]
    return codes


def _shared(patients: Patients, sites: NDArray[np.object_]) -> int:
    kept = (patients.number >= 0) & (sites != "")
    pairs = set(zip(patients.number[kept].tolist(), sites[kept].tolist(), strict=True))
    return len(pairs) - len({patient for patient, _ in pairs})


def _several_sites(column: str, count: int) -> Finding:
    return Finding(
        code="several-sites",
        severity="warn",
        column=column,
        count=count,
        message=f"{count} patients appear at more than one site; each such site spends their privacy",
        advice="a guarantee per site does not add up to one for a patient treated at several",
    )


def _explained(
    protocol: StudyProtocol, patients: Patients, sites: NDArray[np.object_], column: str
) -> list[Finding]:
    """Whether the site tells the outcome, over all sites and for each."""
    if isinstance(protocol.outcome, ContinuousOutcome):
        return []
    kept = patients.usable & (sites != "")
    labels = (patients.event if isinstance(protocol.outcome, SurvivalOutcome) else patients.value)[kept]
    if len(labels) < FEWEST:
        return []
    names, codes = np.unique(sites[kept].astype(str), return_inverse=True)
    share, base, groups = purity(codes.astype(np.float64), labels)
    classed = not isinstance(protocol.outcome, SurvivalOutcome)
    findings = _one_sided(names, codes, labels, column) if classed and base < 0.8 else []
    if share > DETERMINED and share - base > 0.1 and len(labels) >= 5 * groups:
        findings.append(_site_leak(column))
    return findings


def _site_leak(column: str) -> Finding:
    return Finding(
        code="site-leak",
        column=column,
        message="the site nearly determines the outcome: a model would learn the hospital, not the disease",
        advice="choose sites that hold both classes, or group them by a public column",
    )


def _one_sided(
    names: NDArray[np.str_], codes: NDArray[np.int64], labels: Floats, column: str
) -> list[Finding]:
    named = [
        str(name)
        for number, name in enumerate(names)
        if (codes == number).sum() >= FEWEST and _largest(labels[codes == number]) >= ONE_SIDED
    ]
    return [
        Finding(
            code="one-sided-site",
            severity="warn",
            column=column,
            site=name,
            message="nearly all patients of this site have one outcome, unlike those of the other sites",
            advice="its own accuracy says little; look at its AUC, and at how its patients were chosen",
        )
        for name in named
    ]


def _largest(labels: Floats) -> float:
    return float(np.unique(labels, return_counts=True)[1].max() / len(labels))
