"""The Python API as a researcher uses it, from a table to predictions for new patients."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.runs import (
    GENES,
    TAKING_PART,
    command,
    open_run,
    private_run,
    private_study,
    study,
    survival_run,
    table,
    write,
)

import wardround
from wardround.common.errors import CohortError, PolicyRefusal, StorageError, UsageError
from wardround.common.learning.metrics import auc
from wardround.simulations.results import Results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> "wardround.Run":
    folder = tmp_path_factory.mktemp("api")
    study_path, patients = write(folder, study(), table())
    return wardround.simulate(
        study_path, table=patients, site_column="hospital", cohort="synthetic", out=folder / "run"
    )


def test_simulate_gives_what_the_command_gives(run: "wardround.Run") -> None:
    assert run.results == Results.load(open_run() / "results.json")
    assert run.protocol.study.name == "small"
    assert run.report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_load_reads_a_run_back(run: "wardround.Run") -> None:
    again = wardround.load(str(run.folder))
    assert again.results == run.results
    assert again.protocol == run.protocol
    for name, array in run.model.parameters.items():
        np.testing.assert_array_equal(again.model.parameters[name], array)


def test_tables_are_pandas_tables_with_one_row_per_fact(run: "wardround.Run") -> None:
    assert list(run.gains.columns) == [
        "site",
        "metric",
        "federated",
        "local",
        "difference",
        "low",
        "high",
        "probability_better",
    ]
    assert set(run.gains["site"]) == {*TAKING_PART}
    assert set(run.evaluation["model"]) == {"federated", "pooled", *(f"local:{site}" for site in TAKING_PART)}
    assert np.isinf(run.epsilon["value"]).all()
    assert run.curves["round"].max() == 3
    np.testing.assert_allclose(run.gains["federated"] - run.gains["local"], run.gains["difference"])


def test_tables_of_groups_and_probabilities_are_those_of_the_results(run: "wardround.Run") -> None:
    frames = run.results.frames()
    for name in ("subgroups", "gaps", "worst_groups", "calibration", "calibration_bins", "net_benefit"):
        found = getattr(run, name)
        assert found.equals(frames[name])
        assert set(found["model"]) <= {"federated"}, name
    assert set(run.gaps["group"]) == {"f", "m"}
    for found in (run.calibration, run.calibration_bins, run.net_benefit):
        assert "all" in set(found["on"])


def test_a_raw_table_is_predicted_patient_by_patient(run: "wardround.Run") -> None:
    raw = table({"new": 30}, seed=77)
    made = run.model.predict_proba(raw)
    assert list(made.index) == list(raw["patient"].unique())
    assert list(made.columns) == ["no", "yes"]
    np.testing.assert_allclose(made.sum(axis=1), 1)
    answer = raw.drop_duplicates("patient").set_index("patient")["response"]
    assert auc(np.asarray(answer == "yes", np.float64), made["yes"].to_numpy()) > 0.8


def test_neither_order_nor_company_of_patients_changes_a_prediction(run: "wardround.Run") -> None:
    raw = table({"new": 30}, seed=77)
    whole = run.model.predict_proba(raw)["yes"]
    shuffled = run.model.predict_proba(raw.sample(frac=1, random_state=1))["yes"]
    np.testing.assert_allclose(shuffled.loc[whole.index], whole, atol=1e-6)
    one = run.model.predict_proba(raw[raw["patient"] == whole.index[3]])["yes"]
    assert one.iloc[0] == pytest.approx(whole.iloc[3], abs=1e-6)


def test_an_absent_assay_and_an_unknown_category_are_missing_values(run: "wardround.Run") -> None:
    raw = table({"new": 30}, seed=77).drop_duplicates("patient")
    without_genes = run.model.predict_proba(raw.drop(columns=list(GENES)))
    emptied = run.model.predict_proba(raw.assign(**dict.fromkeys(GENES, "")))
    pd.testing.assert_frame_equal(without_genes, emptied)
    odd = run.model.predict_proba(raw.assign(sex="unheard-of"))
    pd.testing.assert_frame_equal(odd, run.model.predict_proba(raw.assign(sex="")))


def test_an_absent_column_is_named_because_it_may_be_a_misspelled_one(run: "wardround.Run") -> None:
    raw = table({"new": 30}, seed=77)
    with pytest.raises(CohortError, match="absent: sex"):
        run.model.predict_proba(raw.rename(columns={"sex": "Sex"}))


def test_without_identifiers_every_row_is_a_patient(run: "wardround.Run") -> None:
    raw = table({"new": 30}, seed=77)
    made = run.model.predict_proba(raw.drop(columns="patient"))
    assert list(made.index) == [str(row) for row in range(len(raw))]


def test_survival_gives_a_risk_and_nothing_else() -> None:
    found = wardround.load(survival_run())
    raw = table({"new": 40}, seed=77)
    risk = found.model.predict_risk(raw)
    months = raw.drop_duplicates("patient").set_index("patient")["months"].astype(float)
    assert risk.corr(months, method="spearman") < -0.2
    for method in (found.model.predict_proba, found.model.predict):
        with pytest.raises(UsageError, match="needs a"):
            method(raw)


def test_a_private_run_loads_with_its_epsilon() -> None:
    found = wardround.load(private_run())
    assert (found.epsilon["value"] < 3).all()
    assert found.results.delta == 1e-5


@pytest.mark.parametrize(
    ("wishes", "why"),
    [
        ({}, "either a table"),
        ({"table": "a.csv", "sites": "sites"}, "either a table"),
        ({"table": "a.csv"}, "site_column"),
    ],
)
def test_unclear_wishes_are_refused(wishes: dict[str, str], why: str, tmp_path: Path) -> None:
    study_path, _ = write(tmp_path, study(), table())
    with pytest.raises(UsageError, match=why):
        wardround.simulate(study_path, out=tmp_path / "run", **wishes)  # type: ignore[arg-type]


def test_patients_are_private_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    study_path, patients = write(tmp_path, study(), table())
    with pytest.raises(PolicyRefusal):
        wardround.simulate(study_path, table=patients, site_column="hospital", out=tmp_path / "run")


def test_hospitals_with_folders_of_their_own_can_be_simulated(tmp_path: Path) -> None:
    study_path, patients = write(tmp_path, private_study(rounds=1), table())
    words = ("--table", patients, "--site-column", "hospital", "--out", tmp_path / "sites")
    assert command("study", "split", *words).code == 0
    found = wardround.simulate(study_path, sites=tmp_path / "sites", out=tmp_path / "run")
    assert list(found.epsilon["site"]) == [*TAKING_PART]
    assert not found.results.imagined_sites


def test_load_refuses_what_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no finished run"):
        wardround.load(tmp_path)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(StorageError):
        wardround.load(tmp_path)


def test_importing_wardround_imports_no_library() -> None:
    code = (
        "import sys, wardround; sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="rounds"):
        _ = wardround.rounds
    assert set(wardround.__all__) == {"Run", "load", "simulate"}
