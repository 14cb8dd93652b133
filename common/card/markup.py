"""Small pieces of HTML and SVG for a card's page: everything that came from a table or a protocol is escaped here.

Pictures keep text as text, say in words what they show, and tell points apart by shape and position, not by colour.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from wardround.common.wording import number

INK: Final = "#1f2933"
QUIET: Final = "#52606d"
BLUE: Final = "#00588a"
_GRID: Final = "#d9dfe5"
_SIDE: Final = 190
"""Pixels of a square panel."""
_LEFT: Final = 46
_ACROSS: Final = 3
_LONGEST: Final = 34

Row = Mapping[str, Any]


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of terms and their meanings."""
    lines = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in pairs)
    return f'<dl class="terms">\n{lines}\n</dl>'


def bullets(lines: Iterable[str]) -> str:
    """A plain list."""
    body = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="plain">{body}</ul>' if body else "<p>None.</p>"


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, words: Sequence[int] = ()
) -> str:
    """A table whose first column names its rows; columns in `words` hold sentences."""

    def kind(place: int) -> str:
        return ' class="words"' if place in words else ' class="value"' if place else ""

    top = "".join(
        f'<th scope="col"{kind(place) if place in words else ""}>{escape(name)}</th>'
        for place, name in enumerate(head)
    )
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td{kind(place)}>{escape(cell)}</td>" for place, cell in enumerate(row[1:], start=1))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
    )


def folded(text_: str, rows: int, most: int) -> str:
    """A table, folded away where it is long."""
    return text_ if rows <= most else f"<details><summary>{rows} rows</summary>{text_}</details>"


def plain(value: object) -> str:
    """A value without trailing digits."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def section(name: str, title: str, *parts: str) -> str:
    """A section with a heading; empty parts are left out."""
    body = "\n".join(filter(None, parts))
    return f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(title)}</h2>\n{body}\n</section>'


def figure(name: str, title: str, said: str, shapes: str, size: tuple[int, int], caption: str) -> str:
    """An SVG picture with its title, its description in words and a caption."""
    width, height = size
    return (
        f'<figure><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{name}-title {name}-text" font-family="system-ui, sans-serif" font-size="12">'
        f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-text">{escape(said)}</desc>'
        f"{shapes}</svg><figcaption>{escape(caption)}</figcaption></figure>"
    )


def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK) -> str:
    """A line of text in a picture."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, *, colour: str, width: float = 1, dash: str = "") -> str:
    """A straight line in a picture."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{dashed}/>'


def short(words: str, most: int = _LONGEST) -> str:
    """A label that fits; the table beside the picture has the whole of it."""
    return words if len(words) <= most else f"{words[: most - 1]}…"


def calibration_picture(bins: Sequence[Row]) -> str:
    """Observed share against predicted probability with intervals, one panel per question."""
    subjects = list(dict.fromkeys(str(row["subject"]) for row in bins))
    cell = _SIDE + _LEFT + 10
    across = min(_ACROSS, len(subjects))
    height = (_SIDE + 66) * math.ceil(len(subjects) / across)
    shapes = "".join(
        _panel(
            [row for row in bins if row["subject"] == subject],
            subject,
            (place % across) * cell + _LEFT,
            (place // across) * (_SIDE + 66) + 24,
        )
        for place, subject in enumerate(subjects)
    )
    said = "; ".join(
        f"{row['subject']}: {number(row['predicted'])} predicted, {number(row['observed'])} happened"
        for row in bins
    )
    size = (max(cell * across, 3 * cell), height)
    caption = "On the dashed line predicted probability and observed share agree; bars are 95% intervals."
    return figure("card-calibration", "Predicted probability and what happened", said, shapes, size, caption)


def _panel(rows: Sequence[Row], subject: str, left: float, top: float) -> str:
    bottom = top + _SIDE

    def x(value: float) -> float:
        return left + _SIDE * value

    def y(value: float) -> float:
        return bottom - _SIDE * value

    parts = [
        f'<rect x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="{_GRID}"/>',
        line(x(0), y(0), x(1), y(1), colour=QUIET, dash="4 3"),
        text(left, top - 8, short(subject, 26)),
        text(left + _SIDE / 2, bottom + 32, "predicted", anchor="middle", colour=QUIET),
        text(left - 8, y(0.5) + 4, "seen", anchor="end", colour=QUIET),
    ]
    for at, words in ((0, "0"), (1, "1")):
        parts += [
            text(x(at), bottom + 16, words, anchor="middle", colour=QUIET),
            text(left - 8, y(at) + 4, words, anchor="end", colour=QUIET),
        ]
    for row in rows:
        middle = x(row["predicted"])
        parts += [
            line(middle, y(row["low"]), middle, y(row["high"]), colour=BLUE, width=2),
            f'<circle cx="{middle:.1f}" cy="{y(row["observed"]):.1f}" r="4" fill="{BLUE}"/>',
        ]
    return "".join(parts)


def bars_picture(name: str, title: str, rows: Sequence[tuple[str, float, str]], caption: str) -> str:
    """Horizontal bars from zero: name, length and what is written beside each."""
    most = max((value for _, value, _ in rows), default=1.0) or 1.0
    shapes = "".join(
        text(240, 26 * place + 20, short(label), anchor="end")
        + f'<rect x="250" y="{26 * place + 8}" width="{max(1.0, 300 * max(value, 0) / most):.1f}" height="15" '
        f'fill="{BLUE}"/>'
        + text(258 + max(1.0, 300 * max(value, 0) / most), 26 * place + 20, words, colour=QUIET)
        for place, (label, value, words) in enumerate(rows)
    )
    said = "; ".join(f"{label}: {words}" for label, _, words in rows)
    return figure(name, title, said, shapes, (740, 26 * len(rows) + 16), caption)
