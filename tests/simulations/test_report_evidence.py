"""The report says for whom the model works and whether its probabilities hold, from `results.json` alone."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import open_run, survival_run

from wardround.common.study.reader import load
from wardround.common.wording import number
from wardround.simulations.report import render
from wardround.simulations.report_evidence import evidence
from wardround.simulations.results import Results

HEADINGS = (
    "Does it work for everybody?",
    "Do its probabilities mean what they say?",
    "Would acting on it help?",
)


def found(run: Path) -> Results:
    return Results.load(run / "results.json")


def page(results: Results, run: Path) -> str:
    return render(results, load(run / "study.toml"))


@pytest.mark.parametrize("run", [open_run, survival_run])
def test_every_number_of_the_new_tables_stands_in_results_json(run: object) -> None:
    folder = open_run() if run is open_run else survival_run()
    stored: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, float | int):
            stored.update((number(float(value)), number(-float(value)), str(value)))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(json.loads((folder / "results.json").read_text(encoding="utf-8")))
    shown = evidence(found(folder))
    cells = [cell for line in (*shown.overall, *shown.by_group, *shown.by_site) for cell in line.cells]
    cells += [cell for line in shown.benefits for cell in line.cells]
    cells += [
        text for line in (*shown.groups, *shown.other_metrics) for text in (line.value, line.gap.lstrip("+"))
    ]
    numbers = {each for cell in cells for each in re.findall(r"[\N{MINUS SIGN}]?\d*\.\d+", cell)}
    assert len(numbers) > 20
    assert numbers <= stored


def test_a_run_leads_from_groups_to_probabilities_to_decisions() -> None:
    text = page(found(open_run()), open_run())
    places = [text.index(heading) for heading in HEADINGS]
    assert places == sorted(places)
    assert 'id="calibration-title"' in text
    assert 'id="decisions-title"' in text


def test_survival_shows_horizons_and_the_integrated_score() -> None:
    text = page(found(survival_run()), survival_run())
    assert "48 months" in text
    assert "Integrated Brier score from 6 to 48 months" in text
    assert "integrated Brier score" in text


def test_too_few_patients_to_tell_is_said_in_words() -> None:
    results = found(open_run())
    shown = evidence(results)
    few = [line for line in (*shown.groups, *shown.other_metrics) if line.word == "too-few"]
    assert few, "the small run holds a group that is too small"
    assert all(
        (line.value, line.gap, line.verdict) == ("n/a", "", "too few patients to tell") for line in few
    )


def test_an_older_file_without_these_tables_has_a_page_without_these_headings() -> None:
    older = replace(
        found(open_run()),
        subgroups=(),
        gaps=(),
        worst_groups=(),
        calibration=(),
        calibration_bins=(),
        net_benefit=(),
    )
    text = page(older, open_run())
    assert not any(heading in text for heading in HEADINGS)


def test_the_page_can_be_read_in_the_dark() -> None:
    text = page(found(open_run()), open_run())
    assert "color-scheme: light dark" in text
    assert "prefers-color-scheme: dark" in text
