"""A run whose study evaluates privately: its results, and the section of the report that may leave hospitals."""

import json
import re
from pathlib import Path

import pytest
from tests.evaluating import evaluated
from tests.runs import private_study, simulate, table, write

from wardround.common.study.reader import load
from wardround.common.wording import number
from wardround.simulations.report import render
from wardround.simulations.report_private import private_section
from wardround.simulations.results import Results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    protocol = evaluated(private_study(local_steps=1), noise_multiplier=0.05, threshold=0.05)
    study, patients = write(root, protocol, table({"north": 90, "south": 80}))
    said = simulate(study, patients, root / "out")
    assert said.code == 0, said.err
    return root / "out"


def test_results_hold_what_the_evaluation_says_and_what_it_cost(run: Path) -> None:
    results = Results.load(run / "results.json")
    assert Results.from_json(results.to_json(), where="memory") == results
    (auc,) = (row for row in results.private_evaluation if (row.measure, row.group) == ("auc", ""))
    exact = results.value("federated", "all", "auc")
    # In 120 such runs -.010, standard deviation .016, at most .045: where in their bins 50 patients lie is not known.
    assert abs(auc.value - exact) < 0.1
    assert auc.private_low <= auc.value <= auc.private_high
    assert auc.low <= auc.private_low
    assert {row.group for row in results.private_evaluation} == {"", "f", "m"}
    assert [row.place for row in results.private_bins] == [*range(8)]
    assert 0.5 in {row.above for row in results.private_bins}
    assert [one.verdict for one in results.judgements] == ["met"]
    assert [row.site for row in results.held_out_epsilon] == ["north", "south"]
    assert min(row.value for row in results.held_out_epsilon) > 10  # little noise, as asked
    assert results.largest() < 10  # and none of it is charged to those who train
    assert len(results.frames()["private_evaluation"]) == len(results.private_evaluation)


def test_the_section_leads_with_the_declared_measure_and_shows_only_numbers_of_the_results(run: Path) -> None:
    results = Results.load(run / "results.json")
    shown = private_section(results)
    assert shown.declared == "AUC (response: yes) at least .05"
    assert shown.verdict.startswith("Met")
    assert shown.lines[0].measure == "AUC"
    assert shown.lines[0].exact == number(results.value("federated", "all", "auc"))
    stored: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, float | int):
            stored.update((number(float(value)), number(-float(value))))
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(item)

    walk(json.loads((run / "results.json").read_text(encoding="utf-8")))
    cells = [
        text
        for line in (*shown.lines, *shown.others)
        for text in (line.value, line.private, line.total, line.exact)
    ]
    numbers = {each for cell in cells for each in re.findall(r"[\N{MINUS SIGN}]?\d*\.\d+", cell)}
    assert len(numbers) > 10
    assert numbers <= stored


def test_the_page_says_what_leaves_and_what_does_not(run: Path) -> None:
    text = render(Results.load(run / "results.json"), load(run / "study.toml"))
    assert "What may leave the hospitals about how good it is" in text
    assert "would never leave a hospital" in text
    assert text.index("What may leave") < text.index("Does it work for everybody?")
