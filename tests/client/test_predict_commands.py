"""`wardround predict` as a hospital types it: offline, private, and never a bare label."""

import csv
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file
from tests.hospital import SUBTYPE, study
from tests.predicting import calibrated, ordinary, released

from wardround.cli import main
from wardround.client.modelbeside import open_model
from wardround.common.formats import digest
from wardround.common.learning.modelfile import read_model_file
from wardround.common.learning.parameters import parameters_digest
from wardround.common.study.reader import dumps


@pytest.fixture
def home(tmp_path: Path) -> Path:
    calibrated(tmp_path)
    ordinary(40).to_csv(tmp_path / "patients.csv", index=False)
    return tmp_path


def predict(home: Path, *more: str, out: str = "answers.csv") -> int:
    words = ["predict", str(home), "--table", str(home / "patients.csv"), "--out", str(home / out)]
    return main([*words, *more])


def test_answers_go_to_a_file_of_the_owner_alone_and_only_counts_to_the_screen(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(home) == 0
    said = capsys.readouterr()
    assert "40 patients in 40 rows: 40 answered" in said.out
    assert "no diagnosis" in said.out
    assert "conformal: holds the truth for at least 90%" in said.out
    assert "MRN-" not in said.out + said.err
    assert stat.S_IMODE((home / "answers.csv").stat().st_mode) == 0o600
    with (home / "answers.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == ordinary(40)["patient"].tolist()
    assert all(row["interval"] and row["set_coverage"] == "0.9" for row in rows)


def test_no_network_is_touched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refused)
    assert predict(home, "--explain", "--check-coverage") == 0


def read(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".json":
        patients: list[dict[str, Any]] = json.loads(file.read_bytes())["patients"]
        return patients
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def test_json_parquet_and_csv_say_the_same_and_say_what_they_are_not(home: Path) -> None:
    for out in ("answers.json", "answers.parquet", "answers.csv"):
        assert predict(home, "--explain", out=out) == 0
    as_json, as_parquet = read(home / "answers.json"), read(home / "answers.parquet")
    assert as_json == as_parquet
    flat = pd.read_csv(home / "answers.csv", dtype={"patient": str})
    assert flat["probability:yes"].tolist() == [row["probability:yes"] for row in as_json]
    assert flat["set"].fillna("").tolist() == ["; ".join(row["set"]) for row in as_json]
    first = as_json[0]["features"][0]
    assert flat["features"][0].startswith(f"{first['feature']} {first['contribution']:+.3g} (")
    head = json.loads((home / "answers.json").read_bytes())
    in_parquet = json.loads(pq.read_schema(home / "answers.parquet").metadata[b"wardround"])
    assert {name: value for name, value in head.items() if name != "patients"} == in_parquet
    assert any("no diagnosis" in text for text in head["is_not"])
    assert head["calibration"]["origin"] == "simulation"
    assert "It need not contain the predicted probability" in head["interval"]


def test_a_file_that_is_there_is_kept_unless_told_otherwise(home: Path) -> None:
    (home / "answers.csv").write_text("mine", encoding="utf-8")
    assert predict(home) == 2
    assert (home / "answers.csv").read_text(encoding="utf-8") == "mine"
    assert predict(home, "--replace") == 0
    assert stat.S_IMODE((home / "answers.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize("out", ["patients.csv", "none/answers.csv", "answers.xlsx", "link.csv", "."])
def test_the_table_a_link_and_a_strange_name_are_never_written(home: Path, out: str) -> None:
    (home / "other").write_text("x", encoding="utf-8")
    (home / "link.csv").symlink_to(home / "other")
    before = (home / "patients.csv").read_bytes()
    assert predict(home, "--replace", out=out) == 2
    assert (home / "patients.csv").read_bytes() == before
    assert (home / "other").read_text(encoding="utf-8") == "x"


def test_an_interrupted_write_leaves_no_patient_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stopped)
    assert predict(home) == 130
    left = {path.name for path in home.iterdir()}
    assert left == {"model.safetensors", "calibration.json", "patients.csv"}


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 4), ("patient,age\n", 4), ("patient,age\nMRN-1,60\n", 4), ("patient,age\nMRN-1\n", 4)],
)
def test_a_table_that_does_not_fit_leaves_no_file_and_no_name(
    home: Path, capsys: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    (home / "patients.csv").write_text(text, encoding="utf-8")
    assert predict(home) == code
    said = capsys.readouterr()
    assert "What to do" in said.err
    assert "MRN-1" not in said.out + said.err
    assert not (home / "answers.csv").exists()


def tampered(file: Path, **changed: np.ndarray) -> None:
    facts, _ = read_model_file(file)
    arrays = load_file(file) | changed
    save_file(arrays, file, metadata={"wardround": json.dumps(facts)})


def weights(file: Path) -> np.ndarray:
    return np.asarray(load_file(file)["model.output.weight"])


@pytest.mark.parametrize("what", ["one weight", "not finite", "huge", "another shape", "torn", "no protocol"])
def test_a_changed_model_is_not_used(home: Path, what: str) -> None:
    file = home / "model.safetensors"
    changed = weights(file).copy()
    if what == "torn":
        file.write_bytes(file.read_bytes()[:-8])
    elif what == "no protocol":
        save_file(
            load_file(file), file, metadata={"wardround": '{"format": "wardround-model", "version": 1}'}
        )
    else:
        changed[0, 0] = {"one weight": 0.123, "not finite": np.nan, "huge": 1e6}.get(what, 0.0)
        tampered(
            file, **{"model.output.weight": changed[:, :-1].copy() if what == "another shape" else changed}
        )
    assert predict(home) == (9 if what in ("torn", "no protocol") else 6)
    assert not (home / "answers.csv").exists()


def test_a_model_is_held_to_the_digest_and_to_the_study_that_are_given(home: Path) -> None:
    model = open_model(home).model
    (home / "study.toml").write_text(dumps(model.protocol), encoding="utf-8")
    (home / "other.toml").write_text(dumps(study(SUBTYPE)), encoding="utf-8")
    layers, file = parameters_digest(model.parameters), digest((home / "model.safetensors").read_bytes())
    for own in (layers, file, file.upper()):
        found = open_model(home, expected=own, protocol=model.protocol)
        assert found.compared == (
            "the digest that was given",
            "the study that was given",
            "calibration.json",
        )
    assert predict(home, "--digest", layers, "--study", str(home / "study.toml")) == 0
    assert predict(home, "--replace", "--digest", "0" * 64) == 6
    assert predict(home, "--replace", "--study", str(home / "other.toml")) == 6


def test_results_beside_the_model_must_be_of_the_same_model(home: Path) -> None:
    model = open_model(home).model
    own = {"protocol_digest": model.protocol.digest, "model_digest": parameters_digest(model.parameters)}
    results = home / "results.json"
    results.write_text(json.dumps(own), encoding="utf-8")
    assert "results.json" in open_model(home).compared
    for name in own:
        results.write_text(json.dumps(own | {name: "0" * 64}), encoding="utf-8")
        assert predict(home) == 6
    results.write_text("[", encoding="utf-8")
    assert predict(home) == 9


def test_a_calibration_of_another_model_is_refused_and_none_at_all_is_said(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released(home, seed=4)
    assert predict(home) == 6
    (home / "calibration.json").unlink()
    assert predict(home) == 0
    said = capsys.readouterr().out
    assert "Interval: no interval: the study released no calibration table" in said
    assert "Model compared with: NOTHING" in said


def test_coverage_at_a_shifted_hospital_is_reported_as_a_miss(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = open_model(home).model
    frame = ordinary(300, seed=8)
    p = model.predict_proba(frame)["yes"].to_numpy()
    happened = np.random.default_rng(1).random(300) < 0.5  # as where it was calibrated: at random
    frame["response"] = np.where(happened, "yes", "no")
    frame.to_csv(home / "patients.csv", index=False)
    assert predict(home, "--check-coverage") == 0
    assert "THE SETS ARE TOO SMALL" not in capsys.readouterr().out
    frame["response"] = np.where(p > 0.5, "no", "yes")  # the very opposite of what the model says
    frame.to_csv(home / "patients.csv", index=False)
    assert predict(home, "--check-coverage", "--replace", "--coverage", "0.6") == 0
    said = capsys.readouterr().out
    assert "declared 60%: below. THE SETS ARE TOO SMALL HERE" in said


def test_coverage_without_outcomes_is_refused(home: Path) -> None:
    ordinary(40).drop(columns="response").to_csv(home / "patients.csv", index=False)
    assert predict(home, "--check-coverage") == 2
    assert predict(home, "--coverage", "0.2") == 2


def test_the_hospitals_own_column_names_come_from_its_policy(home: Path) -> None:
    folder = home / "site"
    assert main(["site", "init", str(folder), "--name", "north", "--table", str(home / "patients.csv")]) == 0
    ordinary(40).rename(columns={"age": "AGE_AT_DX"}).to_csv(home / "patients.csv", index=False)
    assert predict(home) == 4
    policy = folder / "site.toml"
    policy.write_text(
        policy.read_text(encoding="utf-8")
        .replace("# age =", "age =")
        .replace("AGE_AT_DIAGNOSIS", "AGE_AT_DX"),
        encoding="utf-8",
    )
    assert predict(home, "--policy", str(policy)) == 0
