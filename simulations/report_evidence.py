"""The part of a report that says for whom the model works, whether its probabilities hold, and whether acting helps.

Every number stands in `results.json`; this module only turns rows into lines of tables and pictures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from wardround.common import wording
from wardround.simulations import evidence_plots
from wardround.simulations.evaluation import ALL
from wardround.simulations.evidencerows import BinRow, CalibrationRow, NetBenefitRow
from wardround.simulations.results import Results

MEASURES: Final = (
    "calibration_slope",
    "calibration_in_the_large",
    "expected_calibration_error",
    "brier",
)
SHOWN_THRESHOLDS: Final = (0.1, 0.2, 0.3, 0.5, 0.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLine:
    """One group and metric, in words."""

    group: str
    patients: int
    metric: str
    value: str
    gap: str
    verdict: str
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureLine:
    """One place and question: a cell for each of `MEASURES`."""

    place: str
    subject: str
    patients: int
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenefitLine:
    """One place and question: net benefit at each of `SHOWN_THRESHOLDS`."""

    place: str
    subject: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the template shows; lists are empty and pictures "" where nothing was measured."""

    groups: tuple[GroupLine, ...]
    other_metrics: tuple[GroupLine, ...]
    worst: tuple[str, ...]
    groups_picture: str
    overall: tuple[MeasureLine, ...]
    by_group: tuple[MeasureLine, ...]
    by_site: tuple[MeasureLine, ...]
    integrated: tuple[str, ...]
    bins: tuple[BinRow, ...]
    bins_picture: str
    benefits: tuple[BenefitLine, ...]
    thresholds: tuple[str, ...]
    benefits_picture: str


def evidence(results: Results) -> Evidence:
    """All lines and pictures."""
    bins = tuple(row for row in results.calibration_bins if not row.group)
    benefits = tuple(row for row in results.net_benefit if not row.group)
    lines = list(_group_lines(results))
    leading = wording.METRIC_NAMES.get(results.primary, "")
    rows = [row for row in results.calibration if row.measure in MEASURES]
    return Evidence(
        groups=tuple(line for line in lines if line.metric == leading),
        other_metrics=tuple(line for line in lines if line.metric != leading),
        worst=tuple(_worst(results)),
        groups_picture=_groups_picture(results),
        overall=_measures(row for row in rows if row.on == ALL and not row.group),
        by_group=_measures(row for row in rows if row.group),
        by_site=_measures(row for row in rows if row.on != ALL),
        integrated=tuple(_integrated(results)),
        bins=bins,
        bins_picture=Markup(evidence_plots.calibration(bins)) if bins else "",  # noqa: S704 - names are escaped there
        benefits=_benefits(results.net_benefit),
        thresholds=tuple(wording.number(each) for each in SHOWN_THRESHOLDS),
        benefits_picture=Markup(evidence_plots.decisions(benefits)) if benefits else "",  # noqa: S704
    )


def _groups_picture(results: Results) -> str:
    metric = results.primary
    drawn = [row for row in results.subgroups if row.metric == metric]
    if not drawn:
        return ""
    everybody = results.value("federated", ALL, metric)
    return Markup(evidence_plots.groups(drawn, results.gaps, metric, everybody))  # noqa: S704 - names are escaped


def _group_lines(results: Results) -> Iterable[GroupLine]:
    gaps = {(row.column, row.group, row.metric): row for row in results.gaps}
    for row in results.subgroups:
        gap = gaps.get((row.column, row.group, row.metric))
        told = row.value == row.value
        word = gap.verdict if gap else ("unsure" if told else "too-few")
        yield GroupLine(
            group=f"{row.column}: {row.group}",
            patients=row.patients,
            metric=wording.METRIC_NAMES[row.metric],
            value=_stated(row.value, row.low, row.high),
            gap=f"{wording.signed(gap.difference)} {wording.interval(gap.low, gap.high)}"
            if gap and told
            else "",
            verdict=wording.GAPS[word] if gap or not told else "",
            word=word,
        )


def _worst(results: Results) -> Iterable[str]:
    """One sentence per column for the metric that the report leads with."""
    for row in results.worst_groups:
        if row.metric == results.primary:
            left = f"; {row.too_few} others have {wording.TOO_FEW}" if row.too_few else ""
            yield (
                f"Of the {row.judged} groups of {row.column} that can be judged, it works worst for {row.group}: "
                f"{wording.METRIC_NAMES[row.metric]} {_stated(row.value, row.low, row.high)}{left}."
            )


def _stated(value: float, low: float, high: float) -> str:
    return f"{wording.number(value)} {wording.interval(low, high)}" if value == value else wording.NOTHING


def _place(row: CalibrationRow | NetBenefitRow) -> str:
    if row.group:
        return f"{row.column}: {row.group}"
    return "All patients" if row.on == ALL else row.on


def _measures(rows: Iterable[CalibrationRow]) -> tuple[MeasureLine, ...]:
    found: dict[tuple[str, str], dict[str, CalibrationRow]] = {}
    for row in rows:
        found.setdefault((_place(row), row.subject), {})[row.measure] = row
    return tuple(
        MeasureLine(
            place=place,
            subject=subject,
            patients=next(iter(cells.values())).patients,
            cells=tuple(
                _stated(cell.value, cell.low, cell.high) if (cell := cells.get(name)) else ""
                for name in MEASURES
            ),
        )
        for (place, subject), cells in found.items()
    )


def _integrated(results: Results) -> Iterable[str]:
    for row in results.calibration:
        if row.measure == "integrated_brier" and row.on == ALL and not row.group:
            value = _stated(row.value, row.low, row.high)
            yield f"Integrated Brier score from {row.subject}: {value}; lower is better."


def _benefits(rows: Sequence[NetBenefitRow]) -> tuple[BenefitLine, ...]:
    found: dict[tuple[str, str], dict[float, NetBenefitRow]] = {}
    for row in rows:
        found.setdefault((_place(row), row.subject), {})[row.threshold] = row
    return tuple(
        BenefitLine(
            place=place,
            subject=subject,
            cells=tuple(
                f"{_stated(cell.value, cell.low, cell.high)}; all {wording.number(cell.treat_all)}"
                if (cell := cells.get(at))
                else ""
                for at in SHOWN_THRESHOLDS
            ),
        )
        for (place, subject), cells in found.items()
    )
