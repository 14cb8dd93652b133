"""What a researcher types, what comes back, and what is refused before anything is written."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from tests.hospital import gives_away
from tests.runs import (
    SURVIVAL,
    TAKING_PART,
    Said,
    command,
    open_run,
    private_run,
    private_study,
    simulate,
    study,
    survival_run,
    table,
    write,
)

from wardround.simulations.results import Results


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path, study(), table())


def results_of(run: Path) -> Results:
    return Results.load(run / "results.json")


def test_a_finished_run_holds_what_a_researcher_needs() -> None:
    names = {path.name for path in open_run().iterdir()}
    assert names >= {
        "results.json",
        "report.html",
        "model.safetensors",
        "study.toml",
        "ledger.json",
        "run.json",
    }


def test_json_makes_standard_output_one_json_value(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    said = simulate(*inputs, tmp_path / "run", "--json")
    assert said.code == 0
    assert json.loads(said.out) == json.loads((tmp_path / "run" / "results.json").read_text())
    assert str(tmp_path / "run" / "report.html") in said.err


def test_without_json_every_hospital_gets_a_line_and_the_report_is_named(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    said = simulate(*inputs, tmp_path / "run")
    assert [line.split(":")[0].strip() for line in said.out.splitlines() if "alone" in line] == [*TAKING_PART]
    assert "1 site was left out" in said.out
    assert said.out.splitlines()[-1] == f"Report: {tmp_path / 'run' / 'report.html'}"


def test_results_have_the_agreed_format() -> None:
    found = json.loads((private_run() / "results.json").read_text())
    kinds = {"study": str, "mechanism": str, "training_private": bool, "evaluation_private": bool}
    kinds |= {"delta": float, "rounds": int, "version": int, "format": str}
    assert {name: type(found[name]) for name in kinds} == kinds
    assert (found["format"], found["version"]) == ("wardround-results", 1)
    assert all(set(row) == {"site", "adversary", "value"} for row in found["epsilon"])
    assert [row["site"] for row in found["epsilon"]] == [*TAKING_PART]
    keys = {"model", "on", "metric", "value", "low", "high"}
    assert all(set(row) == keys for row in found["evaluation"])
    models = {"federated", "pooled", *(f"local:{site}" for site in TAKING_PART)}
    assert {row["model"] for row in found["evaluation"]} == models
    assert {row["on"] for row in found["evaluation"]} == {*TAKING_PART, "all"}
    assert {row["metric"] for row in found["evaluation"]} == {"auc", "accuracy", "brier"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in found["evaluation"])


def test_training_is_private_and_its_evaluation_is_not() -> None:
    found = json.loads((private_run() / "results.json").read_text())
    assert (found["training_private"], found["evaluation_private"]) == (True, False)
    assert all(isinstance(row["value"], float) for row in found["epsilon"])


def test_without_privacy_epsilon_is_null() -> None:
    found = json.loads((open_run() / "results.json").read_text())
    assert found["training_private"] is False
    assert {row["value"] for row in found["epsilon"]} == {None}


def test_each_left_out_hospital_is_predicted_by_a_model_of_the_others() -> None:
    models = {row.model: row.on for row in results_of(survival_run()).evaluation if "without" in row.model}
    assert models == {f"federated-without:{site}": site for site in TAKING_PART}


def given_away(said: Said, frame: pd.DataFrame) -> list[str]:
    """Identifiers and values of patients in what was printed; names of hospitals are public."""
    return gives_away(said.out + said.err, frame.drop(columns="hospital"))


class _Addresses(HTMLParser):
    """What a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action") and not (value or "").startswith(
                ("#", "data:")
            ):
                self.found.append(f"{tag} {name}={value}")
        if tag in ("script", "iframe", "object"):
            self.found.append(tag)


def test_the_report_is_one_self_contained_page() -> None:
    text = (survival_run() / "report.html").read_text(encoding="utf-8")
    page = _Addresses()
    page.feed(text)
    assert page.found == []
    assert not re.search(r"url\((?!['\"]?(data:|#))|@import", text)
    assert all(site in text for site in TAKING_PART)


def test_report_writes_the_same_page_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(open_run(), run)
    pages = run / "report.html", run / "model-card.html"
    before = [page.read_bytes() for page in pages]
    for page in pages:
        page.unlink()
    said = command("report", run)
    assert (said.code, said.out) == (0, f"Report: {pages[0]}\nModel card: {pages[1]}\n")
    assert [page.read_bytes() for page in pages] == before


def test_report_of_an_unfinished_run_is_refused_with_advice(tmp_path: Path) -> None:
    said = command("report", tmp_path)
    assert said.code == 9
    assert "repeat the simulate command" in said.err


def test_a_finished_folder_is_refused_and_stays_as_it_is(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(open_run(), run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    said = simulate(*inputs, run)
    assert said.code == 2
    assert "finished run" in said.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_table_in_days_where_months_were_declared_is_refused_by_name(tmp_path: Path) -> None:
    frame = table()
    days = frame.assign(months=[f"{float(cell) * 30.44:.3f}" for cell in frame["months"]])
    said = simulate(*write(tmp_path, study(SURVIVAL), days), tmp_path / "run")
    assert said.code == 4
    assert "[unit] months at north" in said.err
    assert "in days" in said.err
    assert given_away(said, days) == []
    assert not (tmp_path / "run").exists()


def test_an_unknown_spelling_of_the_outcome_is_refused_without_showing_it(tmp_path: Path) -> None:
    frame = table()
    frame.loc[frame["hospital"] == "south", "response"] = "perhaps-42"
    said = simulate(*write(tmp_path, study(), frame), tmp_path / "run")
    assert said.code == 4
    assert "response" in said.err
    assert given_away(said, frame) == []


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--table", "patients.csv"], 2, "--site-column"),
        (["--table", "patients.csv", "--site-column", "clinic"], 4, "'clinic'"),
        (["--table", "absent.csv", "--site-column", "hospital"], 4, "absent.csv"),
        (["--sites", "."], 2, "site.toml"),
        (["--table", "patients.csv", "--site-column", "hospital", "--folds", "1"], 2, "2 folds"),
        (["--table", "patients.csv", "--site-column", "sex", "--leave-one-out"], 2, "at least 3 sites"),
        (["--table", "patients.csv", "--site-column", "hospital", "--seed", "-1"], 2, "seed"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(
    words: list[str], code: int, why: str, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    placed = [str(tmp_path / word) if word.endswith(".csv") or word == "." else word for word in words]
    said = command("simulate", inputs[0], *placed, "--out", tmp_path / "run", "--cohort", "synthetic")
    assert (said.code, said.out) == (code, "")
    assert why in said.err
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_no_study_is_refused(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    _, patients = inputs
    said = simulate(patients, patients, tmp_path / "run")
    assert said.code == 3
    assert given_away(said, table()) == []


def test_neither_a_table_nor_sites_is_wrong_usage(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        command("simulate", inputs[0], "--out", tmp_path / "run")
    assert end.value.code == 2


def test_a_private_cohort_without_a_mechanism_is_refused_and_leaves_nothing_behind(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    said = simulate(*inputs, tmp_path / "run", cohort="private")
    assert said.code == 5
    assert "site-noise" in said.err
    assert "--cohort public" in said.err
    assert not (tmp_path / "run").exists()


def test_a_private_study_of_private_patients_runs(tmp_path: Path) -> None:
    said = simulate(*write(tmp_path, private_study(rounds=1), table()), tmp_path / "run", cohort="private")
    assert said.code == 0, said.err


def split(folder: Path, *more: object) -> Path:
    frame = table()
    frame.to_csv(folder / "all.csv", index=False)
    words = ("--table", folder / "all.csv", "--site-column", "hospital", "--out", folder / "sites")
    assert command("study", "split", *words, *more).code == 0
    return folder / "sites"


def spent(site: Path) -> "dict[str, object]":
    said = command("site", "ledger", site, "--json")
    found: dict[str, object] = json.loads(said.out)
    return found


def test_runs_over_hospitals_of_their_own_add_up_until_the_cap_refuses_the_next(tmp_path: Path) -> None:
    sites = split(tmp_path, "--epsilon-cap", "4")
    protocol, _ = write(tmp_path, private_study(attempts=1), table())
    codes = [
        command("simulate", protocol, "--sites", sites, "--out", tmp_path / f"run{n}").code for n in (1, 2)
    ]
    assert codes == [0, 0]
    first, second = (results_of(tmp_path / f"run{n}").epsilon[0].value for n in (1, 2))
    assert (first, second) == pytest.approx((2.5018, 3.7087), abs=1e-4)
    said = command("simulate", protocol, "--sites", sites, "--out", tmp_path / "run3")
    assert said.code == 5
    assert "lifetime cap is 4" in said.err
    assert spent(sites / "north")["spent"] == second


def test_a_study_that_one_hospital_refuses_is_charged_and_reserved_nowhere(tmp_path: Path) -> None:
    sites = split(tmp_path)
    policy = sites / "west" / "site.toml"
    policy.write_text(policy.read_text().replace("epsilon_cap = 8.0", "epsilon_cap = 0.5"))
    protocol, _ = write(tmp_path, private_study(), table())
    said = command("simulate", protocol, "--sites", sites, "--out", tmp_path / "run")
    assert said.code == 5
    assert "west" in said.err
    for site in ("north", "south", "west"):
        account = spent(sites / site)
        assert (account["spent"], account["exposure"]) == (0.0, 0.0), site


def test_cross_validation_over_real_ledgers_is_refused(tmp_path: Path) -> None:
    protocol, _ = write(tmp_path, private_study(), table())
    said = command(
        "simulate", protocol, "--sites", split(tmp_path), "--out", tmp_path / "run", "--folds", "2"
    )
    assert said.code == 2
    assert "--table only" in said.err


def test_demo_says_what_it_takes() -> None:
    with pytest.raises(SystemExit) as end:
        command("demo", "--seed", "seven")
    assert end.value.code == 2


def test_frames_of_a_run_are_pandas_tables() -> None:
    frames = results_of(open_run()).frames()
    assert isinstance(frames["gains"], pd.DataFrame)
    assert list(frames["gains"]["site"].unique()) == [*TAKING_PART]
