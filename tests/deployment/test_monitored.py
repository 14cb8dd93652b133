"""A released model evaluated again over real processes: from the draft to the comparison."""

import json
from pathlib import Path

import pytest
from tests.runs import command
from tests.simulations.test_evaluate_command import SIZES, newcomers, released

from wardround.simulations.evaluate_command import DRIFTED


@pytest.mark.slow
def test_a_drafted_study_runs_between_processes_and_says_what_drifted(tmp_path: Path) -> None:
    draft, out = tmp_path / "draft", tmp_path / "run"
    said = command("evaluate", released(), "--draft", draft, "--name", "watch")
    assert said.code == 0, said.err
    source = ("--table", newcomers(tmp_path, shuffled="yes"), "--site-column", "hospital")
    kind = ("--cohort", "synthetic", "--hospitals", len(SIZES))
    said = command("rehearse", draft / "study.toml", *source, *kind, "--out", out)
    assert said.code == 0, said.err
    run = out / "coordinator" / "studies" / "watch" / "run"
    claim = json.loads((run / "results.json").read_text())["evaluation"]["drift"]
    assert claim["primary"]["verdict"] == "drifted"
    assert not (run / "model-card.json").exists()
    compared = command("evaluate", released(), "--compare", run, "--json")
    assert compared.code == DRIFTED
    assert json.loads(compared.out) == claim
