"""Each model at each hospital: every cell is what that model says of those patients, or that they are too few."""

from pathlib import Path

import numpy as np
import pytest
from tests.runs import PUBLIC, TAKING_PART, open_run, survival_run

from wardround.common.learning.metrics import auc
from wardround.common.study.outcomes import BinaryOutcome, Targets
from wardround.simulations.crosssite import MOST, cross_lines, cross_rows
from wardround.simulations.evaluation import Board
from wardround.simulations.results import Results

ASKED = BinaryOutcome(column="y", positive=("1",), negative=("0",), source=PUBLIC)


def results(run: Path) -> Results:
    return Results.load(run / "results.json")


def board(sizes: dict[str, int]) -> Board:
    """Every hospital's own model tells its own patients apart, and turns those of all others round."""
    truth = {site: Targets(value=np.resize([0.0, 1.0], n)) for site, n in sizes.items()}
    made = {site: 0.25 + 0.5 * targets.value for site, targets in truth.items()}
    found = Board(outcome=ASKED, truth=truth, groups={})
    for site in truth:
        found.add(f"local:{site}", site, made[site])
        found.cross[f"local:{site}"] = {other: 1 - made[other] for other in truth if other != site}
    return found


def test_a_cell_is_about_the_model_of_its_row_and_the_patients_of_its_column() -> None:
    rows = cross_rows(board({"a": 40, "b": 30, "c": 24}), np.random.default_rng(0))
    assert {(row.model, row.on): row.value for row in rows} == {
        (f"local:{one}", two): float(one == two) for one in "abc" for two in "abc"
    }
    assert {row.on: row.patients for row in rows} == {"a": 40, "b": 30, "c": 24}
    assert {row.metric for row in rows} == {"auc"}


def test_a_hospital_with_too_few_patients_judges_no_model() -> None:
    rows = cross_rows(board({"a": 40, "b": 18}), np.random.default_rng(0))
    assert {row.on for row in rows if np.isnan(row.value)} == {"b"}
    assert all(np.isnan([row.low, row.high]).all() for row in rows if row.on == "b")


def test_one_hospital_and_very_many_make_no_table() -> None:
    assert cross_rows(board({"a": 40}), np.random.default_rng(0)) == ()
    many = {f"site{number}": 4 for number in range(MOST + 1)}
    assert cross_rows(board(many), np.random.default_rng(0)) == ()


def test_a_run_holds_every_hospitals_own_model_at_every_other() -> None:
    found = results(open_run())
    cells = {(row.model, row.on): row for row in found.cross_site}
    own = {(f"local:{one}", two) for one in TAKING_PART for two in TAKING_PART}
    assert own | {("federated", site) for site in TAKING_PART} <= cells.keys()
    for site in TAKING_PART:
        for model in ("federated", f"local:{site}"):
            cell = cells[model, site]
            assert np.isnan(cell.value) or cell.value == found.value(model, site, "auc")
    assert not any(
        row.model.startswith("local:") and row.model != f"local:{row.on}" for row in found.evaluation
    )


def test_survival_without_each_hospital_in_turn_is_in_the_table_by_c_index() -> None:
    found = results(survival_run())
    cells = {(row.model, row.on): row.metric for row in found.cross_site}
    assert set(cells.values()) == {"c_index"}
    assert {(f"federated-without:{site}", site) for site in TAKING_PART} <= cells.keys()
    lines = cross_lines(found)
    assert [line.model for line in lines][:2] == ["Joint model", "All data pooled"]
    assert sum(line.model.startswith("Joint, trained without") for line in lines) == 3
    assert all(len(line.cells) == 3 for line in lines)


@pytest.mark.parametrize("run", [open_run, survival_run], ids=["response", "survival"])
def test_the_report_shows_the_table_and_that_none_of_it_leaves_a_hospital(run: object) -> None:
    page = (run() / "report.html").read_text(encoding="utf-8")  # type: ignore[operator]
    assert "Each model at each hospital" in page
    assert "none of them leaves a hospital" in page
    assert "north alone" in page


def test_the_auc_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(3)
    truth = Targets(value=(rng.random(60) < 0.4).astype(np.float64))
    made = np.clip(0.3 * truth.value + rng.random(60), 0, 1)
    found = Board(outcome=ASKED, truth={"a": truth, "b": truth}, groups={})
    found.cross["local:a"] = {"b": made}
    (row,) = cross_rows(found, np.random.default_rng(0))
    assert row.value == auc(truth.value, made)
    assert row.low < row.value < row.high
