"""`docs/results/failures.md`: what was tried, what happened, how long it took, and with which code."""

import ast
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.chaos.keeping import Named, kept
from tests.chaos.random_kills import Row, counts, rows_of

from wardround.common.code import package_digest

HEAD: Final = """\
# Failures of a deployment

Written by `make chaos`. Each failure was injected into real processes on loopback, with TLS and keys: a coordinator,
two hospitals behind cables of their own, `server start`. *Uninterrupted model* means: bit for bit the model of a
simulation of the same study that nothing interrupts. Seconds are of the whole test, on a machine that others used too.
"""
KILLS: Final = """\
## Random kills

`kill -9` of a drawn process at drawn moments. Afterwards the coordinator's log, the hospitals' ledgers and their
outboxes were compared: every release is charged, there is at most one extra attempt per kill, each kept reply is the
one that was settled, and `open` studies end with the uninterrupted model. *n@r* was killed while round r was open.
"""
LEAVES: Final = """\
## What leaves

`tests/deployment/test_egress.py` writes down what SuperNode and executor of two hospitals send, before encryption,
over a scripted private study with errors; the cohorts differ in one patient. Everything but the noised numbers and a
list of what is random or names the hospital must be equal byte for byte, and no planted value may occur.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was found.

    Attributes:
        named: The named failures.
        rows: The studies under random kills.
    """

    named: Sequence[Named]
    rows: Sequence[Row]

    @property
    def seconds(self) -> float:
        """Of everything together, though some of it went on side by side."""
        return sum(one.seconds for one in self.named) + sum(row.seconds for row in self.rows)

    @property
    def clean(self) -> bool:
        """Whether nothing failed and nothing was violated."""
        return all(one.good for one in self.named) and not any(row.violations for row in self.rows)

    @property
    def summary(self) -> str:
        """One line."""
        broken = sum(not one.good for one in self.named)
        wrong = sum(bool(row.violations) for row in self.rows)
        killed = counts(self.rows)
        kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(killed.items()))
        return (
            f"{len(self.named)} named failures, {broken} failed; {killed.total()} kills ({kinds}) in "
            f"{len(self.rows)} studies, {wrong} with violations; {self.seconds / 60:.0f} minutes"
        )


def report_of(findings: Path) -> Report:
    """The last word on every named failure, and all studies, of today's code."""
    last = {one["test"]: Named(**one) for one in kept(findings, "named")}
    return Report(named=tuple(last.values()), rows=rows_of(findings))


def declared() -> Iterator[tuple[str, str]]:
    """Every failure that a test is marked with, and the test's file; read from the source text."""
    for path in sorted((Path(__file__).parent.parent / "deployment").glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="failure"), args=[ast.Constant(value=str(name)), _]):
                    yield name, path.stem


def page(report: Report) -> str:
    """Markdown."""
    tried = {one.name for one in report.named}
    named = [
        *(
            (one.name, one.result, f"{one.seconds:.0f}", f"`{_file(one)}`")
            for one in sorted(report.named, key=_by_test)
        ),
        *(
            (name, "not run with this code", "", f"`{file}`")
            for name, file in declared()
            if name not in tried
        ),
    ]
    columns = ("study", "killed", "seconds", "void attempts", "extra charges", "seed", "violations")
    facts = {
        "code": package_digest(),
        "flwr": version("flwr"),
        "Python": platform.python_version(),
        "processors": str(os.cpu_count()),
    }
    parts = [
        HEAD,
        table(("failure", "what happened", "seconds", "test"), named),
        KILLS,
        f"{report.summary}.\n",
        table(columns, map(_cells, report.rows)),
        LEAVES,
        "## Made from\n",
        "\n".join(f"- {name}: `{value}`" for name, value in facts.items()) + "\n",
    ]
    return "\n".join(parts)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return (
        "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)
        + "\n"
    )


def _file(one: Named) -> str:
    return Path(one.test.partition("::")[0]).stem


def _by_test(one: Named) -> tuple[str, str]:
    return one.test, one.name


def _cells(row: Row) -> tuple[object, ...]:
    wrong = "; ".join(row.violations) or "none"
    return row.name, ", ".join(row.kills), f"{row.seconds:.0f}", row.voids, row.extra, row.seed, wrong
