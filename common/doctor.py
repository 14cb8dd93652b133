"""What is wrong with an installation, in words, and what to do: the frame for the checks of both roles.

A check looks and never repairs. It gives findings or raises one of our errors, which becomes a fault with its advice;
so one broken thing never hides the others.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from wardround.common.errors import WardroundError

State = Literal["fine", "warning", "fault"]
FAULTY: Final = 1
"""Exit code if there is a fault."""

_MARKS: Final[dict[State, str]] = {"fine": "ok     ", "warning": "WARNING", "fault": "FAULT  "}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What was looked at, in a word or two.
        state: `fault` keeps the installation from working, `warning` may do so soon or weakens it.
        found: What was found. Never a patient's value, a password or a passphrase.
        advice: What to do; empty if nothing.
    """

    check: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to look at.

    Attributes:
        name: As in its findings.
        look: Gives findings, or raises.
    """

    name: str
    look: Callable[[], Iterable[Finding]]


def fine(check: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check=check, state="fine", found=found)


def warning(check: str, found: str, advice: str) -> Finding:
    """It works and might not for long, or not as safely as it should."""
    return Finding(check=check, state="warning", found=found, advice=advice)


def fault(check: str, found: str, advice: str) -> Finding:
    """It cannot work like this."""
    return Finding(check=check, state="fault", found=found, advice=advice)


def examine(checks: Iterable[Check]) -> tuple[Finding, ...]:
    """Make every check; one that fails does not keep the others from being made."""
    return tuple(finding for check in checks for finding in _made(check))


def exit_code(findings: Sequence[Finding]) -> int:
    """0 without a fault."""
    return FAULTY if any(finding.state == "fault" for finding in findings) else 0


def lines(findings: Sequence[Finding]) -> list[str]:
    """For the screen, in the order of the checks, with a last line that counts."""
    width = max((len(finding.check) for finding in findings), default=0)
    shown = [line for finding in findings for line in _lines(finding, width)]
    count = {state: sum(f.state == state for f in findings) for state in _MARKS}
    return [*shown, f"Faults: {count['fault']}, warnings: {count['warning']}, in order: {count['fine']}."]


def as_json(findings: Sequence[Finding]) -> str:
    """For programs."""
    whole = {
        "format": "wardround-doctor",
        "version": 1,
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _made(check: Check) -> tuple[Finding, ...]:
    try:
        return tuple(check.look())
    except WardroundError as error:
        return (fault(check.name, str(error), error.advice),)
    except OSError as error:
        return (
            fault(
                check.name, f"{error.filename or 'something'}: {error.strerror or error}", "check its owner"
            ),
        )


def _lines(finding: Finding, width: int) -> list[str]:
    head = f"{_MARKS[finding.state]}  {finding.check:<{width}}  {finding.found}"
    return [head, f"{'':9}{'':{width}}  -> {finding.advice}"] if finding.advice else [head]
