"""`wardround audit conform`: does the code that is installed here do what its protocols promise?

The production site is driven with signed tasks on synthetic patients, and what leaves it is compared with the promised
law. A run has at most `MOST_CHECKS` checks at level `ALPHA`: correct code passes at least 999 of 1,000 runs.

What a pass means: this installation, with this code digest, adds the promised noise to correctly clipped and sampled
sums and releases nothing else, on patients and models like these. What it cannot mean: that a hospital trains with this
code, or that code which looks for canaries would be found.

Source: white-box auditing with canaries as in Nasr et al. (2023), "Tight auditing of differentially private machine
learning", turned from a bound on epsilon into tests of the mechanism's parts.
"""

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from wardround.common.audit.conformity import CONFORMS, DEVIATES, FORMAT, VERSION, seal_report
from wardround.common.code import package_digest
from wardround.common.durable import write_atomic
from wardround.common.errors import StudyError, UsageError, WardroundError
from wardround.common.formats import header
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.signed import timestamp, utc_now
from wardround.simulations.conformanceconduct import conduct
from wardround.simulations.conformanceexam import Examination
from wardround.simulations.conformancepatients import tables
from wardround.simulations.conformancesite import Grounds
from wardround.simulations.conformancestats import ALPHA, MOST_CHECKS, Check
from wardround.simulations.conformancestudies import CALMED, STUDIES
from wardround.simulations.run import Step

CONDUCT: Final = "conduct"
NAMES: Final = (*STUDIES, CONDUCT)
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108  (the folder made in it has a name of its own)
_PACKAGES: Final = ("wardround", "torch", "numpy", "cryptography", "flwr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformance:
    """What a run found.

    Attributes:
        checks: In the order in which they were made.
        complete: Whether every study was run.
        seconds: Duration.
    """

    checks: tuple[Check, ...]
    complete: bool
    seconds: float = field(compare=False)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not hold."""
        return tuple(check for check in self.checks if not check.holds)

    @property
    def verdict(self) -> str:
        """In words."""
        return DEVIATES if self.failed else CONFORMS

    def fields(self) -> dict[str, object]:
        """The report without signature; numbers as decimal text."""
        return {
            "verdict": self.verdict,
            "complete": "yes" if self.complete else "no",
            "code": package_digest(),
            "time": timestamp(utc_now()),
            "seconds": f"{self.seconds:.0f}",
            "false_alarm": f"{len(self.checks) * ALPHA:.1e}",
            "machine": platform.platform(),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            "checks": [_plain(check) for check in self.checks],
        }


def conform(studies: Sequence[str] = NAMES, *, step: Step = lambda *_: None) -> Conformance:
    """Run the studies on this installation.

    Args:
        studies: Some of `NAMES`; `conduct` looks at the replies of the others, and asks for some of `clipping` again.
        step: Told as work proceeds.

    Raises:
        UsageError: A study is unknown.
    """
    if unknown := sorted(set(studies) - set(NAMES)):
        raise UsageError(f"no study {unknown[0]!r}", advice=f"studies: {', '.join(NAMES)}")
    begun = time.monotonic()
    checks: list[Check] = []
    wanted = {*studies, *([CALMED.name] if CONDUCT in studies else [])}
    chosen = [name for name in NAMES if name in wanted]
    with tempfile.TemporaryDirectory(prefix="wardround-conform-", dir=memory_folder()) as folder:
        exam = Examination(Grounds(Path(folder), tables()))
        for number, name in enumerate(chosen):
            step(name, number, len(chosen))
            checks += _examined(name, STUDIES.get(name, conduct), exam)
        step("done", len(chosen), len(chosen))
    if len(checks) > MOST_CHECKS:
        raise StudyError(f"expected at most {MOST_CHECKS} checks in a run, found {len(checks)}")
    seconds = time.monotonic() - begun
    return Conformance(checks=tuple(checks), complete=len(chosen) == len(NAMES), seconds=seconds)


def memory_folder() -> str | None:
    """A folder in memory where the system has one: hundreds of ledger entries need no disk to be lost on."""
    return str(_SHARED_MEMORY) if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK) else None


def _examined(name: str, study: Callable[[Examination], Iterator[Check]], exam: Examination) -> list[Check]:
    """The checks of a study; a hospital that does not answer as it must does not conform either."""
    found: list[Check] = []
    try:
        found.extend(study(exam))
    except (WardroundError, LookupError, ValueError, ArithmeticError) as error:
        claim = "the hospital answers every honest task with values of the declared kind"
        said = f"{type(error).__name__}: {error}"[:800]
        found.append(Check(study=name, name="answers", claim=claim, expected="answers", found=said, p=0.0))
    return found


def write_report(found: Conformance, path: Path, key: SigningKey) -> None:
    """Write the signed report.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    write_atomic(path, seal_report(key, found.fields()))


def as_json(found: Conformance) -> str:
    """The report without a signature, for machines."""
    return json.dumps({**header(FORMAT, VERSION), **found.fields()}, indent=1)


def in_words(found: Conformance) -> str:
    """For a terminal: one line per check, and what fails in full."""
    lines = [_line(check) for check in found.checks]
    for check in found.failed:
        lines += [
            "",
            f"FAILED {check.study}: {check.claim}",
            f"  expected {check.expected}; found {check.found}",
        ]
    part = "" if found.complete else " (some studies were left out)"
    held = len(found.checks) - len(found.failed)
    lines += [
        "",
        f"This installation {found.verdict}{part}: {held} of {len(found.checks)} checks hold, {found.seconds:.0f} s.",
        f"Correct code fails with probability below {len(found.checks) * ALPHA:.0e}. Code {package_digest()[:16]}.",
    ]
    return "\n".join(lines)


def _line(check: Check) -> str:
    word = "holds" if check.holds else "FAILS"
    return f"{word}  {check.study + ': ' + check.name:48} {check.found[:60]:34} p {check.p:.2g}"


def _plain(check: Check) -> dict[str, object]:
    return {
        "study": check.study,
        "name": check.name,
        "claim": check.claim,
        "expected": check.expected,
        "found": check.found,
        "p": f"{check.p:.6g}",
        "holds": "yes" if check.holds else "no",
    }
