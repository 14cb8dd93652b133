"""The price of privacy as one picture: a panel per study, the metric against epsilon, two mechanisms, two yardsticks.

Mechanisms differ by marker, fill and line as well as by colour; yardsticks are named where they end. Everything drawn
is also said in the picture's description.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wardround.common.wording import METRIC_NAMES, interval, number
from wardround.simulations.plots import COLOURS, INK, QUIET, STYLE, svg
from wardround.simulations.tradeoff import Estimate, Point, Tradeoff

NAMES: Final = {"joint-noise": "joint noise", "site-noise": "site noise"}
_LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "joint-noise": {"color": COLOURS["better"], "marker": "o", "linestyle": "-"},
    "site-noise": {"color": COLOURS["worse"], "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
}
_ASIDE: Final = {"joint-noise": 0.955, "site-noise": 1.047}
"""Factors by which points stand beside their epsilon, so that intervals do not hide one another."""
_APART: Final = 0.075
"""Least distance of two yardsticks' names, as a share of the panel's height."""


def draw(found: Sequence[Tradeoff]) -> str:
    """One panel per study, as SVG.

    Args:
        found: At least one study.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.9 * len(found) if len(found) > 1 else 6.4, 4.2), layout="constrained")
        panels = figure.subplots(1, len(found), squeeze=False)[0]
        for axes, each in zip(panels, found, strict=True):
            _panel(axes, each)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        return svg(figure, "tradeoff", "The price of privacy", in_words(found))


def _panel(axes: Axes, found: Tradeoff) -> None:
    axes.set_xscale("log")
    for mechanism, points in groupby(found.points, key=lambda point: point.mechanism):
        _series(axes, mechanism, list(points))
    _limits(axes, found)
    _yardsticks(axes, found)
    axes.set_title(found.study, fontsize=11, loc="left")
    axes.set_xlabel("epsilon: smaller is more private")
    axes.set_ylabel(f"{METRIC_NAMES[found.metric]} at the average hospital")
    axes.grid(axis="y", color="#e6eaee")


def _series(axes: Axes, mechanism: str, points: Sequence[Point]) -> None:
    places = [point.epsilon * _ASIDE[mechanism] for point in points]
    values = [point.estimate.value for point in points]
    lengths = [
        [point.estimate.value - point.estimate.low for point in points],
        [point.estimate.high - point.estimate.value for point in points],
    ]
    axes.errorbar(
        places,
        values,
        yerr=lengths,
        **_LOOKS[mechanism],
        markersize=7,
        linewidth=1.6,
        elinewidth=1.2,
        capsize=3,
        label=NAMES[mechanism],
    )


def _limits(axes: Axes, found: Tradeoff) -> None:
    epsilons = sorted({float(f"{point.epsilon:.2g}") for point in found.points})
    axes.set_xticks(epsilons, [f"{each:g}" for each in epsilons])
    axes.minorticks_off()
    axes.set_xlim(epsilons[0] / 1.25, epsilons[-1] * 1.25)


def _yardsticks(axes: Axes, found: Tradeoff) -> None:
    drawn = (
        (found.unprotected, "without\nprivacy", INK, "-"),
        (found.own, "every own\nmodel", QUIET, ":"),
    )
    for estimate, _, colour, line in drawn:
        axes.axhline(estimate.value, color=colour, linestyle=line, linewidth=1.6, zorder=1)
    low, high = axes.get_ylim()
    heights = [(estimate.value - low) / (high - low) for estimate, *_ in drawn]
    for (estimate, words, colour, _), height in zip(drawn, _spread(heights), strict=True):
        said = f"{words} {number(estimate.value)}"
        axes.text(1.02, height, said, transform=axes.transAxes, va="center", color=colour, fontsize=9)


def _spread(heights: Sequence[float]) -> list[float]:
    """The same heights, moved apart where names would lie on each other.

    >>> [round(height, 4) for height in _spread([0.5, 0.5])]
    [0.575, 0.425]
    """
    first, second = heights
    middle, half = (first + second) / 2, max(abs(first - second) / 2, _APART)
    return [middle + half, middle - half] if first >= second else [middle - half, middle + half]


def in_words(found: Sequence[Tradeoff]) -> str:
    """Everything that the picture shows, for who does not see it."""
    return ". ".join(_said(each) for each in found)


def _said(found: Tradeoff) -> str:
    points = "; ".join(
        f"{NAMES[point.mechanism]} at epsilon {point.epsilon:.3g} {_estimate(point.estimate)}"
        for point in found.points
    )
    return (
        f"{found.study}, {METRIC_NAMES[found.metric]} at the average hospital: without privacy "
        f"{_estimate(found.unprotected)}; every hospital's own model {_estimate(found.own)}; {points}"
    )


def _estimate(found: Estimate) -> str:
    return f"{number(found.value)} {interval(found.low, found.high)}"
