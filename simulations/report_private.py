"""The part of a report that also exists between real hospitals: what noised tables of held-out patients say.

The study's own measure stands first. Beside each estimate of all patients stands the exact one, which only a simulation
knows; the page says which of the two leaves a hospital.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wardround.common import wording
from wardround.common.learning.evaluating import Judgement, PrivateRow
from wardround.common.wording import measure_name
from wardround.simulations.evaluation import ALL
from wardround.simulations.resultrows import METRICS
from wardround.simulations.results import Results

WITHHELD: Final = "withheld"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateLine:
    """One measure, in words; `exact` is empty where a simulation did not measure it either."""

    subject: str
    patients: str
    measure: str
    value: str
    private: str
    total: str
    exact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateSection:
    """What the template shows; no line without an evaluation.

    Attributes:
        declared: The study's own measure, and what it was held against.
        verdict: What came of it.
        lines: Measures of discrimination and calibration.
        others: Net benefit, and what happened in each bin.
        epsilon: The largest of any hospital's held-out patients, against whom the study states it first.
    """

    declared: str = ""
    verdict: str = ""
    lines: tuple[PrivateLine, ...] = ()
    others: tuple[PrivateLine, ...] = ()
    epsilon: str = ""


def private_section(results: Results) -> PrivateSection:
    """The section of a run; empty without an evaluation."""
    if not results.private_evaluation:
        return PrivateSection()
    judged = results.judgements[0]
    said = wording.JUDGEMENTS[judged.verdict]
    found = list(_lines(results, judged))
    claims = {row.adversary for row in results.claims}
    spent = [row.value for row in results.held_out_epsilon if row.adversary in claims]
    return PrivateSection(
        declared=f"{measure_name(judged.measure)} ({judged.subject}) {judged.direction.replace('-', ' ')} "
        f"{wording.number(judged.threshold)}",
        verdict=f"{said[0].upper()}{said[1:]}.",
        lines=tuple(line for row, line in found if not _is_detail(row)),
        others=tuple(line for row, line in found if _is_detail(row)),
        epsilon=wording.number(max(spent)) if spent else wording.NOTHING,
    )


def _is_detail(row: PrivateRow) -> bool:
    return row.measure.startswith(("observed_", "net_benefit"))


def _lines(results: Results, judged: Judgement) -> Iterator[tuple[PrivateRow, PrivateLine]]:
    """All rows, those of the declared measure first."""
    first = [row for row in results.private_evaluation if row.measure == judged.measure]
    for row in (*first, *(row for row in results.private_evaluation if row.measure != judged.measure)):
        yield (
            row,
            PrivateLine(
                subject=row.subject,
                patients=f"{row.column}: {row.group}" if row.column else "all",
                measure=measure_name(row.measure),
                value=wording.number(row.value) if row.value == row.value else WITHHELD,
                private=_interval(row.private_low, row.private_high),
                total=_interval(row.low, row.high),
                exact=_exact(results, row),
            ),
        )


def _interval(low: float, high: float) -> str:
    return wording.interval(low, high) if low == low else ""


def _exact(results: Results, row: PrivateRow) -> str:
    """The same from the patients themselves, where the run measured it."""
    if row.column:
        values = [
            one.value
            for one in results.subgroups
            if (one.model, one.column, one.group, one.metric)
            == ("federated", row.column, row.group, row.measure)
        ]
    else:
        values = [results.value("federated", ALL, row.measure)] if row.measure in METRICS else []
        values += [
            one.value
            for one in results.calibration
            if (one.model, one.on, one.group, one.subject, one.measure)
            == ("federated", ALL, "", row.subject, row.measure)
        ]
    known = [value for value in values if value == value]
    several = len({one.subject for one in results.private_evaluation}) > 1
    return wording.number(known[0]) if known and not (several and row.measure in METRICS) else ""
