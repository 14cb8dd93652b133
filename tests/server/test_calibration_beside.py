"""A real study's evaluation ends beside its model, where a hospital that predicts finds it."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.consortia import Consortium, asked
from tests.evaluating import evaluated
from tests.played import play
from tests.predicting import ordinary

from wardround.cli import main
from wardround.client.modelbeside import open_model


def test_a_hospital_predicts_with_the_table_that_its_study_released(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, protocol = Consortium(tmp_path), evaluated(asked(), groups=())
    coordinator = play(made, protocol)
    run = made.server / "studies" / protocol.study.name / "run"
    opened = open_model(run)
    assert opened.compared == ("results.json", "calibration.json")
    found, released = opened.calibration, coordinator.study.progress.evaluation
    assert found is not None
    assert released is not None
    assert (found.origin, found.sites) == ("study", 3)
    assert np.allclose(found.table.cells.ravel(), released.table)
    assert found.epsilon <= 3.0
    ordinary(20).to_csv(tmp_path / "new.csv", index=False)
    words = ["predict", str(run), "--table", str(tmp_path / "new.csv"), "--out", str(tmp_path / "a.json")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Model compared with: results.json, calibration.json" in said
    assert "simulation" not in said
    head = json.loads((tmp_path / "a.json").read_bytes())
    assert head["calibration"]["mechanism"] == "site-noise"
    assert len(head["patients"]) == 20
