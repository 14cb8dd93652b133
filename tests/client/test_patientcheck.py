"""Patients: identifiers, duplicates, one person under two identifiers."""

import numpy as np
import pandas as pd
from tests.hospital import checked, found, hospital, only, study

from wardround.client.patientcheck import MOST_ROWS, equal_neighbours
from wardround.client.prepared import prepare


def test_identical_rows_are_duplicate_patients_and_refused() -> None:
    frame = only(hospital())
    finding = found(
        checked(study(), pd.concat([frame, frame.iloc[:3]], ignore_index=True)), "duplicate-patients"
    )
    assert finding.count == 3
    assert finding.severity == "refuse"


def test_several_samples_of_one_patient_are_allowed_when_the_outcome_agrees() -> None:
    frame = only(hospital())
    second = frame.iloc[:3].assign(gene0=["1.5", "2.5", "3.5"])
    report = checked(study(), pd.concat([frame, second], ignore_index=True))
    assert report.fits
    assert found(report, "several-rows").count == 3


def test_a_patient_with_very_many_rows_is_found_before_the_study_and_not_by_a_failing_round() -> None:
    frame = only(hospital())
    more = pd.concat([frame.iloc[:1].assign(gene0=str(1 + n / 100)) for n in range(MOST_ROWS)])
    finding = found(checked(study(), pd.concat([frame, more], ignore_index=True)), "many-rows")
    assert (finding.severity, finding.count) == ("refuse", 1)


def test_samples_of_one_patient_with_different_outcomes_are_refused() -> None:
    frame = only(hospital())
    other = {"yes": "no", "no": "yes"}
    second = frame.iloc[:3].assign(gene0="1.5", response=[other[cell] for cell in frame["response"][:3]])
    report = checked(study(), pd.concat([frame, second], ignore_index=True))
    assert found(report, "conflicting-outcome").count == 3
    assert not report.fits


def test_one_person_under_two_identifiers_is_pointed_at() -> None:
    frame = only(hospital())
    twin = frame.iloc[:2].assign(patient=["MRN-999001", "MRN-999002"])
    report = checked(study(), pd.concat([frame, twin], ignore_index=True))
    assert found(report, "same-measurements").count == 2
    assert report.fits


def test_rows_without_an_identifier_are_refused() -> None:
    frame = only(hospital())
    frame.loc[:1, "patient"] = None
    assert found(checked(study(), frame), "missing-id").count == 2


def test_lost_leading_zeros_are_suspected_from_codes_of_unequal_length() -> None:
    codes = np.random.default_rng(0).choice(np.arange(1000, 1_000_000), 60, replace=False)
    frame = only(hospital()).assign(patient=[str(code) for code in codes])
    assert found(checked(study(), frame), "leading-zeros").severity == "warn"
    kept = frame.assign(patient=[f"{code:06d}" for code in codes])
    assert "leading-zeros" not in checked(study(), kept).codes()
    counted = frame.assign(patient=[str(number) for number in range(1, 61)])
    assert "leading-zeros" not in checked(study(), counted).codes()


def test_a_patient_with_two_outcomes_takes_no_part_even_where_somebody_goes_on() -> None:
    frame = only(hospital(3)).assign(patient=["a", "a", "b"], response=["yes", "no", "no"])
    assert prepare(study(), frame).patients().usable.tolist() == [False, True]


def test_nearly_equal_measurements_are_not_the_same_measurements() -> None:
    rows = np.array([[1.0, 2.0], [1.0 + 1e-13, 2.0], [1.0, 2.0]])
    assert equal_neighbours(rows[:2]) == []
    assert equal_neighbours(rows[[0, 2]]) == [(0, 1)]
