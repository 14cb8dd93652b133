"""The approvals in a log: what each site signed, on which line, and whether it is what the protocol states.

Each is read on its own: one that cannot be read is a refutation of its own site, and the others stay.
"""

from dataclasses import dataclass
from typing import Final

from wardround.common.audit.case import Case
from wardround.common.audit.lines import base64_of, roster_in, text_in
from wardround.common.audit.verdicts import Finding, refuted
from wardround.common.errors import WardroundError
from wardround.common.trust.approved import ApprovedTerms, read_approved
from wardround.common.trust.identity import Roster
from wardround.common.trust.statement import APPROVAL
from wardround.common.trust.studylog import LogEntry

_SIGNED: Final = "every approval in the log is one that its site signed, whole and in range"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """An approval in the log.

    Attributes:
        line: Where it stands.
        terms: What the site signed.
        members: The list of members that it approved, where the line shows one beside it: another than the log's.
    """

    line: int
    terms: ApprovedTerms
    members: Roster | None = None

    @property
    def site(self) -> str:
        """Who signed."""
        return self.terms.site

    @property
    def where(self) -> str:
        """For reports."""
        return f"line {self.line}, {self.site}"


def approvals_in(case: Case) -> tuple[list[Approval], list[Finding]]:
    """All approvals that can be read, and a refutation of each that cannot."""
    approvals, faults = [], []
    for entry in case.of_kind(APPROVAL):
        try:
            approvals.append(_approval(case, entry))
        except WardroundError as error:
            site = entry.data.get("site")
            where = f"line {entry.seq + 1}, {site if isinstance(site, str) else 'no site'}"
            faults.append(refuted(_SIGNED, expected="such an approval", found=str(error), where=where))
    return approvals, faults


def _approval(case: Case, entry: LogEntry) -> Approval:
    site, line = text_in(entry, "site"), entry.seq + 1
    data = base64_of(entry.data.get("statement"), entry)
    terms = read_approved(data, site=site, signer=case.key_of(site, line), where=f"line {line}")
    members = roster_in(entry, "roster") if "roster" in entry.data else None
    return Approval(line=line, terms=terms, members=members)
