"""TRIPOD+AI and Annex IV of the EU AI Act, filled where the card holds the facts and open where it does not.

The items are data (`tripod_ai.toml`, `annex_iv.toml`); what fills them is in `answers`. An item without an answer keeps
its `open` word: `not measured`, or `to be stated by the study team`. Filling a heading is no claim of conformity.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from wardround.common.card.answers import ANNEX, TRIPOD, Answer
from wardround.common.card.statements import NOT_MEASURED, STATED, TEAM

_OPEN: Final = {"team": TEAM, "measured": NOT_MEASURED}


def tripod_ai(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """All 52 items, in the order of the publication.

    Args:
        card: Its other sections.
    """
    return [_filled(item, TRIPOD, card) for item in items("tripod_ai")]


def annex_iv(card: Mapping[str, Any]) -> list[dict[str, str]]:
    """All headings of Annex IV, in its order."""
    return [_filled(item, ANNEX, card) for item in items("annex_iv")]


@cache
def items(name: str) -> tuple[Mapping[str, str], ...]:
    """The items of a checklist as they stand in its file."""
    text = Path(__file__).with_name(f"{name}.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["item"])


def _filled(
    item: Mapping[str, str], answers: Mapping[str, Answer], card: Mapping[str, Any]
) -> dict[str, str]:
    said = answers[item["number"]](card) if item["number"] in answers else ""
    kept = {name: text for name, text in item.items() if name != "open"}
    return {**kept, "status": STATED if said else _OPEN[item["open"]], "answer": said}
