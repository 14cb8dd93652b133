"""Pictures of a run as SVG text: forest plot of gains, curves per round, epsilon spent.

Each picture carries a title and a description for screen readers, tells its groups apart by shape and words as
well as by colour, and keeps its text as text. Equal input gives equal bytes. Names of hospitals come from
tables, so they are never read as formulas and are escaped as XML.

Source: colours of Okabe and Ito (2008), "Color universal design".
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wardround.common.wording import METRIC_NAMES, TOO_FEW, interval, number, signed
from wardround.simulations.privacy_words import stated
from wardround.simulations.resultrows import CapRow, CurveRow, EpsilonRow, GainRow
from wardround.simulations.verdicts import MANY, gain_of

INK: Final = "#1f2933"
QUIET: Final = "#66727f"
COLOURS: Final = {"better": "#0072b2", "worse": "#c44600", "unsure": QUIET, "unknown": QUIET}
_MARKERS: Final = {"better": "^", "worse": "v", "unsure": "o", "unknown": "x"}
_LINES: Final = ("#0072b2", "#c44600", "#007a5a", "#a5539b", "#8a6d00", "#2f7fb0")
STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "wardround",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b7c0c9",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_NAMED: Final = 6
"""At most so many lines carry names; with more hospitals only the whole is named."""


def forest(rows: Sequence[GainRow], order: Sequence[str], metric: str) -> str:
    """Gain of each hospital with its interval, in the given order of sites, as SVG.

    Args:
        rows: Gains of any metrics; those of `metric` are drawn.
        order: Sites from top to bottom.
        metric: One of the metrics; the axis points to the right where the joint model is better.
    """
    places = {site: place for place, site in enumerate(order)}
    chosen = sorted(
        (row for row in rows if row.metric == metric and row.site in places), key=lambda r: places[r.site]
    )
    with mpl.rc_context(STYLE):
        height = 0.42 if len(chosen) <= MANY else 0.22
        figure = Figure(figsize=(7.2, 1.3 + height * max(len(chosen), 1)), layout="constrained")
        _draw_forest(figure.subplots(), chosen, metric)
        return svg(figure, "gains", f"Gain in {METRIC_NAMES[metric]} by hospital", _said(chosen))


def _said(rows: Sequence[GainRow]) -> str:
    return "; ".join(f"{row.site}: {_gain_said(row)}" for row in rows)


def _gain_said(row: GainRow) -> str:
    gain = gain_of(row)
    if gain.word == "unknown":
        return TOO_FEW
    return f"{signed(gain.value)} {interval(gain.low, gain.high)}"


def _draw_forest(axes: Axes, rows: Sequence[GainRow], metric: str) -> None:
    axes.axvline(0, color=QUIET, linewidth=1)
    for place, row in enumerate(rows):
        gain = gain_of(row)
        colour = COLOURS[gain.word]
        if gain.word != "unknown":
            axes.plot([gain.low, gain.high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
            fill = "white" if gain.word == "unsure" else colour
            axes.plot(
                gain.value, place, _MARKERS[gain.word], color=colour, markerfacecolor=fill, markersize=8
            )
        said = _gain_said(row)
        axes.text(1.02, place, said, transform=axes.get_yaxis_transform(), va="center", color=colour)
    axes.set_yticks(range(len(rows)), [row.site for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e6eaee")
    axes.set_xlabel(f"own model better  ←  difference in {METRIC_NAMES[metric]}  →  joint model better")


def curves(rows: Sequence[CurveRow], metric: str) -> str:
    """The joint model after each round, as SVG: all hospitals together in bold, each one thin."""
    chosen = sorted((r for r in rows if r.metric == metric), key=lambda r: (r.on != "all", r.on, r.round))
    lines = {on: list(group) for on, group in groupby(chosen, key=lambda row: row.on)}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = figure.subplots()
        _draw_curves(axes, lines)
        axes.set_xlabel("completed rounds")
        axes.set_ylabel(METRIC_NAMES[metric])
        axes.grid(axis="y", color="#e6eaee")
        title = f"{METRIC_NAMES[metric]} of the joint model by round"
        return svg(figure, "curves", title, _ended(lines))


def _ended(lines: Mapping[str, Sequence[CurveRow]]) -> str:
    return "; ".join(
        f"{on}: {number(line[0].value)} in round {line[0].round}, {number(line[-1].value)} in round "
        f"{line[-1].round}"
        for on, line in lines.items()
    )


def _draw_curves(axes: Axes, lines: Mapping[str, Sequence[CurveRow]]) -> None:
    sites = [on for on in lines if on != "all"]
    named = len(sites) <= _NAMED
    dashes = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
    for place, site in enumerate(sites):
        look = {"color": _LINES[place % 6], "linestyle": dashes[place % 6]} if named else {"color": "#c3cbd3"}
        _draw_line(axes, lines[site], {**look, "linewidth": 1.2, "label": site if named else "_"})
    if "all" in lines:
        _draw_line(axes, lines["all"], {"color": INK, "linewidth": 2.6, "label": "all hospitals"})
    if named or "all" in lines:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _draw_line(axes: Axes, line: Sequence[CurveRow], look: Mapping[str, Any]) -> None:
    axes.plot([row.round for row in line], [row.value for row in line], **look)


def spent(rows: Sequence[EpsilonRow], caps: Sequence[CapRow], order: Sequence[str]) -> str:
    """Epsilon of each hospital as a bar, with its cap as a mark where one is known, as SVG.

    Args:
        rows: One per hospital and adversary; of several adversaries the largest epsilon is drawn.
        caps: Lifetime caps that a simulation invented.
        order: Sites from top to bottom.
    """
    values = {site: max((r.value for r in rows if r.site == site), default=math.nan) for site in order}
    limits = {row.site: row.cap for row in caps if row.site in values}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 1.1 + 0.36 * max(len(values), 1)), layout="constrained")
        _draw_spent(figure.subplots(), values, limits)
        said = "; ".join(f"{site}: {_of_cap(value, limits.get(site))}" for site, value in values.items())
        return svg(figure, "spent", "Epsilon spent by hospital", said)


def _of_cap(value: float, cap: float | None) -> str:
    shown = stated(value)
    return shown if cap is None else f"{shown} of a cap of {cap:g}"


def _draw_spent(axes: Axes, values: Mapping[str, float], limits: Mapping[str, float]) -> None:
    finite = [v for v in (*values.values(), *limits.values()) if math.isfinite(v)]
    reach = 1.15 * max(finite, default=1.0)
    for place, (site, value) in enumerate(values.items()):
        endless = math.isinf(value)
        width = reach if endless else value
        colour = COLOURS["worse" if endless else "better"]
        axes.barh(place, width, height=0.5, color=colour, hatch="//" if endless else None, edgecolor="white")
        if site in limits:
            axes.plot([limits[site]] * 2, [place - 0.36, place + 0.36], color=INK, linewidth=2.5)
        said = _of_cap(value, limits.get(site))
        axes.text(1.02, place, said, transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.set_xlim(0, reach)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("epsilon spent (bar) and lifetime cap (mark)" if limits else "epsilon spent")


def svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure's SVG element, with title, description and ids of its own.

    Args:
        figure: Drawn under `STYLE`.
        name: Stands before every id, so that pictures on one page share none.
        title: For a screen reader, as are:
        description: All values in words.
    """
    target = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(target, format="svg", metadata=nothing)
    body = target.getvalue()
    body = body[body.index("<svg") :]
    # The one global style rule would reach the page around it; ids would collide with the next picture's.
    body = re.sub(r"<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(href="#|url\(#)', rf"\1{name}-", body)
    labels = (
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    )
    opening = f'<svg role="img" aria-labelledby="{name}-title {name}-desc" stroke-linejoin="round"'
    return re.sub(r"<svg([^>]*)>", lambda m: f"{opening}{m[1]}>{labels}", body, count=1)
