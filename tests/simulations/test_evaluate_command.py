"""`wardround evaluate`: what a researcher types, what comes back, and what is refused before anything is charged."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.evaluating import evaluated
from tests.runs import SURVIVAL, Said, command, new_folder, private_study, simulate, table, write

from wardround.common.study.reader import load
from wardround.simulations.evaluate_command import DRIFTED
from wardround.simulations.hospitals import imagined_folder
from wardround.simulations.monitoring import Budget

SIZES = {"north": 400, "south": 350, "west": 300}
QUIET = {"noise_multiplier": 0.05, "groups": (), "attempts": 1}


@cache
def released(outcome: str = "response") -> Path:
    """A finished run with an evaluation under little noise; its ledgers grow with each evaluation."""
    folder = new_folder()
    study = private_study(SURVIVAL) if outcome == "survival" else private_study()
    said = simulate(*write(folder, evaluated(study, **QUIET), table(SIZES)), folder / "run")
    assert said.code == 0, said.err
    return folder / "run"


def newcomers(folder: Path, *, seed: int = 11, shuffled: str = "no") -> Path:
    """Patients whom the run has never seen; shuffled, their outcome has nothing to do with them."""
    frame = table(SIZES, seed=seed)
    frame["patient"] = "n" + frame["patient"]
    if shuffled == "yes":
        rng = np.random.default_rng(3)
        said = frame.drop_duplicates("patient").set_index("patient")["response"]
        frame["response"] = frame["patient"].map(dict(zip(said.index, rng.permutation(said), strict=True)))
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "new.csv", index=False)
    return folder / "new.csv"


def evaluate(patients: Path, out: Path, *more: object, run: Path | None = None) -> Said:
    source = ("--table", patients, "--site-column", "hospital", "--out", out)
    return command("evaluate", run or released(), *source, *more)


@pytest.mark.usefixtures("quick_disk")
def test_new_patients_like_the_old_ones_show_no_drift_and_what_it_cost(tmp_path: Path) -> None:
    more = ("--patients", "seen in 2027", "--smallest-change", "0.2")
    said = evaluate(newcomers(tmp_path), tmp_path / "again", *more)
    assert said.code == 0, said.err
    assert "Performance, by AUC as declared: no drift seen" in said.out
    assert "would have been noticed in 4 of 5 cases" in said.out
    assert "no cap, at delta 1e-05" in said.out
    found = json.loads((tmp_path / "again" / "results.json").read_text())
    assert [Budget(**one).site for one in found["budget"]] == ["north", "south", "west"]
    assert all(0 < one["before"] < one["after"] < one["cap"] for one in found["budget"])
    assert found["evaluation"]["table"]["hospitals"] == ["north", "south", "west"]
    assert load(tmp_path / "again" / "study.toml").federation.rounds == 0
    exact = found["exact"]
    assert exact["private"] is False
    assert exact["auc"]["after"] == pytest.approx(found["evaluation"]["drift"]["primary"]["after"], abs=0.05)
    assert "seen in 2027" in (tmp_path / "again" / "report.md").read_text()


@pytest.mark.usefixtures("quick_disk")
def test_a_model_that_tells_new_patients_apart_no_more_has_drifted_and_the_exit_code_says_so(
    tmp_path: Path,
) -> None:
    said = evaluate(newcomers(tmp_path, shuffled="yes"), tmp_path / "again", "--json")
    assert said.code == DRIFTED, said.err
    found = json.loads(said.out)["evaluation"]["drift"]
    assert found["primary"]["verdict"] == "drifted"
    assert found["primary"]["high"] < 0
    said = evaluate(newcomers(tmp_path), tmp_path / "third", run=tmp_path / "again")
    assert (said.code, "give the run of study small" in said.err) == (2, True)
    compared = command("evaluate", released(), "--compare", tmp_path / "again", "--json")
    assert compared.code == DRIFTED
    assert json.loads(compared.out)["primary"] == found["primary"]


@pytest.mark.usefixtures("quick_disk")
def test_survival_is_compared_by_its_c_index(tmp_path: Path) -> None:
    said = evaluate(newcomers(tmp_path), tmp_path / "again", "--json", run=released("survival"))
    assert said.code in (0, DRIFTED), said.err
    found = json.loads(said.out)["evaluation"]["drift"]
    assert found["primary"]["measure"] == "c_index"
    assert abs(found["primary"]["difference"]) < 0.15
    assert [one["measure"] for one in found["changes"]] == ["integrated_brier"]


@pytest.mark.usefixtures("quick_disk")
def test_patients_who_trained_are_not_counted_again(tmp_path: Path) -> None:
    """The table of the run itself: of everybody in it only those who were held out then are counted."""
    old = released().parent / "patients.csv"
    said = evaluate(old, tmp_path / "again", "--json")
    found = json.loads(said.out)
    counted = sum(found["evaluation"]["table"]["cells"])
    patients = pd.read_csv(old, dtype=str).groupby("hospital")["patient"].nunique().sum()
    assert 0.25 * patients < counted < 0.36 * patients
    assert found["exact"]["auc"]["before"] == pytest.approx(found["exact"]["auc"]["after"])


@pytest.mark.usefixtures("quick_disk")
def test_a_hospital_whose_cap_is_reached_refuses_and_nobody_pays(tmp_path: Path) -> None:
    folder = new_folder()
    said = simulate(*write(folder, evaluated(private_study(), epsilon=1.0), table(SIZES)), folder / "run")
    assert said.code == 0, said.err
    policy = imagined_folder(folder / "run" / "sites", "south") / "site.toml"
    policy.write_text(policy.read_text() + "epsilon_cap_held_out = 1.1\n")
    policy.write_text(policy.read_text().replace('cohort = "synthetic"', 'cohort = "private"'))
    said = evaluate(newcomers(tmp_path), tmp_path / "again", run=folder / "run")
    assert said.code == 5
    assert "south" in said.err
    assert "held-out patients of this pool to epsilon" in said.err
    assert "1.1 and 0.99" in said.err or "1.1 and 1 is in use" in said.err
    assert not (tmp_path / "again" / "results.json").exists()


def test_a_finished_evaluation_is_not_overwritten_and_a_missing_out_is_said(tmp_path: Path) -> None:
    patients = newcomers(tmp_path)
    said = command("evaluate", released(), "--table", patients, "--site-column", "hospital")
    assert (said.code, "--out" in said.err) == (2, True)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "results.json").write_text("{}")
    assert evaluate(patients, tmp_path / "again").code == 2


def test_hospitals_are_those_of_the_run(tmp_path: Path) -> None:
    said = command("evaluate", released(), "--sites", tmp_path, "--out", tmp_path / "again")
    assert said.code == 2
    assert "imagined its hospitals" in said.err
    assert not (tmp_path / "again").exists()


@pytest.mark.usefixtures("quick_disk")
def test_a_draft_can_be_read_and_names_what_it_is_about(tmp_path: Path) -> None:
    said = command(
        "evaluate", released(), "--draft", tmp_path / "draft", "--name", "watch", "--epsilon", "0.5"
    )
    assert said.code == 0, said.err
    drafted, first = load(tmp_path / "draft" / "study.toml"), load(released() / "study.toml")
    assert (drafted.study.name, drafted.monitoring.protocol) == ("watch", first.digest)  # type: ignore[union-attr]
    assert drafted.evaluation.epsilon == 0.5  # type: ignore[union-attr]
    assert drafted.features == first.features
    assert (tmp_path / "draft" / "monitored" / "model.safetensors").exists()
    assert command("evaluate", released(), "--draft", tmp_path / "draft").code == 2
    said = command("evaluate", released(), "--draft", tmp_path / "draft" / "study.toml")
    assert (said.code, "is no empty folder" in said.err) == (2, True)


def test_a_run_that_trained_its_own_model_is_not_compared() -> None:
    said = command("evaluate", released(), "--compare", released())
    assert (said.code, "evaluated no released one again" in said.err) == (2, True)


def test_a_run_that_released_no_table_is_refused_with_the_reason(tmp_path: Path) -> None:
    folder = new_folder()
    said = simulate(*write(folder, private_study(rounds=1), table()), folder / "run")
    assert said.code == 0, said.err
    said = evaluate(newcomers(tmp_path), tmp_path / "again", run=folder / "run")
    assert said.code == 3
    assert "without an [evaluation]" in said.err


@pytest.mark.usefixtures("quick_disk")
def test_hospitals_with_folders_of_their_own_pay_from_their_own_ledgers(tmp_path: Path) -> None:
    table(SIZES).to_csv(tmp_path / "all.csv", index=False)
    source = ("--table", tmp_path / "all.csv", "--site-column", "hospital", "--out", tmp_path / "sites")
    assert command("study", "split", *source, "--epsilon-cap", "30").code == 0
    asked, _ = write(tmp_path / "asked", evaluated(private_study(), epsilon=1.0, groups=()), table(SIZES))
    said = command("simulate", asked, "--sites", tmp_path / "sites", "--out", tmp_path / "run")
    assert said.code == 0, said.err
    fresh = pd.read_csv(newcomers(tmp_path), dtype=str, keep_default_na=False)
    for site in SIZES:
        fresh[fresh["hospital"] == site].to_csv(tmp_path / "sites" / site / "patients.csv", index=False)
    wrong = evaluate(tmp_path / "new.csv", tmp_path / "again", run=tmp_path / "run")
    assert (wrong.code, "read real ones" in wrong.err) == (2, True)
    out = tmp_path / "again"
    said = command("evaluate", tmp_path / "run", "--sites", tmp_path / "sites", "--out", out, "--json")
    assert said.code in (0, DRIFTED), said.err
    budget = {one["site"]: one for one in json.loads(said.out)["budget"]}
    for site in SIZES:
        assert budget[site]["before"] == pytest.approx(1.0, abs=1e-3)
        assert budget[site]["after"] == pytest.approx(1.465, abs=2e-3)
        spent = json.loads(command("site", "ledger", tmp_path / "sites" / site, "--json").out)
        assert spent["held_out"]["tolerated"]["spent"] == pytest.approx(budget[site]["after"])
    judged = command("audit", "bundle", out, "--sites", tmp_path / "sites", "--out", tmp_path / "bundle")
    assert judged.code == 0, judged.err
    assert command("audit", "verify", tmp_path / "bundle").code == 0
