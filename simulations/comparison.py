"""One page over several runs: the same studies without privacy and under several mechanisms, side by side.

The page leads with the price of privacy as a sentence and a picture, then shows every hospital, and links the report
of each run. It is made from results files alone.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from wardround.common import wording
from wardround.common.durable import write_atomic
from wardround.simulations import verdicts
from wardround.simulations.observers import EVERYBODY_ELSE
from wardround.simulations.privacy_words import assuming, small, stated
from wardround.simulations.report import FILE_NAME, environment, in_order
from wardround.simulations.resultrows import GainRow
from wardround.simulations.results import Results
from wardround.simulations.tradeoff import Point, Tradeoff, tradeoff
from wardround.simulations.tradeoff_plot import NAMES, draw

Run = tuple[Results, str, Path]
"""Results, a short label ("joint noise, epsilon 3", "without privacy"), and the run folder or its report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one run says to one hospital."""

    joint: str
    difference: str
    word: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One run: its label, the address of its report, its privacy, and what it says to every hospital."""

    label: str
    address: str
    privacy: str
    summary: str
    cells: tuple[Cell, ...]
    joint_all: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One study."""

    study: str
    metric: str
    meaning: str
    sites: tuple[str, ...]
    own: tuple[str, ...]
    pooled: tuple[str, ...]
    pooled_all: str
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
    ordered = sorted(runs, key=lambda run: order.index(run[0].study))
    by_study = [list(group) for _, group in groupby(ordered, key=lambda run: run[0].study)]
    found = {group[0][0].study: tradeoff([results for results, _, _ in group]) for group in by_study}
    drawn = [each for each in found.values() if each is not None]
    page = (
        environment()
        .get_template("comparison_template.html")
        .render(
            sections=[_section(group, found[group[0][0].study], folder) for group in by_study],
            picture=Markup(draw(drawn)) if drawn else "",  # noqa: S704 - every name in it is escaped
            assumption=assumption([results for results, _, _ in runs]),
        )
    )
    path = folder / FILE_NAME
    write_atomic(path, page.encode())
    return path


def prices(runs: Sequence[Results]) -> list[str]:
    """The price of privacy in each study, a sentence each; for a terminal."""
    by_study: dict[str, list[Results]] = {}
    for run in runs:
        by_study.setdefault(run.study, []).append(run)
    found = {study: tradeoff(group) for study, group in by_study.items()}
    return [f"{study}. {_price(each)}" for study, each in found.items() if each is not None]


def assumption(runs: Sequence[Results]) -> str:
    """Against whom the epsilons on the axis hold: without this the mechanisms are not comparable."""
    joint = sorted({run.largest(): run for run in runs if run.honest_sites}.items())
    if not joint:
        return "Epsilon holds against everybody else together."
    first = joint[0][1]
    honest = f"at least {first.honest_sites} of {len(first.sites)} hospitals are honest"
    alone = ", ".join(f"{run.largest(EVERYBODY_ELSE):.3g} instead of {claim:.3g}" for claim, run in joint)
    return (
        f"Epsilon of joint noise holds while {honest}; if all others collude it is {alone}. Epsilon of site noise "
        "holds against everybody else together."
    )


def _section(runs: Sequence[Run], found: Tradeoff | None, folder: Path) -> Section:
    first = runs[0][0]
    metric = first.primary
    sites = tuple(dict.fromkeys(site for results, _, _ in runs for site in results.sites))

    def values(model: str) -> tuple[str, ...]:
        return tuple(wording.number(first.value(model.format(site), site, metric)) for site in sites)

    return Section(
        study=first.study,
        metric=wording.METRIC_NAMES.get(metric, ""),
        meaning=wording.METRIC_MEANINGS.get(metric, ""),
        sites=sites,
        own=values("local:{}"),
        pooled=values("pooled"),
        pooled_all=wording.number(first.value("pooled", "all", metric)),
        lines=tuple(_line(run, sites, metric, folder) for run in runs),
        price=_price(found) if found else "",
    )


def _line(run: Run, sites: Sequence[str], metric: str, folder: Path) -> Line:
    results, label, path = run
    target = path if path.suffix == ".html" else path / FILE_NAME
    gains = {row.site: row for row in results.gains if row.metric == metric}
    return Line(
        label=label,
        address=quote(Path(os.path.relpath(target, folder)).as_posix()),
        privacy=_privacy(results),
        summary=verdicts.summary(in_order(results, metric)),
        cells=tuple(_cell(gains.get(site)) for site in sites),
        joint_all=wording.number(results.value("federated", "all", metric)),
    )


def _privacy(results: Results) -> str:
    if not results.training_private:
        return "no privacy guarantee, epsilon is infinite"
    claim = f"epsilon {stated(results.largest())} at delta {small(results.delta)} per patient of a hospital"
    return f"{claim}, {assuming(results)}" if results.honest_sites else claim


def _cell(row: GainRow | None) -> Cell:
    if row is None:
        return Cell(joint=wording.NOTHING, difference="", word="unknown", symbol="")
    word = verdicts.gain_of(row).word
    return Cell(
        joint=wording.number(row.federated),
        difference=verdicts.difference(row),
        word=word,
        symbol=verdicts.SYMBOLS[word],
    )


def _price(found: Tradeoff) -> str:
    """The picture of one study in a sentence."""
    name = wording.METRIC_NAMES[found.metric]
    by_mechanism = {
        mechanism: list(points) for mechanism, points in groupby(found.points, key=lambda p: p.mechanism)
    }
    reached = "; ".join(_reached(mechanism, points) for mechanism, points in by_mechanism.items())
    return (
        f"At the average hospital the joint model reaches {name} {wording.number(found.unprotected.value)} without "
        f"privacy, and every hospital's own model {wording.number(found.own.value)}. "
        f"The joint model reaches {reached}."
    )


def _reached(mechanism: str, points: Sequence[Point]) -> str:
    said: Mapping[str, str] = {
        "values": _listed([wording.number(point.estimate.value) for point in points]),
        "epsilons": _listed([f"{point.epsilon:.2g}" for point in points]),
    }
    return f"{said['values']} with {NAMES[mechanism]} at epsilon {said['epsilons']}"


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
