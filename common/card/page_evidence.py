"""The part of a card's page that shows what was measured: performance, groups, probabilities, carriers."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from wardround.common.card.markup import (
    bars_picture,
    bullets,
    calibration_picture,
    folded,
    section,
    table,
)
from wardround.common.card.statements import NOT_MEASURED
from wardround.common.wording import (
    GAPS,
    METRIC_NAMES,
    NOTHING,
    TOO_FEW,
    interval,
    measure_name,
    number,
    signed,
)

_LISTED: Final = 30
_SHOWN: Final = 15
"""Inputs in the picture; the table has all that the card has."""

Card = Mapping[str, Any]
Row = Mapping[str, Any]


def _not_measured(card: Card) -> str:
    return f"<p><strong>{escape(card['status'].capitalize())}.</strong></p>"


def performance(found: Card) -> str:
    """The released model on patients kept out of training, or that it was not measured."""
    private = _released(found["released"]) if "released" in found else ""
    if "evaluation" not in found:
        return section("performance", "Performance", _not_measured(found), private)
    rows = [row for row in found["evaluation"] if row["model"] == "federated"]
    whole = table(
        "The federated model on all held-out patients",
        ("Measure", "Value [95%]"),
        [(METRIC_NAMES[row["metric"]], _stated(row)) for row in rows if row["on"] == "all"],
    )
    primary = found["primary"]
    sites = [(row["on"], _stated(row)) for row in rows if row["on"] != "all" and row["metric"] == primary]
    gains = {row["site"]: row for row in found["gains"] if row["metric"] == primary}
    unseen = {
        other["on"]: _stated(other)
        for other in found["evaluation"]
        if other["model"] == f"federated-without:{other['on']}" and other["metric"] == primary
    }
    head = ["Hospital", "Federated model [95%]", "Minus its own model [95%]"]
    lines = [[site, value, _gain(gains.get(site))] for site, value in sites]
    if unseen:
        head.append("Trained without it [95%]")
        lines = [[*line, unseen.get(line[0], NOTHING)] for line in lines]
    by_site = table(f"{METRIC_NAMES.get(primary, '')} by hospital", head, lines)
    parts = (_not_measured(found), private, whole, folded(by_site, len(lines), 25))
    return section("performance", "Performance", *parts)


def _released(found: Card) -> str:
    """What noised tables say: the study's own verdict first."""
    judged, said = found.get("judgement"), ""
    if judged:
        said = (
            f"Declared before anything was seen: {measure_name(judged['measure'])} ({judged['subject']}) "
            f"{judged['direction'].replace('-', ' ')} {judged['threshold']:g}: {judged['verdict'].replace('-', ' ')}."
        )
    shown = private_rows([row for row in found.get("rows", ()) if not row["column"] and _is_short(row)])
    return f"<p>{escape(said)}</p>{shown}" if said else shown


def private_rows(rows: Sequence[Row]) -> str:
    """Measures from a noised table, or that they are withheld."""
    lines = [
        (
            f"{row['column']}: {row['group']}" if row["column"] else "All held-out patients",
            row["subject"],
            measure_name(row["measure"]),
            "withheld" if row["value"] is None else number(row["value"]),
            _ends(row, "private_low", "private_high"),
            _ends(row, "low", "high"),
        )
        for row in rows
    ]
    head = ("Patients", "Question", "Measure", "Estimate", "These patients [95%]", "Population [95%]")
    return table("Released with noise", head, lines, words=(1, 2)) if lines else ""


def _is_short(row: Row) -> bool:
    """Whether a measure is one of those that a person reads; curves stand in the file."""
    return not row["measure"].startswith(("observed_", "net_benefit"))


def _ends(row: Row, low: str, high: str) -> str:
    if row["value"] is None or row[low] is None or row[high] is None:
        return ""
    return interval(row[low], row[high])


def _gain(row: Row | None) -> str:
    if row is None:
        return NOTHING
    if row["low"] is None:
        return f"{signed(row['difference'])}, {TOO_FEW}"
    return f"{signed(row['difference'])} {interval(row['low'], row['high'])}"


def subgroups(found: Card) -> str:
    """Values, gaps and verdicts of the declared groups."""
    if "released" in found:
        rows = [row for row in found["released"] if _is_short(row)]
        return section("subgroups", "For whom it works", _not_measured(found), private_rows(rows))
    if "values" not in found:
        named = f"<p>Declared: {escape(', '.join(found['declared']) or 'none')}.</p>"
        return section("subgroups", "For whom it works", _not_measured(found), named)
    gaps = {(row["column"], row["group"], row["metric"]): row for row in found["gaps"]}
    rows = [_group(row, gaps.get((row["column"], row["group"], row["metric"]))) for row in found["values"]]
    head = ("Group", "Patients", "Measure", "Value [95%]", "Minus all [95%]", "Verdict")
    return section(
        "subgroups",
        "For whom it works",
        folded(table("The federated model for groups of patients", head, rows, words=(2, 5)), len(rows), 40),
        '<p class="quiet">Intervals are not corrected for looking at several groups.</p>',
    )


def _group(row: Row, gap: Row | None) -> Sequence[str]:
    told = row["value"] is not None and not math.isnan(row["value"])
    verdict = GAPS[gap["verdict"] if gap else "unsure"] if told else TOO_FEW
    return (
        f"{row['column']}: {row['group']}",
        str(row["patients"]),
        METRIC_NAMES[row["metric"]],
        _stated(row),
        _gain(gap) if told and gap else NOTHING,
        verdict,
    )


def calibration(found: Card) -> str:
    """The calibration curve as picture and table, and its measures."""
    title = "Whether its probabilities hold"
    if "released" in found:
        rows = [row for row in found["released"] if _is_short(row)]
        return section("calibration", title, _not_measured(found), private_rows(rows))
    if "measures" not in found:
        return section("calibration", title, _not_measured(found))
    rows = [
        (row["subject"], row["measure"].replace("_", " "), _stated(row))
        for row in found["measures"]
        if row["on"] == "all" and not row["group"]
    ]
    measures = table("All held-out patients", ("Question", "Measure", "Value [95%]"), rows, words=(1,))
    bins = [
        (row["subject"], str(row["patients"]), number(row["predicted"]), _stated(row, "observed"))
        for row in found["bins"]
    ]
    head = ("Question", "Patients", "Predicted", "Happened [95%]")
    shown = table("The same as a table", head, bins)
    picture = calibration_picture(found["bins"]) if found["bins"] else ""
    return section(
        "calibration",
        title,
        picture,
        f"<details><summary>The curve in numbers</summary>{shown}</details>" if bins else "",
        measures,
    )


def explanation(found: Card) -> str:
    """Shares of inputs and modalities, with what was assumed and what a test on held-out patients says."""
    title = "What carries the prediction"
    if "features" not in found:
        return section("explanation", title, _not_measured(found))
    rows = found["features"]
    told = {row["feature"]: row for row in found["significance"].get("tests", ())}
    drawn = [(row["name"], row["share"], f"{row['share']:.1%}") for row in rows[:_SHOWN]]
    picture = bars_picture(
        "card-carriers",
        "Share of the score's variance by input",
        drawn,
        "Share of the score's variance under the assumptions below.",
    )
    lines = [
        (
            row["name"],
            row["modality"],
            f"{row['share']:.1%}",
            row["direction"],
            _significance(told.get(row["name"]), found["significance"]),
        )
        for row in rows[:_LISTED]
    ]
    head = ("Input", "Modality", "Share", "Higher values", "On held-out patients")
    sums = [(row["modality"], str(row["features"]), f"{row['share']:.1%}") for row in found["modalities"]]
    return section(
        "explanation",
        title,
        picture,
        table("By input", head, lines, words=(1, 3, 4)),
        _rest(rows[_LISTED:]),
        _components(found["significance"], {row["name"] for row in rows}),
        table("By modality", ("Modality", "Inputs", "Share"), sums),
        f"<p>{escape(found['method'])}</p>",
        "<h3>Assumed</h3>",
        bullets(found["assumptions"]),
        f"<p>Significance: {escape(found['significance'].get('method', found['significance']['status']))}</p>",
    )


def _rest(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    share = sum(row["share"] for row in rows)
    return f"<p>{len(rows)} more inputs have {share:.1%} together; model-card.json lists them.</p>"


def _components(found: Card, features: set[str]) -> str:
    """What was tested under another name than a feature's: components of public loadings."""
    rows = [row for row in found.get("tests", ()) if row["feature"] not in features]
    lines = [(row["feature"], _significance(row, found)) for row in rows]
    head = ("Component", "On held-out patients")
    return table("Components of the public loadings", head, lines, words=(1,)) if lines else ""


def _significance(test: Row | None, found: Card) -> str:
    if found["status"] == NOT_MEASURED:
        return NOT_MEASURED
    if test is None:
        return "not tested"
    word = "carries" if test["significant"] else "not shown"
    return f"{word} (p {test['adjusted']:.2g}, Holm)"


def _stated(row: Row, name: str = "value") -> str:
    if row[name] is None or math.isnan(row[name]):
        return NOTHING
    low, high = (math.nan if row[end] is None else row[end] for end in ("low", "high"))
    return f"{number(row[name])} {interval(low, high)}"
