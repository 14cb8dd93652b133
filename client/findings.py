"""What a check of a site's table found: named findings and a report per column.

Made for the site's own screen. A finding names columns, declared terms and counts; it never holds a patient's
value or identifier. A report is not a release: it does not leave the site.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final, Literal

from wardround.common.errors import CohortError

Severity = Literal["refuse", "warn"]
Role = Literal["feature", "outcome", "patient", "subgroup"]
SHOWN: Final = 5
"""Findings of one code that are shown one by one; further ones are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth a look.

    Attributes:
        code: Stable name, e.g. `outside-range`.
        message: What was expected and what was found, without any value of a patient.
        severity: `refuse` stops the cohort, `warn` does not.
        column: The protocol's name of the column; empty if the finding is about the whole table.
        count: How many values, rows, patients or columns it concerns.
        advice: What to do.
        site: The site, in a table of several; empty otherwise.
    """

    code: str
    message: str
    severity: Severity = "refuse"
    column: str = ""
    count: int = 0
    advice: str = ""
    site: str = ""

    def line(self) -> str:
        """One line: code, place and message."""
        place = " at ".join(part for part in (self.column, self.site) if part)
        return f"[{self.code}] {place}: {self.message}" if place else f"[{self.code}] {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnReport:
    """One column that the protocol names.

    Attributes:
        name: The protocol's name.
        role: `feature`, `outcome`, `patient` or `subgroup`.
        kind: Kind of a feature; empty otherwise.
        unit: Declared unit; empty where there is none.
        missing_percent: Share of rows without a value, rounded to whole percent; None where the column is absent.
        codes: Codes of the findings that name this column.
    """

    name: str
    role: Role
    kind: str = ""
    unit: str = ""
    missing_percent: int | None = None
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The findings of one table against one protocol, and one entry per column.

    Example:
        >>> report = CheckReport(findings=(Finding(code="few-patients", message="12 of 20 patients"),))
        >>> report.fits
        False
    """

    findings: tuple[Finding, ...] = ()
    columns: tuple[ColumnReport, ...] = ()

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """The findings that stop the cohort."""
        return tuple(finding for finding in self.findings if finding.severity == "refuse")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that a person should look at."""
        return tuple(finding for finding in self.findings if finding.severity == "warn")

    @property
    def fits(self) -> bool:
        """Whether the table can serve the study."""
        return not self.refusals

    def codes(self) -> frozenset[str]:
        """The codes of all findings."""
        return frozenset(finding.code for finding in self.findings)

    def raise_if_refused(self, site: str) -> None:
        """Stop unless the table fits.

        Raises:
            CohortError: Listing every refusing finding, many of one code as one line.
        """
        if self.fits:
            return
        advice = next((finding.advice for finding in self.refusals if finding.advice), "")
        lines = "\n  ".join(summary(self.refusals))
        raise CohortError(f"the table of {site} does not fit the protocol:\n  {lines}", advice=advice)

    def as_dict(self) -> dict[str, object]:
        """The JSON form: `fits`, `findings`, `columns`."""
        return {
            "fits": self.fits,
            "findings": [asdict(finding) for finding in self.findings],
            "columns": [asdict(column) for column in self.columns],
        }


def by_code(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Findings in groups of one code, in order of first appearance."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.code, []).append(finding)
    return groups


def summary(findings: Iterable[Finding]) -> list[str]:
    """One line per finding; from the sixth of one code on, one line that counts the rest."""
    lines = []
    for code, group in by_code(findings).items():
        lines += [finding.line() for finding in group[:SHOWN]]
        if len(group) > SHOWN:
            lines.append(f"[{code}] and {len(group) - SHOWN} more")
    return lines
