"""The demo: generated files, four runs, one page. Here its runs are finished ones, so that only the frame is new."""

import shutil
from pathlib import Path

import pytest
from tests.runs import command, open_run, private_run

from wardround.common.errors import UsageError
from wardround.simulations.demo import run_demo

RUNS = (
    "demo-response-private",
    "demo-response-unprotected",
    "demo-survival-private",
    "demo-survival-unprotected",
)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A demo whose four runs were finished before it was interrupted."""
    for name in RUNS:
        shutil.copytree(private_run() if name.endswith("private") else open_run(), tmp_path / name)
    return tmp_path


def test_finished_runs_are_kept_and_one_page_names_them(finished: Path) -> None:
    before = {name: (finished / name / "results.json").stat().st_mtime_ns for name in RUNS}
    results = run_demo(finished, seed=7)
    assert len(results) == 4
    assert {name: (finished / name / "results.json").stat().st_mtime_ns for name in RUNS} == before
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert all(f"{name}/report.html" in page for name in RUNS)
    assert (finished / "data" / "consortium.csv.gz").exists()


def test_the_command_ends_by_naming_the_report(finished: Path) -> None:
    said = command("demo", "--out", finished)
    assert said.code == 0
    assert said.out.splitlines()[-1] == f"Report: {finished / 'report.html'}"


def test_another_seed_is_another_demo(finished: Path) -> None:
    run_demo(finished, seed=7)
    with pytest.raises(UsageError, match="seed 7"):
        run_demo(finished, seed=8)


@pytest.mark.slow
def test_the_whole_demo_gains_at_small_hospitals_and_keeps_its_budget(tmp_path: Path) -> None:
    results = run_demo(tmp_path, seed=7)
    private = [one for one in results if one.mechanism == "site-noise"]
    assert len(private) == 2
    assert all(row.value <= 3.0 for one in private for row in one.epsilon)
    assert all(one.value("federated", "all", one.primary) > 0.6 for one in results)
