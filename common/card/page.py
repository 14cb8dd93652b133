"""`model-card.html`: the card as a page, a view of `model-card.json` and of nothing else.

Self-contained: no script, nothing loaded, readable in the dark, on paper and at 400 pixels. Every picture has its
numbers in a table beside it.
"""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Final

from wardround.common.card import page_evidence as evidence
from wardround.common.card.card import write_card
from wardround.common.card.facts import CardFacts
from wardround.common.card.markup import bullets, folded, plain, section, table, terms
from wardround.common.durable import write_atomic
from wardround.common.page import STYLE
from wardround.common.wording import NOTHING

PAGE_NAME: Final = "model-card.html"
_TEMPLATE: Final = Path(__file__).with_name("card_template.html")

Card = Mapping[str, Any]
Row = Mapping[str, Any]


def publish(facts: CardFacts, folder: Path) -> Card:
    """Write `model-card.json` and `model-card.html` into a folder; returns the card.

    Raises:
        StorageError: The folder cannot be written.
    """
    card = write_card(facts, folder)
    write_atomic(folder / PAGE_NAME, render(card).encode())
    return card


def render(card: Card) -> str:
    """The page as text; equal cards give equal text."""
    study = card["study"]
    parts = [
        _use(card),
        _data(card["data"]),
        _privacy(card["privacy"]),
        evidence.performance(card["performance"]),
        evidence.subgroups(card["subgroups"]),
        evidence.calibration(card["calibration"]),
        evidence.explanation(card["explanation"]),
        section("limits", "Limits", bullets(card["limits"])),
        section("open", "What was not measured", bullets(card["not_measured"])),
        _checklist(card, "tripod_ai", "TRIPOD+AI, item by item"),
        _checklist(card, "annex_iv", "EU AI Act, Annex IV, heading by heading"),
        _provenance(card["provenance"]),
    ]
    tone = "private" if card["privacy"]["private"] else "warning"
    words = {
        "title": f"Model card: {study['name']}",
        "study": study["name"],
        "question": study["question"],
        "tone": tone,
        "headline": "Training is private" if tone == "private" else "Training is not private",
        "summary": _summary(card),
    }
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        {name: escape(text) for name, text in words.items()},
        style=STYLE.read_text(encoding="utf-8"),
        body="\n\n".join(parts),
    )


def _summary(card: Card) -> str:
    privacy, status = card["privacy"], card["performance"]["status"]
    worst = [row["value"] for row in privacy["epsilon"]]
    finite = bool(worst) and None not in worst
    said = f"Largest epsilon {_epsilon(max(worst))} at delta {privacy['delta']:g}. " if finite else ""
    return f"{said}Performance: {status}. This card is no approval for clinical use."


def _use(card: Card) -> str:
    study, model = card["study"], card["model"]
    outcome = study["outcome"]
    pairs = [
        ("Question", study["question"]),
        ("Purpose", study["purpose"]),
        ("Intended use", study["intended_use"]),
        ("Predicts", f"{' and '.join(outcome['columns'])} ({outcome['kind']})"),
        ("Inputs", ", ".join(f"{count} {name}" for name, count in model["modalities"].items())),
        ("Model", f"{model['kind']}, {model['parameters']} parameters"),
        ("Fairness in training", card["fairness"]["in_training"]),
    ]
    return section("use", "What it is for", terms(pairs), bullets(study["notes"]) if study["notes"] else "")


def _data(data: Card) -> str:
    rows = [
        (
            row["site"],
            str(row["reference_patients"]),
            str(row.get("patients", NOTHING)),
            str(row.get("held_out", NOTHING)),
            str(row.get("rounds_counted", NOTHING)),
        )
        for row in data["sites"]
    ]
    head = ("Hospital", "Public reference size", "Patients", "Held out", "Rounds that count it")
    left = data["left_out_sites"]
    said = f"<p>Hospitals below the minimum, which were left out: {left}.</p>" if left else ""
    return section("data", "Data, hospital by hospital", table(f"Counts: {data['counts']}", head, rows), said)


def _privacy(privacy: Card) -> str:
    names = ("mechanism", "unit", "relation", "scope", "clipping_norm", "noise_multiplier", "rounds")
    pairs = [
        (name.replace("_", " ").capitalize(), plain(privacy[name]))
        for name in names
        if privacy[name] is not None
    ]
    rows = [
        (row["site"], row["adversary"], _epsilon(row["value"]), _replaced(row)) for row in privacy["epsilon"]
    ]
    head = ("Hospital", "Against", "Epsilon", "One replaced")
    caption = f"Epsilon per patient at delta {privacy['delta']:g}"
    return section(
        "privacy", "Privacy", terms(pairs), folded(table(caption, head, rows, words=(1,)), len(rows), 40)
    )


def _replaced(row: Row) -> str:
    return NOTHING if row["replaced"] is None and row["value"] is not None else _epsilon(row["replaced"])


def _epsilon(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4f}".rstrip("0").rstrip(".")


def _checklist(card: Card, name: str, title: str) -> str:
    rows = card[name]
    stated = sum(row["status"] == "stated" for row in rows)
    lines = [
        (f"{row['number']} {row['topic']}", row["answer"] or f"{row['status'].capitalize()}.") for row in rows
    ]
    return section(
        name.replace("_", "-"),
        title,
        "<p>Filling an item is no claim of conformity.</p>",
        f"<details><summary>{stated} of {len(rows)} items are filled from facts</summary>{terms(lines)}</details>",
    )


def _provenance(found: Card) -> str:
    pairs = [
        (name.replace("_", " ").capitalize(), str(value))
        for name, value in found.items()
        if name != "notes" and value
    ]
    notes = bullets(found["notes"]) if found["notes"] else ""
    said = '<p class="quiet">The same card, for programs: model-card.json beside this page.</p>'
    return section("source", "Where this comes from", terms(pairs), notes, said)
