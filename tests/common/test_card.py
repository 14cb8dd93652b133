"""A model card says what was found and what was not, and never a number that its sources do not hold."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import study

from wardround.common.card.card import SECTIONS, model_card, read_card, write_card
from wardround.common.card.checklists import items
from wardround.common.card.facts import CardFacts, Measured, ModelFacts, SiteFacts
from wardround.common.card.page import render
from wardround.common.card.statements import EXACT, NOT_MEASURED, PRIVATE, TEAM
from wardround.common.errors import StorageError
from wardround.common.wording import TOO_FEW

ROW = {"model": "federated", "on": "all", "metric": "auc", "value": 0.8125, "low": 0.71, "high": 0.91}
GROUP = {"model": "federated", "column": "sex", "metric": "auc", "low": None, "high": None, "patients": 4}


def facts(**changes: object) -> CardFacts:
    """A deployment that measured nothing."""
    return replace(
        CardFacts(
            protocol=study(),
            setting="deployment",
            sites=(SiteFacts(site="north", reference_patients=200, counted=3, epsilon={"all": math.inf}),),
            private=False,
            rounds=3,
            void=0,
            model=ModelFacts(parameters=7, inputs=6, digest="ab" * 32),
            sources={"protocol_digest": "cd" * 32, "code_version": "0", "code_digest": "ef" * 32},
        ),
        **changes,  # type: ignore[arg-type]
    )


def simulated(**rows: object) -> CardFacts:
    return facts(
        setting="simulation",
        measured=Measured(**{"evaluation": (ROW,), "primary": "auc", **rows}),  # type: ignore[arg-type]
    )


def status(card: dict[str, object], number: str, name: str = "tripod_ai") -> str:
    rows = card[name]
    assert isinstance(rows, list)
    return str(next(row["status"] for row in rows if row["number"] == number))


def test_every_item_of_both_checklists_is_there_once_and_in_order() -> None:
    numbers = [item["number"] for item in items("tripod_ai")]
    assert len(numbers) == len(set(numbers)) == 52
    assert sorted({int(re.sub(r"\D", "", number)) for number in numbers}) == list(range(1, 28))
    annex = [item["number"] for item in items("annex_iv")]
    assert len(annex) == len(set(annex)) == 23
    assert [number for number in annex if number.isdigit()] == ["3", "4", "5", "6", "7", "8", "9"]


def test_where_nothing_was_measured_the_card_says_so_everywhere() -> None:
    card = model_card(facts())
    for section in ("performance", "subgroups", "calibration", "explanation"):
        assert card[section]["status"] == NOT_MEASURED
    assert status(card, "23a") == status(card, "23b") == NOT_MEASURED
    assert status(card, "2(g)", "annex_iv") == NOT_MEASURED
    assert "performance on patients kept out of training" in card["not_measured"]
    assert "patients" not in card["data"]["sites"][0]
    assert "Not measured." in render(card)


def test_what_only_people_know_is_left_to_them() -> None:
    for card in (model_card(facts()), model_card(simulated())):
        assert {status(card, number) for number in ("3a", "5b", "17", "18a", "18b", "19", "25")} == {TEAM}
        assert {status(card, number, "annex_iv") for number in ("5", "7", "8", "9")} == {TEAM}


def test_what_was_measured_is_stated_with_its_interval() -> None:
    card = model_card(simulated())
    assert card["performance"]["status"] == EXACT
    assert card["performance"]["evaluation"] == [ROW]
    assert status(card, "23a") == "stated"
    assert "performance on patients kept out of training" not in card["not_measured"]
    assert ".81 [.71" in render(card)


PRIVATE_ROW = {
    "subject": "response",
    "column": "",
    "group": "",
    "measure": "auc",
    "value": 0.7025,
    "private_low": 0.65,
    "private_high": 0.76,
    "low": 0.61,
    "high": 0.79,
}
WITHHELD = {**PRIVATE_ROW, "column": "sex", "group": "f", "value": None}
JUDGED = {
    "measure": "auc",
    "subject": "response",
    "direction": "at-least",
    "threshold": 0.6,
    "verdict": "met",
}


def test_a_private_evaluation_is_shown_as_what_it_is_and_a_withheld_cell_as_withheld() -> None:
    rows = [PRIVATE_ROW, WITHHELD, {**PRIVATE_ROW, "measure": "calibration_slope"}]
    table = {"cells": [123.5, 7.25], "sha256": "ab" * 32}
    card = model_card(facts(released={"judgement": JUDGED, "rows": rows, "table": table}))
    assert {card[name]["status"] for name in ("performance", "subgroups", "calibration")} == {PRIVATE}
    assert card["subgroups"]["too_few"] == ["sex: f"]
    assert card["performance"]["released"]["table"] == {"sha256": "ab" * 32}
    page = render(card)
    assert "AUC (response) at least 0.6: met" in page
    assert ".70" in page
    assert "withheld" in page
    assert status(card, "23a") == "stated"


def test_a_simulated_study_shows_its_private_evaluation_beside_the_exact_one() -> None:
    card = model_card(replace(simulated(), released={"judgement": JUDGED, "rows": [PRIVATE_ROW]}))
    assert card["performance"]["status"] == EXACT
    assert card["performance"]["released"]["rows"] == [PRIVATE_ROW]
    assert "Released with noise" in render(card)


def test_too_few_patients_to_tell_is_an_answer_of_its_own() -> None:
    groups = ({**GROUP, "group": "f", "value": None}, {**GROUP, "group": "m", "value": 0.7, "patients": 90})
    card = model_card(simulated(subgroups=groups))
    assert card["subgroups"]["too_few"] == ["sex: f"]
    assert f"performance for sex: f: {TOO_FEW}" in card["not_measured"]
    assert TOO_FEW in render(card)


def test_an_infinite_epsilon_is_null_in_the_file_and_a_word_on_the_page(tmp_path: Path) -> None:
    card = write_card(facts(), tmp_path)
    assert card["privacy"]["epsilon"][0]["value"] is None
    assert read_card(tmp_path / "model-card.json") == card
    assert "Training is not private" in render(card)
    assert "infinite" in render(card)


def test_names_from_a_table_are_escaped() -> None:
    site = SiteFacts(site="<script>x</script>", reference_patients=1, epsilon={})
    page = render(model_card(facts(sites=(site,))))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def broken(folder: Path) -> Iterator[Path]:
    card = write_card(facts(), folder)
    for number, text in enumerate(
        (
            "no json",
            "[]",
            json.dumps({**card, "format": "other"}),
            json.dumps({**card, "version": 99}),
            json.dumps({name: value for name, value in card.items() if name != "privacy"}),
        )
    ):
        path = folder / f"{number}.json"
        path.write_text(text, encoding="utf-8")
        yield path
    yield folder / "absent.json"


def test_a_file_that_is_no_card_is_refused_by_name(tmp_path: Path) -> None:
    for path in broken(tmp_path):
        with pytest.raises(StorageError, match=path.name):
            read_card(path)


def test_a_card_has_every_section_and_nothing_that_json_lacks() -> None:
    card = model_card(simulated())
    assert list(card) == ["format", "version", *SECTIONS]
    json.dumps(card, allow_nan=False)
