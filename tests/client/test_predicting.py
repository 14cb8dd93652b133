"""A model over a hospital's table: the right answer for the right patient, or the reason why there is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.hospital import AGE, FEATURES, GLUCOSE, SUBTYPE, SURVIVAL, study
from tests.predicting import answered, calibrated, ordinary, predicted, released, with_optional

from wardround.common.errors import CohortError, UsageError
from wardround.common.study.outcomes import ContinuousOutcome
from wardround.common.study.terms import ROW_IS_PATIENT, ModelTerms

NUMBER = ContinuousOutcome(
    column="months", unit="months", low=0, high=300, mean=30, sd=30, source="invented for a test"
)


def samples(n: int = 40) -> pd.DataFrame:
    """Some patients with a second sample, all rows mixed."""
    frame = ordinary(n)
    again = frame.head(10).copy()
    again["age"] = [f"{float(age) + 1:.3f}" for age in again["age"]]
    return pd.concat([frame, again]).sample(frac=1, random_state=1)


@pytest.mark.parametrize("parts", [1, 3, 17])
def test_answers_are_those_of_the_model_however_the_table_is_cut(tmp_path: Path, parts: int) -> None:
    model, frame = released(tmp_path), samples()
    found = predicted(model, frame, parts=parts)
    expected = model.predict_proba(frame)
    assert found.ids == tuple(expected.index)
    assert np.allclose(found.made, expected["yes"], atol=1e-6)
    assert found.rows == 50
    assert (found.reasons, found.unlike) == ({}, {})


def test_every_answer_has_an_interval_a_set_and_a_coverage(tmp_path: Path) -> None:
    calibrated(tmp_path)
    table = answered(tmp_path, ordinary(30)).table.to_pydict()
    for low, high, p in zip(table["low:yes"], table["high:yes"], table["probability:yes"], strict=True):
        assert (low is None) == (high is None)
        assert low is None or 0 <= low < high <= 1
        assert 0 <= p <= 1
    assert set(table["interval"]) <= {"95%", _no_interval()}
    assert set(table["set_coverage"]) == {0.9}
    assert all(set(inside) <= {"yes", "no"} for inside in table["set"])


def _no_interval() -> str:
    return "no interval: too few held-out patients with such a prediction for the noise of the table"


def test_without_a_released_table_there_is_neither_interval_nor_set_and_both_say_so(tmp_path: Path) -> None:
    released(tmp_path)
    table = answered(tmp_path, ordinary(5)).table.to_pydict()
    assert set(table["interval"]) == {"no interval: the study released no calibration table"}
    assert set(table["set_says"]) == {"no set: the study released no calibration table"}
    assert table["low:yes"] == table["set"] == table["set_coverage"] == [None] * 5


def changed(column: str, value: str | float, row: int = 2) -> pd.DataFrame:
    frame = ordinary(30)
    frame[column] = frame[column].astype(object)
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("age", "130", "age: outside the study's plausible range"),
        ("age", "7300", "age (would fit if the column is in days): outside the study's plausible range"),
        (
            "glucose",
            "5.5",
            "glucose (would fit if the column is in mmol/L): outside the study's plausible range",
        ),
        ("age", "sixty", "age: cannot be read"),
        ("age", "inf", "age: cannot be read"),
        ("stage", "IV", "stage: cannot be read"),
        ("smoker", "2", "smoker: cannot be read"),
    ],
)
def test_a_patient_for_whom_the_model_was_not_made_gets_a_reason_and_no_number(
    tmp_path: Path, column: str, value: str, reason: str
) -> None:
    calibrated(tmp_path)
    rows = answered(tmp_path, changed(column, value)).table.to_pylist()
    assert rows[2]["reasons"] == [reason]
    assert rows[2]["status"] == "withheld"
    shown = {name for name, cell in rows[2].items() if cell not in (None, [], "")}
    assert shown <= {"patient", "status", "reasons", "distance", "unlike"}
    assert [row["status"] for row in rows].count("withheld") == 1
    assert rows[1]["probability:yes"] is not None


def test_a_required_value_and_a_required_modality_may_not_be_missing(tmp_path: Path) -> None:
    strict = study(features=(replace(AGE, missing="refuse"), *FEATURES[1:]))
    model = released(tmp_path, strict)
    assert predicted(model, changed("age", np.nan)).reasons == {
        2: ("age: missing, and the study requires it",)
    }
    assert predicted(model, changed("glucose", np.nan)).notes == {
        2: ("1 missing values are read as the reference mean",)
    }
    bare = ordinary(30)
    bare.loc[4, [f"gene{n}" for n in range(4)]] = np.nan
    assert predicted(model, bare).reasons == {4: ("modality expression is missing",)}


def test_an_optional_modality_may_be_missing_and_is_noted(tmp_path: Path) -> None:
    model = released(tmp_path, with_optional("expression"))
    bare = ordinary(30).drop(columns=[f"gene{n}" for n in range(4)])
    found = predicted(model, bare)
    assert found.reasons == {}
    assert set(found.notes.values()) == {("without modality expression",)}
    assert np.allclose(found.made, model.predict_proba(bare)["yes"], atol=1e-6)


def test_one_bad_sample_withholds_the_patient_wherever_it_stands(tmp_path: Path) -> None:
    frame = pd.concat([ordinary(30), changed("age", "300").iloc[[2]]])
    for parts in (1, 5):
        assert list(predicted(released(tmp_path), frame, parts=parts).reasons) == [2]


def test_a_patient_unlike_the_reference_is_flagged_and_still_answered(tmp_path: Path) -> None:
    calibrated(tmp_path)
    frame = changed("gene1", "9.0")
    frame.loc[3, [f"gene{n}" for n in range(4)]] = ["4", "4", "-4", "4"]
    rows = answered(tmp_path, frame).table.to_pylist()
    assert rows[2]["unlike"][0] == "gene1: beyond what the model can see"
    assert rows[3]["unlike"] == ["far from the public reference as a whole"]
    assert {rows[2]["status"], rows[3]["status"]} == {"unlike the reference"}
    assert rows[3]["distance"] > 2
    assert rows[3]["probability:yes"] is not None


def test_distance_is_that_from_public_constants_by_hand(tmp_path: Path) -> None:
    frame = ordinary(3)
    chosen = (AGE, GLUCOSE, *FEATURES[5:])
    z = np.array([[(float(str(frame[f.name].iloc[i])) - f.mean) / f.sd for f in chosen] for i in range(3)])
    found = predicted(released(tmp_path), frame)
    assert np.allclose(found.typical, np.sqrt((z**2).mean(axis=1)))


def days(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(age=[f"{float(age) * 365.25:.1f}" for age in frame["age"]])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda frame: frame.drop(columns="age"), "missing-column"),
        (lambda frame: frame.drop(columns="patient"), "missing-column"),
        (lambda frame: frame.drop(columns=[f"gene{n}" for n in range(4)]), "missing-modality"),
        (days, "unit"),
        (lambda frame: frame.assign(glucose=[f"{float(g) / 18.016:.2f}" for g in frame["glucose"]]), "unit"),
        (lambda frame: pd.concat([frame, frame.iloc[[3]]]), "duplicate-patients"),
        (lambda frame: frame.assign(patient=[None, *frame["patient"][1:]]), "missing-id"),
        (lambda frame: frame.assign(patient="one", age=[f"{30 + n / 10}" for n in range(70)]), "many-rows"),
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_a_table_that_cannot_be_trusted_is_refused_without_naming_a_patient(
    tmp_path: Path, change: "object", code: str, parts: int
) -> None:
    frame = change(ordinary(70))  # type: ignore[operator]
    with pytest.raises(CohortError) as caught:
        predicted(released(tmp_path), frame, parts=parts)
    said = caught.value.diagnostics()
    assert f"[{code}]" in said
    assert "MRN-" not in said


def test_outcomes_are_not_needed(tmp_path: Path) -> None:
    frame = ordinary(12)
    bare = frame.drop(columns=["response", "subtype", "months", "status"])
    assert (predicted(released(tmp_path), bare).made == predicted(released(tmp_path), frame).made).all()


def test_the_hospitals_own_names_are_mapped_and_those_of_absent_outcomes_are_ignored(tmp_path: Path) -> None:
    frame = ordinary(12).rename(columns={"age": "AGE_AT_DX"}).drop(columns="response")
    found = predicted(released(tmp_path), frame, age="AGE_AT_DX", response="RESP")
    assert (found.made == predicted(released(tmp_path), ordinary(12)).made).all()


def test_rows_without_identifiers_are_counted_through_where_the_study_says_so(tmp_path: Path) -> None:
    protocol = study()
    protocol = replace(protocol, cohort=replace(protocol.cohort, patient_column=ROW_IS_PATIENT))
    found = predicted(released(tmp_path, protocol), ordinary(10).drop(columns="patient"), parts=3)
    assert found.ids == tuple(f"{row:09d}" for row in range(10))


@pytest.mark.parametrize("model", [ModelTerms(), ModelTerms(kind="mlp", hidden=(8,))])
def test_classes_survival_and_numbers_come_with_what_they_need(tmp_path: Path, model: ModelTerms) -> None:
    frame = ordinary(20)
    calibrated(tmp_path, replace(study(SUBTYPE), model=model))
    rows = answered(tmp_path, frame).table.to_pylist()
    for row in rows:
        assert sum(row[f"probability:{name}"] for name in SUBTYPE.classes) == pytest.approx(1, abs=1e-5)
        assert set(row["set"]) <= set(SUBTYPE.classes)
    calibrated(tmp_path, replace(study(SURVIVAL), model=model), size=0.1)
    for row in answered(tmp_path, frame).table.to_pylist():
        curve = [row[f"survival:{edge} months"] for edge in (12, 24, 48, 96)]
        assert curve == sorted(curve, reverse=True)
        assert row["set_says"].startswith("no set: not offered for survival")
        assert "set" not in row
    numbers = study(NUMBER, features=FEATURES)
    calibrated(tmp_path, replace(numbers, model=model), size=0.1)
    for row in answered(tmp_path, frame).table.to_pylist():
        assert 0 <= row["low"] <= row["high"] <= 300
        assert row["set_coverage"] == 0.9


def test_the_cox_loss_gives_an_order_and_says_that_it_gives_no_probability(tmp_path: Path) -> None:
    calibrated(tmp_path, replace(study(SURVIVAL), model=ModelTerms(loss="cox")))
    assert not (tmp_path / "calibration.json").exists()
    rows = answered(tmp_path, ordinary(6)).table.to_pylist()
    assert {row["interval"] for row in rows} == {"no probability: the Cox loss gives an order of risk only"}
    assert all(name in ("patient", "status", "reasons", "unlike", "notes", "distance", "risk", "interval")
               for name in rows[0])  # fmt: skip


def test_more_patients_than_can_be_explained_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 5 patients"):
        predicted(released(tmp_path), ordinary(6), keep=5)
