"""What `docs/model-card.md` says of the card and of fairness is what the code does."""

import re
import tomllib
from pathlib import Path
from typing import Any

from wardround.common.card.card import FORMAT, SECTIONS, VERSION
from wardround.common.card.checklists import items
from wardround.common.card.statements import EXACT, NOT_MEASURED, PRIVATE, TEAM
from wardround.common.study.fairness import FairnessTerms

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "model-card.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())


def test_every_section_of_a_card_is_in_the_table_and_no_other() -> None:
    named = [
        name
        for row in re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(named) == sorted(SECTIONS)


def test_format_statuses_and_sizes_are_those_of_the_code() -> None:
    assert f'"format": "{FORMAT}"' in PAGE
    assert f'"version": {VERSION}' in PAGE
    for status in (EXACT, PRIVATE, NOT_MEASURED, TEAM):
        assert f"`{status}`" in WORDS
    assert f"the {len(items('tripod_ai'))} items of TRIPOD+AI" in WORDS
    assert f"the {len(items('annex_iv'))} headings of Annex IV" in WORDS


def test_the_fairness_example_is_accepted_and_does_what_the_page_says() -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    terms = tomllib.loads(block)
    stated: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in terms["fairness"].items()
    }
    found = FairnessTerms(**stated)
    assert found.group_column in terms["cohort"]["subgroups"]
    weights = found.patient_weights(["female", "male"])
    assert weights is not None
    assert weights.tolist() == [1.0, 0.5]
