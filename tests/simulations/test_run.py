"""A whole run as a user sees it: who trains, who is compared with whom, and what an interruption costs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.runs import (
    TAKING_PART,
    new_folder,
    open_run,
    private_run,
    private_study,
    simulate,
    study,
    survival_run,
    table,
    weighted,
    write,
)

from wardround.client.heldout import split
from wardround.client.tables import read_table
from wardround.common.errors import UsageError
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.metrics import auc
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import predict
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.baselines import pooled_rows, train_alone
from wardround.simulations.hospitals import Consortium, Hospital, fold_of, split_key
from wardround.simulations.planning import load_study, plan
from wardround.simulations.recruitment import from_table
from wardround.simulations.results import Results
from wardround.simulations.run import Plan, Step
from wardround.simulations.run import simulate as run_plan

ANSWERS = {"yes": "no", "no": "yes"}


def finished(protocol: StudyProtocol, frame: pd.DataFrame, *more: object) -> Path:
    """A new run; the folder goes with the session."""
    folder = new_folder()
    said = simulate(*write(folder, protocol, frame), folder / "run", *more)
    assert said.code == 0, said.err
    return folder / "run"


def model_of(run: Path) -> Parameters:
    return ReleasedModel.load(run / "model.safetensors").parameters


def same(first: Parameters, second: Parameters) -> bool:
    return all(np.array_equal(first[name], second[name]) for name in first)


def consortium(protocol: StudyProtocol, folder: Path) -> Consortium:
    study_path, patients = write(folder, protocol, table())
    loaded, home = load_study(study_path, seed=0)
    return from_table(
        loaded, home, patients, site_column="hospital", out=folder / "run", cohort="synthetic", seed=0
    )


def planned(protocol: StudyProtocol, folder: Path, **more: object) -> Plan:
    sites = consortium(protocol, folder)
    loaded, home = load_study(folder / "study.toml", seed=0)
    options = {"backend": "inline", "seed": 0, "folds": 0, "leave_one_out": "no", **more}
    return plan(loaded, home, sites, **options)  # type: ignore[arg-type]


def with_answers_changed(frame: pd.DataFrame, patients: set[str]) -> pd.DataFrame:
    chosen = frame["patient"].isin(patients)
    return frame.assign(response=frame["response"].where(~chosen, frame["response"].map(ANSWERS)))


def test_the_outcomes_of_held_out_patients_change_no_model() -> None:
    frame, protocol = table(), study()
    held_out: set[str] = set()
    for site in TAKING_PART:
        ids = sorted(set(frame.loc[frame["hospital"] == site, "patient"]))
        _, test = split(ids, protocol.cohort.test_fraction, split_key(0, site))
        held_out |= {ids[place] for place in test}
    assert len(held_out) > 30
    changed = finished(protocol, with_answers_changed(frame, held_out))
    assert same(model_of(changed), model_of(open_run()))
    one_more = next(patient for patient in frame["patient"] if patient not in held_out)
    assert not same(
        model_of(finished(protocol, with_answers_changed(frame, {one_more}))), model_of(open_run())
    )


def test_a_site_left_out_never_trained_its_judge() -> None:
    """Turning its answers round turns the AUC of the others' model round, exactly."""
    frame = table()
    north = set(frame.loc[frame["hospital"] == "north", "patient"])
    before, after = (
        Results.load(finished(study(), changed, "--leave-one-out") / "results.json")
        for changed in (frame, with_answers_changed(frame, north))
    )
    value = before.value("federated-without:north", "north", "auc")
    assert value > 0.6
    assert after.value("federated-without:north", "north", "auc") == pytest.approx(1 - value, abs=1e-12)


def test_full_batches_and_weights_by_size_equal_the_pooled_model(tmp_path: Path) -> None:
    protocol = study(local_steps=1, rounds=8)
    hospitals = consortium(protocol, tmp_path).hospitals
    sizes = {hospital.name: float(len(hospital.train)) for hospital in hospitals}
    federated = model_of(finished(weighted(protocol, sizes), table()))
    pooled = train_alone(protocol, pooled_rows([h.training() for h in hospitals]), site="pooled", seed=0)
    assert any(np.abs(array).max() > 0.1 for array in pooled.values())
    for name, array in pooled.items():
        np.testing.assert_allclose(federated[name], array, atol=2e-6)
    unequal = model_of(finished(weighted(protocol, {**sizes, "north": 500.0}), table()))
    assert any(np.abs(unequal[name] - array).max() > 1e-3 for name, array in pooled.items())


def by_hand(hospital: Hospital, protocol: StudyProtocol, parts: "list[Hospital]", k: int) -> float:
    """The AUC at a hospital of one model per fold, trained on the given hospitals' other folds."""
    made = np.full(hospital.rows.n_patients, np.nan)
    for number in range(k):
        folded = [fold_of(part, number, k, seed=0) for part in parts]
        rows = [part.training() for part in folded]
        site = hospital.name if len(parts) == 1 else "pooled"
        model = train_alone(protocol, rows[0] if len(parts) == 1 else pooled_rows(rows), site=site, seed=0)
        own = fold_of(hospital, number, k, seed=0)
        made[own.test] = predict(protocol, model, own.held_out())
    assert not np.isnan(made).any()
    return auc(hospital.rows.targets.value, made)


def test_every_model_is_tested_on_the_same_folds(tmp_path: Path) -> None:
    results = Results.load(finished(study(), table(), "--folds", 3) / "results.json")
    hospitals = list(consortium(study(), tmp_path).hospitals)
    protocol, _ = load_study(tmp_path / "study.toml", seed=0)
    for hospital in hospitals:
        site = hospital.name
        assert results.value(f"local:{site}", site, "auc") == pytest.approx(
            by_hand(hospital, protocol, [hospital], 3)
        )
        assert results.value("pooled", site, "auc") == pytest.approx(
            by_hand(hospital, protocol, hospitals, 3)
        )
    assert [(row.site, row.held_out) for row in results.cohorts] == [
        (hospital.name, hospital.rows.n_patients) for hospital in hospitals
    ]
    assert any("3-fold" in note for note in results.notes)


class StoppedError(Exception):
    """Raised where a person would press Ctrl-C."""


def stopping_after(round_: int) -> Step:
    def step(stage: str, done: int, total: int) -> None:
        if stage.startswith(f"round {round_} "):
            raise StoppedError

    return step


def test_an_interrupted_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    chosen, whole = planned(study(), tmp_path / "a"), planned(study(), tmp_path / "b")
    with pytest.raises(StoppedError):
        run_plan(chosen, tmp_path / "a" / "run", step=stopping_after(2))
    assert not (tmp_path / "a" / "run" / "results.json").exists()
    resumed, through = run_plan(chosen, tmp_path / "a" / "run"), run_plan(whole, tmp_path / "b" / "run")
    assert resumed.to_json() == through.to_json()  # as text: what is not measured equals itself there
    assert same(model_of(tmp_path / "a" / "run"), model_of(tmp_path / "b" / "run"))


def test_a_resumed_private_run_pays_no_round_twice(tmp_path: Path) -> None:
    chosen = planned(private_study(), tmp_path)
    with pytest.raises(StoppedError):
        run_plan(chosen, tmp_path / "run", step=stopping_after(2))
    resumed = run_plan(chosen, tmp_path / "run")
    assert resumed.epsilon == Results.load(private_run() / "results.json").epsilon


@pytest.mark.parametrize("changed", [{"seed": 9}, {"folds": 2}, {"leave_one_out": "yes"}])
def test_an_unfinished_run_is_not_resumed_with_other_wishes(
    changed: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        run_plan(planned(study(), tmp_path), tmp_path / "run", step=stopping_after(1))
    with pytest.raises(UsageError, match=f"another .*{next(iter(changed))}"):
        run_plan(planned(study(), tmp_path, **changed), tmp_path / "run")


def test_two_private_runs_of_one_configuration_draw_different_noise() -> None:
    again = finished(private_study(), table())
    assert not same(model_of(again), model_of(private_run()))


def test_two_seeded_runs_without_privacy_are_equal_bit_for_bit() -> None:
    again = finished(study(), table())
    assert (again / "model.safetensors").read_bytes() == (open_run() / "model.safetensors").read_bytes()
    first, second = (Results.load(run / "results.json") for run in (open_run(), again))
    # Somebody may edit the code while the tests run.
    assert replace(first, code_digest="") == replace(second, code_digest="")


def test_a_hospital_without_an_assay_takes_part() -> None:
    results = Results.load(open_run() / "results.json")
    assert results.value("federated", "west", "auc") > 0.6
    path = FeaturePath.from_protocol(study(), None)
    assert "present:expression" in path.names


def test_curves_follow_the_model_round_by_round() -> None:
    results = Results.load(survival_run() / "results.json")
    points = [(row.round, row.value) for row in results.curves if row.on == "all"]
    assert [number for number, _ in points] == [1, 2, 3]
    assert points[-1][1] == results.value("federated", "all", "c_index")


def test_the_model_on_disk_gives_the_numbers_of_the_report(tmp_path: Path) -> None:
    model = ReleasedModel.load(open_run() / "model.safetensors")
    frame = read_table(open_run().parent / "patients.csv", verbatim=["patient", "hospital"])
    north = consortium(study(), tmp_path).hospitals[0]
    chosen = [north.ids[place] for place in north.test]
    made = model.predict_proba(frame[frame["hospital"] == "north"])["yes"].loc[chosen].to_numpy()
    expected = Results.load(open_run() / "results.json").value("federated", "north", "auc")
    assert auc(north.held_out().targets.value, made) == pytest.approx(expected)
