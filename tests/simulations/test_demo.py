"""The demo: generated files, fourteen runs, one page. Its runs are finished ones here: only the frame is new."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import command, joint_run, open_run, private_run

from wardround.common.errors import UsageError
from wardround.simulations.demo import run_demo
from wardround.simulations.demo_studies import file_name
from wardround.simulations.results import Results

STUDIES = ("demo-response", "demo-survival")
LABELS = (
    "without privacy",
    *(f"{noise} noise, epsilon {epsilon}" for noise in ("joint", "site") for epsilon in (1, 3, 8)),
)
RUNS = {file_name(study, label): label for label in LABELS for study in STUDIES}


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A demo whose runs were all finished before it was interrupted."""
    kinds = {"without": open_run, "joint": joint_run, "site": private_run}
    for name, label in RUNS.items():
        folder = tmp_path / name
        shutil.copytree(kinds[label.split()[0]](), folder)
        results = Results.load(folder / "results.json")
        replace(results, study=name[: len(STUDIES[0])]).save(folder / "results.json")
    return tmp_path


def test_finished_runs_are_kept_and_one_page_names_them(finished: Path) -> None:
    before = {name: (finished / name / "results.json").stat().st_mtime_ns for name in RUNS}
    results = run_demo(finished, seed=7)
    assert [one.study for one in results] == [*STUDIES] * 7
    assert {name: (finished / name / "results.json").stat().st_mtime_ns for name in RUNS} == before
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert all(f"{name}/report.html" in page for name in RUNS)
    assert all(f">{label}</a>" in page for label in LABELS)
    assert page.count("<svg") == 1
    assert (finished / "data" / "consortium.csv.gz").exists()


def test_the_command_says_the_price_and_its_assumption_and_ends_by_naming_the_report(finished: Path) -> None:
    said = command("demo", "--out", finished)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[-1] == f"Report: {finished / 'report.html'}"
    assert [line.split(". ")[0] for line in lines[:2]] == [*STUDIES]
    assert all(line.count("with joint noise") == line.count("with site noise") == 1 for line in lines[:2])
    assert "while at least 2 of 3 hospitals are honest" in lines[2]
    assert len(lines) == 4


def test_the_command_gives_every_run_as_json(finished: Path) -> None:
    said = command("demo", "--out", finished, "--json")
    assert [one["mechanism"] for one in json.loads(said.out)[::2]] == [
        "none",
        *["joint-noise"] * 3,
        *["site-noise"] * 3,
    ]


def test_another_seed_is_another_demo(finished: Path) -> None:
    run_demo(finished, seed=7)
    with pytest.raises(UsageError, match="seed 7"):
        run_demo(finished, seed=8)


@pytest.mark.slow
def test_the_whole_demo_gains_at_small_hospitals_and_keeps_its_budget(tmp_path: Path) -> None:
    results = run_demo(tmp_path, seed=7)
    private = [one for one in results if one.mechanism != "none"]
    assert len(private) == 12
    assert [round(one.largest(), 2) for one in private[::2]] == [1.0, 3.0, 8.0] * 2
    assert all(one.training_private for one in private)
    assert all(one.value("federated", "all", one.primary) > 0.6 for one in results)
