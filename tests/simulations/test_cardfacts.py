"""The card of a run: every number stands in the results, the protocol or the model, and the page shows the card."""

import html
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from tests.runs import command, joint_run, open_run, survival_run

import wardround
from wardround.common.card.page import render
from wardround.common.formats import digest
from wardround.common.study.reader import load
from wardround.common.wording import number, signed
from wardround.simulations.privacy_words import stated

RUNS: tuple[Callable[[], Path], ...] = (open_run, survival_run, joint_run)
MADE_HERE = ("format", "version", "model", "explanation", "tripod_ai", "annex_iv")
"""Versions, sizes of the model, and text; the explanation is computed from the model alone."""


def numbers(value: object) -> Iterator[float]:
    """Every number below a JSON value."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield float(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)


@pytest.mark.parametrize("run", RUNS)
def test_every_number_of_a_card_stands_in_the_results_or_in_the_protocol(run: Callable[[], Path]) -> None:
    folder = run()
    card = json.loads((folder / "model-card.json").read_text(encoding="utf-8"))
    stored = set(numbers(json.loads((folder / "results.json").read_text(encoding="utf-8"))))
    protocol = load(folder / "study.toml")
    stored |= set(numbers(getattr(protocol.outcome, "cut_points", ())))
    terms = (protocol.privacy, protocol.cohort)
    stored |= {
        float(value)
        for each in terms
        for name in each.__slots__
        if isinstance(value := getattr(each, name), int | float)
    }
    shown = {number for name, part in card.items() if name not in MADE_HERE for number in numbers(part)}
    assert len(shown) > 20
    assert shown <= stored


CELL = re.compile(r"<td[^>]*>(.*?)</td>", re.DOTALL)
DECIMAL = re.compile(r"[\N{MINUS SIGN}+]?\d*\.\d+(?:e-\d+)?%?")


def written(values: Iterable[float]) -> set[str]:
    """How pages write numbers, with a sign or without."""
    found: set[str] = set()
    for value in values:
        both = (value, -value)
        found |= {form(each) for each in both for form in (number, signed, stated)}
        found |= {f"{value:.1%}", f"{value:.2g}", f"{value:g}", str(value)}
    return found


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["report.html", "model-card.html"])
def test_every_number_in_a_table_of_a_page_stands_in_its_source(run: Callable[[], Path], name: str) -> None:
    source = "results.json" if name == "report.html" else "model-card.json"
    stored = written(numbers(json.loads((run() / source).read_text(encoding="utf-8"))))
    cells = CELL.findall((run() / name).read_text(encoding="utf-8"))
    shown = {each for cell in cells for each in DECIMAL.findall(html.unescape(cell))}
    assert len(shown) > 30
    assert shown <= stored


@pytest.mark.parametrize("run", RUNS)
def test_the_page_is_a_view_of_the_card(run: Callable[[], Path]) -> None:
    folder = run()
    card = json.loads((folder / "model-card.json").read_text(encoding="utf-8"))
    assert (folder / "model-card.html").read_text(encoding="utf-8") == render(card)


def test_a_card_names_the_results_and_the_model_it_was_written_from() -> None:
    run = wardround.load(open_run())
    assert run.card["provenance"]["results_digest"] == digest((run.folder / "results.json").read_bytes())
    assert run.card["model"]["digest"] == run.card["model"]["digest"].lower()
    assert run.card["model"]["parameters"] == sum(array.size for array in run.model.parameters.values())


def test_report_writes_the_same_card_again(tmp_path: Path) -> None:
    shutil.copytree(survival_run(), tmp_path / "run")
    before = (tmp_path / "run" / "model-card.json").read_bytes()
    (tmp_path / "run" / "model-card.json").unlink()
    said = command("report", tmp_path / "run")
    assert said.code == 0, said.err
    assert "model-card.html" in said.out
    assert (tmp_path / "run" / "model-card.json").read_bytes() == before
