"""A claim, and what an auditor can say of it. Four kinds of verdict, never blurred.

`confirmed` and `refuted` are arithmetic and signatures: whoever has the same files finds the same. `attested by the
site` means that a site signed it and nothing in the files could show the opposite: that noise was added, that this
code ran. `not checkable` means that what would be needed is not there, or that no file can show it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal, get_args

from wardround.common.formats import header

Verdict = Literal["confirmed", "refuted", "attested by the site", "not checkable"]
Severity = Literal["critical", "serious", "note"]

VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
FORMAT: Final = "wardround-audit-findings"
VERSION: Final = 1

REFUTED: Final = 10
"""Exit code where at least one claim is refuted."""

_LONGEST: Final = 400  # characters of expected and found: a hostile file must not fill the screen


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One claim and its verdict.

    Attributes:
        claim: What is said to be so, as a sentence.
        verdict: See the module.
        expected: What had to be found for the claim to hold.
        found: What was found. Never a patient's value.
        where: File, line or site.
        severity: What a refuted claim would mean. `critical`: privacy spent or lost, or the record is false;
            `serious`: something agreed was not kept; `note`: for information.
    """

    claim: str
    verdict: Verdict
    expected: str = ""
    found: str = ""
    where: str = ""
    severity: Severity = "serious"

    def __post_init__(self) -> None:
        """Cut what is too long to read, and take control characters out: the text may come from a hostile file."""
        for name in ("claim", "expected", "found", "where"):
            object.__setattr__(self, name, plain(getattr(self, name)))


def confirmed(claim: str, *, found: str = "", where: str = "") -> Finding:
    """The claim holds, as anybody with the same files can find again."""
    return Finding(claim=claim, verdict="confirmed", found=found, where=where, severity="note")


def refuted(
    claim: str, *, expected: str, found: str, where: str = "", severity: Severity = "critical"
) -> Finding:
    """The claim does not hold, as anybody with the same files can find again."""
    return Finding(
        claim=claim, verdict="refuted", expected=expected, found=found, where=where, severity=severity
    )


def attested(claim: str, *, found: str = "", where: str = "") -> Finding:
    """A site signed it; no file can show the opposite."""
    return Finding(claim=claim, verdict="attested by the site", found=found, where=where, severity="note")


def not_checkable(claim: str, *, why: str, where: str = "") -> Finding:
    """What would be needed is not there."""
    return Finding(claim=claim, verdict="not checkable", found=why, where=where, severity="note")


def exit_code(findings: Iterable[Finding]) -> int:
    """0 where nothing is refuted, else `REFUTED`.

    >>> exit_code([refuted("a sum is right", expected="1", found="2")])
    10
    """
    return REFUTED if any(one.verdict == "refuted" for one in findings) else 0


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """Verdict -> how many, in the order of `VERDICTS`."""
    found = Counter(one.verdict for one in findings)
    return {verdict: found[verdict] for verdict in VERDICTS}


def as_json(findings: Sequence[Finding], **facts: object) -> str:
    """The findings as one JSON value.

    Args:
        findings: In the order of the checks.
        **facts: What else belongs to the result, e.g. the study's name.
    """
    body = {**facts, "counts": counts(findings), "findings": [asdict(one) for one in findings]}
    return json.dumps({**header(FORMAT, VERSION), **body}, indent=2, ensure_ascii=False)


def as_text(findings: Sequence[Finding]) -> str:
    """The findings for a terminal: refuted ones first, then by kind; at the end how many of each."""
    blocks = [
        "\n".join(_lines(one))
        for verdict in ("refuted", "confirmed", "attested by the site", "not checkable")
        for one in findings
        if one.verdict == verdict
    ]
    total = ", ".join(f"{number} {verdict}" for verdict, number in counts(findings).items())
    return "\n".join([*blocks, total])


def _lines(one: Finding) -> Iterable[str]:
    mark = one.verdict.upper() if one.verdict == "refuted" else one.verdict
    place = f" ({one.where})" if one.where else ""
    yield f"{mark:<20}  {one.claim}{place}"
    if one.verdict == "refuted":
        yield f"{'':<20}  expected {one.expected}; found {one.found} [{one.severity}]"
    elif one.found:
        yield f"{'':<20}  {one.found}"


def plain(text: str) -> str:
    """A text that may come from a hostile file, without control characters and not too long to read."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."
