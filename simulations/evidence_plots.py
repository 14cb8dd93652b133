"""Pictures of how far a model can be trusted: calibration, decision curves, groups of patients.

As in `plots`: a title and a description in words, groups told apart by shape and words as well as by colour, text that
stays text. One panel for each question, in rows of `_ACROSS`.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wardround.common.wording import METRIC_NAMES, TOO_FEW, interval, number
from wardround.simulations.evidencerows import BinRow, GapRow, NetBenefitRow
from wardround.simulations.plots import COLOURS, INK, QUIET, STYLE, svg
from wardround.simulations.resultrows import SubgroupRow

_R = TypeVar("_R", BinRow, NetBenefitRow)

_ACROSS: Final = 3
_HEIGHTS: Final = {1: 3.4, 2: 3.3, 3: 2.75}
_BLUE: Final = COLOURS["better"]
_GRID: Final = "#e6eaee"
_SHAPES: Final = {"better": "^", "worse": "v", "unsure": "o"}


def calibration(rows: Sequence[BinRow]) -> str:
    """Observed share against predicted probability, bin by bin, as SVG; on the diagonal they agree.

    Args:
        rows: Bins of one place and group; one panel for each subject.
    """
    return _panels(
        rows,
        _draw_calibration,
        name="calibration",
        title="Predicted probability against what happened",
        said=lambda row: (
            f"{row.predicted:.2f} predicted, {row.observed:.2f} happened ({row.patients} patients)"
        ),
        axes=("predicted probability", "share that happened"),
    )


def _draw_calibration(axes: Axes, rows: Sequence[BinRow]) -> None:
    axes.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle="--")
    most = max(row.patients for row in rows)
    for row in rows:
        axes.plot([row.predicted] * 2, [row.low, row.high], color=_BLUE, linewidth=1.6, solid_capstyle="butt")
        size = 4 + 5 * (row.patients / most) ** 0.5
        axes.plot(row.predicted, row.observed, "o", color=_BLUE, markersize=size, markeredgecolor="white")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), aspect="equal")
    axes.set_xticklabels(("0", ".5", "1"))
    axes.set_yticklabels(("0", ".5", "1"))


def decisions(rows: Sequence[NetBenefitRow]) -> str:
    """Net benefit of acting on the model at each threshold, against treating everybody and nobody, as SVG.

    Args:
        rows: Thresholds of one place and group; one panel for each subject.
    """
    return _panels(
        rows,
        _draw_decisions,
        name="decisions",
        title="Net benefit of acting on the model",
        said=lambda row: (
            f"at {row.threshold:.2f} {number(row.value)} {interval(row.low, row.high)}, "
            f"everybody {number(row.treat_all)}"
        ),
        axes=("threshold of probability", "net benefit"),
    )


def _draw_decisions(axes: Axes, rows: Sequence[NetBenefitRow]) -> None:
    at = [row.threshold for row in rows]
    top = max(row.treat_all for row in rows) + 0.02
    top = max(top, *(row.high for row in rows))
    bottom = -0.35 * top
    axes.fill_between(at, [row.low for row in rows], [row.high for row in rows], color="#cfe3f1", linewidth=0)
    axes.plot(at, [row.value for row in rows], color=_BLUE, linewidth=2.2, label="act on the model")
    axes.plot(
        at, [row.treat_all for row in rows], color=COLOURS["worse"], linestyle="--", label="treat everybody"
    )
    axes.axhline(0, color=INK, linewidth=1, linestyle=":", label="treat nobody")
    axes.set(xlim=(0, 1), ylim=(bottom, top * 1.05), xticks=(0, 0.5, 1))
    axes.set_xticklabels(("0", ".5", "1"))


def _panels(
    rows: Sequence[_R],
    draw: Callable[[Axes, Sequence[_R]], None],
    *,
    name: str,
    title: str,
    said: Callable[[_R], str],
    axes: tuple[str, str],
) -> str:
    by_subject = {subject: list(found) for subject, found in groupby(rows, key=lambda row: row.subject)}
    across = min(_ACROSS, len(by_subject))
    down = -(-len(by_subject) // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, _HEIGHTS[across] * down + 0.35), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for panel, (subject, found) in zip(grid, by_subject.items(), strict=False):
            draw(panel, found)
            panel.set_title(_short(subject), fontsize=10)
            panel.grid(color=_GRID)
        for panel in grid[len(by_subject) :]:
            panel.set_axis_off()
        for place, panel in enumerate(grid[: len(by_subject)]):
            panel.set_xlabel(axes[0])
            panel.set_ylabel(axes[1] if place % across == 0 else "")
        _legend(figure, grid[0])
        words = "; ".join(
            f"{subject}: {', '.join(said(row) for row in found)}" for subject, found in by_subject.items()
        )
        return svg(figure, name, title, words)


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    if handles:
        look: Mapping[str, Any] = {"loc": "outside upper left", "ncols": len(labels), "frameon": False}
        figure.legend(handles, labels, **look)


def _short(text: str, most: int = 30) -> str:
    """A title that fits above its panel; the table beside the picture has the whole of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _wrapped(text: str) -> str:
    """A label in at most two lines."""
    return "\n".join(textwrap.wrap(text, 32, max_lines=2, placeholder="…"))


def groups(values: Sequence[SubgroupRow], gaps: Sequence[GapRow], metric: str, everybody: float) -> str:
    """The model for each group with its interval, against all patients together, as SVG.

    Args:
        values: Rows of any metric; those of `metric` are drawn, in their order.
        gaps: The same groups' gaps, for the verdicts.
        metric: One of the metrics.
        everybody: Its value in all patients.
    """
    chosen = [row for row in values if row.metric == metric]
    verdicts = {(row.column, row.group): row.verdict for row in gaps if row.metric == metric}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.1 + 0.4 * len(chosen)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(everybody, color=QUIET, linewidth=1, linestyle="--")
        for place, row in enumerate(chosen):
            _draw_group(axes, place, row, verdicts.get((row.column, row.group), "too-few"))
        axes.set_yticks(range(len(chosen)), [_wrapped(f"{row.column}: {row.group}") for row in chosen])
        axes.set_ylim(len(chosen) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=_GRID)
        axes.set_xlabel(f"{METRIC_NAMES[metric]} (dashed: all patients, {number(everybody)})")
        words = "; ".join(f"{row.column}: {row.group}: {_group_said(row)}" for row in chosen)
        return svg(figure, "groups", f"{METRIC_NAMES[metric]} by group of patients", words)


def _group_said(row: SubgroupRow) -> str:
    value = f"{number(row.value)} {interval(row.low, row.high)}" if row.value == row.value else TOO_FEW
    return f"{value}, n = {row.patients}"


def _draw_group(axes: Axes, place: int, row: SubgroupRow, verdict: str) -> None:
    colour = COLOURS.get(verdict, QUIET)
    if row.value == row.value:
        axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        fill = "white" if verdict == "unsure" else colour
        axes.plot(
            row.value, place, _SHAPES.get(verdict, "o"), color=colour, markerfacecolor=fill, markersize=8
        )
    axes.text(1.02, place, _group_said(row), transform=axes.get_yaxis_transform(), va="center", color=colour)
