"""One page over several runs: the same study with and without privacy, side by side.

The page leads with the price of privacy, then shows every hospital, and links the report of each run. It is
made from results files alone.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from wardround.common.durable import write_atomic
from wardround.simulations import verdicts
from wardround.simulations.privacy_words import assuming, small, stated
from wardround.simulations.report import FILE_NAME, difference, environment, in_order
from wardround.simulations.resultrows import GainRow
from wardround.simulations.results import Results

Run = tuple[Results, str, Path]
"""Results, a short label ("epsilon 3", "no privacy"), and the run folder or its report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One run as a column: its label, the address of its report, its privacy and its numbers in words."""

    label: str
    address: str
    privacy: str
    joint_all: str
    pooled_all: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one run says to one hospital."""

    joint: str
    difference: str
    word: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One hospital across the runs of a study."""

    site: str
    own: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One study."""

    study: str
    metric: str
    meaning: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    price: str


def comparison_report(runs: Sequence[Run], folder: Path) -> Path:
    """Write `report.html` into `folder`, an index over several runs.

    Args:
        runs: Grouped by study in order of first appearance; within a study in the given order.
        folder: An existing folder; links are relative to it, so that the whole tree can be moved.

    Returns:
        The path of the page.

    Raises:
        StorageError: The folder cannot be written.
    """
    order = list(dict.fromkeys(results.study for results, _, _ in runs))
    by_study = groupby(sorted(runs, key=lambda run: order.index(run[0].study)), key=lambda run: run[0].study)
    sections = [_section(study, list(group), folder) for study, group in by_study]
    page = environment().get_template("comparison_template.html").render(sections=sections)
    path = folder / FILE_NAME
    write_atomic(path, page.encode())
    return path


def _section(study: str, runs: Sequence[Run], folder: Path) -> Section:
    metric = runs[0][0].primary
    sites = list(dict.fromkeys(site for results, _, _ in runs for site in results.sites))
    return Section(
        study=study,
        metric=verdicts.METRIC_NAMES.get(metric, ""),
        meaning=verdicts.METRIC_MEANINGS.get(metric, ""),
        columns=tuple(_column(run, metric, folder) for run in runs),
        lines=tuple(_line(site, runs, metric) for site in sites),
        price=_price(runs, metric),
    )


def _column(run: Run, metric: str, folder: Path) -> Column:
    results, label, path = run
    target = path if path.suffix == ".html" else path / FILE_NAME
    return Column(
        label=label,
        address=quote(Path(os.path.relpath(target, folder)).as_posix()),
        privacy=_privacy(results),
        joint_all=verdicts.number(results.value("federated", "all", metric)),
        pooled_all=verdicts.number(results.value("pooled", "all", metric)),
        summary=verdicts.summary(in_order(results, metric)),
    )


def _privacy(results: Results) -> str:
    if not results.training_private:
        return "no privacy guarantee, epsilon is infinite"
    claim = f"epsilon {stated(results.largest())} at delta {small(results.delta)} per patient of a hospital"
    return f"{claim}, {assuming(results)}" if results.honest_sites else claim


def _line(site: str, runs: Sequence[Run], metric: str) -> Line:
    found = [next((r for r in run[0].gains if (r.site, r.metric) == (site, metric)), None) for run in runs]
    own = next((verdicts.number(row.local) for row in found if row), verdicts.NOTHING)
    return Line(site=site, own=own, cells=tuple(map(_cell, found)))


def _cell(row: GainRow | None) -> Cell:
    if row is None:
        return Cell(joint=verdicts.NOTHING, difference="", word="unknown", symbol="")
    word = verdicts.gain_of(row).word
    return Cell(
        joint=verdicts.number(row.federated),
        difference=difference(row),
        word=word,
        symbol=verdicts.SYMBOLS[word],
    )


def _price(runs: Sequence[Run], metric: str) -> str:
    """Joint model over all hospitals with privacy against without, where both were run."""
    private = next((run for run in runs if run[0].training_private), None)
    open_ = next((run for run in runs if run[0].mechanism == "none"), None)
    if private is None or open_ is None:
        return ""
    values = [run[0].value("federated", "all", metric) for run in (private, open_)]
    name = verdicts.METRIC_NAMES.get(metric, "")
    return (
        f"Over all held-out patients the joint model reached {name} {verdicts.number(values[0])} with "
        f"{_privacy(private[0])}, and {verdicts.number(values[1])} without privacy."
    )
