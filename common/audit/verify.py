"""All checks of a bundle, in order. Each claim gets its own verdict; a check that cannot go on says why.

    case, findings = verify((Path("bundle"),), keys=(Path("roster.json"),))

Needs neither network, torch nor Flower, and reads every file as if its author meant harm.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from wardround.common.audit.approvals import check_approvals
from wardround.common.audit.case import Case, open_case
from wardround.common.audit.evaluation import check_evaluation
from wardround.common.audit.evidence import LOG, Evidence, gather
from wardround.common.audit.keys import OwnKeys, read_keys
from wardround.common.audit.ledgers import check_ledgers
from wardround.common.audit.order import check_order
from wardround.common.audit.replay import check_models
from wardround.common.audit.spending import check_spending
from wardround.common.audit.tree import check_tree
from wardround.common.audit.verdicts import Finding, attested, confirmed, not_checkable, refuted
from wardround.common.audit.words import check_words
from wardround.common.errors import WardroundError

Check = Callable[[Case], Iterator[Finding]]

_SIGNED: Final = "every line of the log is signed by the coordinator and follows the line before it"

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("the log is complete and in order", check_order),
    ("each site approved these terms first", check_approvals),
    ("the log was shown to everybody alike", check_tree),
    ("the sites' own words are in the log", check_words),
    ("the models follow from what was sent", check_models),
    ("the evaluation is of the released model, and costs what is stated", check_evaluation),
    ("the stated privacy is that of the releases", check_spending),
    ("the ledgers and the log agree", check_ledgers),
)
"""What is claimed where a check cannot be made at all -> the check."""

UNREADABLE: Final = (
    WardroundError,
    ArithmeticError,
    ValueError,
    TypeError,
    LookupError,
    RecursionError,
    MemoryError,
)
"""What hostile bytes may end in; any of them is a finding, not the end of an audit."""


def verify(folders: tuple[Path, ...], keys: tuple[Path, ...] = ()) -> tuple[Case | None, list[Finding]]:
    """Judge every claim of a study.

    Args:
        folders: Bundles of the server and of hospitals, about one study.
        keys: The auditor's own: roster files or PEM files; without them, who signed is not checkable.

    Returns:
        The study, None where its log cannot be relied on; and the findings in the order of the checks.

    Raises:
        StorageError: A folder or key file cannot be read, or there is no log in it.
        TrustError, UsageError: A key file holds no key.
    """
    evidence = gather(folders)
    found = opened(evidence, read_keys(keys, bundles=folders))
    if isinstance(found, Finding):
        unchecked = [not_checkable(claim, why="the log cannot be relied on") for claim, _ in CHECKS]
        return None, [*evidence.findings, found, *unchecked]
    return found, [*evidence.findings, *_findings(found)]


def opened(evidence: Evidence, keys: OwnKeys) -> Case | Finding:
    """The study, or, where its log cannot be relied on, the finding that says why.

    Raises:
        StorageError: There is no log at all.
    """
    evidence.need(LOG)
    try:
        return open_case(evidence, keys)
    except UNREADABLE as error:
        return refuted(_SIGNED, expected="such a log", found=words_of(error), where=LOG)


def _findings(case: Case) -> Iterator[Finding]:
    signed = confirmed(_SIGNED, found=f"{len(case.entries)} lines", where=LOG)
    yield case.keys.vouched(signed, case.roster.coordinator, case.roster.coordinator_key)
    yield from case.keys.judge(case.named)
    for claim, check in CHECKS:
        yield from guarded(claim, check, case)
    yield from no_log_shows(case)


def guarded(claim: str, check: Check, case: Case) -> Iterator[Finding]:
    """A check whose own failure is a finding: nothing in a bundle may end an audit."""
    try:
        yield from check(case)
    except UNREADABLE as error:
        yield refuted(claim, expected="lines and files that can be read", found=words_of(error))


def words_of(error: Exception) -> str:
    """One of `UNREADABLE` in words for a report."""
    known = isinstance(error, WardroundError)
    return str(error) if known else f"what could not be read: {type(error).__name__}"


def no_log_shows(case: Case) -> Iterator[Finding]:
    """What is true only if somebody tells the truth, or what no record could show."""
    if case.protocol.private:
        sites = ", ".join(case.roster.site_names)
        yield attested("noise was added, drawn fresh from the operating system's randomness", where=sites)
        yield attested("each patient's influence was limited to the clipping norm", where=sites)
    yield not_checkable("no data left outside the study", why="a log holds what was logged")
