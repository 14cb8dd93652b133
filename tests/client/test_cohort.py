"""Cohorts: aligned patients, one order, one split for ever."""

import hashlib
import hmac
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.hospital import AGE, GENES, RESPONSE, SMOKER, SUBTYPE, SURVIVAL, gives_away, hospital, only, study

from wardround.client.cohort import (
    build_cohort,
    cohorts_by_site,
    folds,
    split,
    targets_of,
    verbatim_columns,
)
from wardround.common.errors import CohortError
from wardround.common.learning.features import FeaturePath
from wardround.common.study.outcomes import BinaryOutcome, ContinuousOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import ROW_IS_PATIENT


def path_of(protocol: StudyProtocol) -> FeaturePath:
    return FeaturePath.from_protocol(protocol, None)


def test_patients_are_aligned_with_inputs_targets_and_groups() -> None:
    protocol = study(features=(AGE, SMOKER), subgroups=("sex",), minimum_patients=3)
    frame = pd.DataFrame(
        {
            "patient": ["p3", "p1", "p2", "p1"],
            "age": ["72", "48", "60", "84"],
            "smoker": ["1", "0", "", "1.0"],
            "sex": ["male", "female", None, "female"],
            "response": ["yes", "no", "yes", "no"],
        },
        dtype=object,
    )
    cohort = build_cohort(protocol, frame, site="north", path=path_of(protocol))
    assert cohort.patients == ("p1", "p2", "p3")
    assert cohort.rows.patient.tolist() == [0, 0, 1, 2]
    assert cohort.rows.inputs.tolist() == [[-1, 0], [2, 1], [0, 0], [1, 1]]  # (age - 60) / 12; missing is 0
    assert cohort.rows.targets.value.tolist() == [0, 1, 1]
    assert cohort.groups["sex"].tolist()[0] == "female"
    assert pd.isna(cohort.groups["sex"][1])
    assert cohort.groups["sex"].tolist()[2] == "male"


def test_the_inputs_are_those_of_the_feature_path_on_the_raw_table() -> None:
    protocol = study()
    frame = only(hospital()).sort_values("patient", ignore_index=True)
    path = path_of(protocol)
    cohort = build_cohort(protocol, frame, site="north", path=path)
    assert np.array_equal(cohort.rows.inputs, path.transform(frame))


def test_the_order_of_rows_in_the_table_does_not_matter() -> None:
    protocol = study(SUBTYPE)
    frame = only(hospital(), SUBTYPE)
    one = build_cohort(protocol, frame, site="n", path=path_of(protocol))
    other = build_cohort(protocol, frame.sample(frac=1, random_state=7), site="n", path=path_of(protocol))
    assert one.patients == other.patients
    assert np.array_equal(one.rows.inputs, other.rows.inputs)
    assert np.array_equal(one.rows.targets.value, other.rows.targets.value)


def test_survival_targets_are_times_in_the_declared_unit_and_events() -> None:
    protocol = study(SURVIVAL, features=(AGE,), minimum_patients=2)
    frame = pd.DataFrame(
        {
            "patient": ["b", "a", "c", "d"],
            "age": "60",
            "months": ["200.5", "3", None, "0"],
            "status": ["alive", "dead", "dead", "dead"],
        },
        dtype=object,
    )
    cohort = build_cohort(protocol, frame, site="n", path=path_of(protocol))
    assert cohort.patients == ("a", "b")
    assert cohort.rows.targets.value.tolist() == [3.0, 200.5]
    assert cohort.rows.targets.event is not None
    assert cohort.rows.targets.event.tolist() == [True, False]


def test_a_continuous_target_is_clamped_and_standardised_by_public_constants() -> None:
    weight = ContinuousOutcome(column="w", unit="kg", low=30, high=250, mean=75, sd=15, source="s")
    targets = targets_of(weight, np.array([75.0, 90.0, 1000.0]), np.zeros(3))
    assert targets.value.tolist() == [0.0, 1.0, (250 - 75) / 15]


def test_a_score_above_a_public_number_is_yes_and_a_word_is_no_answer() -> None:
    score = BinaryOutcome(column="score", positive=(">0.4",), negative=("<=0.4",), source="literature")
    protocol = study(score, minimum_patients=2)
    cells = ["0.5", "0.40", "0.1", "4e-1", "0.41", "", "high"]
    frame = only(hospital(7)).drop(columns="response").assign(score=cells).sort_values("patient")
    cohort = build_cohort(protocol, frame, site="north", path=path_of(protocol))
    expected = [float(cell) > 0.4 for cell in frame["score"] if cell not in ("", "high")]
    assert cohort.rows.targets.value.tolist() == expected


def test_a_patient_without_the_assay_keeps_it_missing_and_not_zero() -> None:
    raw = replace(GENES[0], low=-20, mean=4.0, sd=2.0)
    protocol = study(features=(AGE, raw), optional_modalities=("expression",))
    frame = only(hospital())
    frame.loc[:9, "gene0"] = None
    frame.loc[10, "gene0"] = "0"
    path = path_of(protocol)
    cohort = build_cohort(protocol, frame, site="n", path=path)
    order = {patient: place for place, patient in enumerate(cohort.patients)}
    gene, present = path.names.index("gene0"), path.names.index("present:expression")
    absent = cohort.rows.inputs[order[frame["patient"][0]]]
    zero = cohort.rows.inputs[order[frame["patient"][10]]]
    assert (absent[gene], absent[present]) == (0.0, 0.0)
    assert (zero[gene], zero[present]) == (-2.0, 1.0)


def test_a_table_that_does_not_fit_is_refused_with_every_finding_and_no_patient() -> None:
    frame = only(hospital())
    frame.loc[0, "age"] = "212.125"
    frame.loc[1, "stage"] = "stage unheard of"
    protocol = study()
    with pytest.raises(CohortError, match="the table of north") as caught:
        build_cohort(protocol, frame, site="north", path=path_of(protocol))
    text = caught.value.diagnostics()
    assert "[outside-range] age" in text
    assert "[unknown-category] stage" in text
    assert gives_away(text, frame) == []


def test_a_table_without_any_outcome_is_refused_even_where_one_class_is_allowed() -> None:
    protocol = study(minimum_patients=1, minimum_per_class=0)
    frame = only(hospital()).assign(response=None)
    with pytest.raises(CohortError):
        build_cohort(protocol, frame, site="north", path=path_of(protocol))


def test_without_identifiers_every_row_is_another_patient() -> None:
    protocol = study()
    public = replace(protocol, cohort=replace(protocol.cohort, patient_column=ROW_IS_PATIENT))
    frame = only(hospital(40)).drop(columns="patient")
    cohort = build_cohort(public, frame, site="north", path=path_of(public))
    assert cohort.patients == tuple(f"{number:09d}" for number in range(40))
    np.testing.assert_array_equal(cohort.rows.inputs, path_of(public).transform(frame))


def test_a_cohort_shows_its_name_and_no_patient() -> None:
    frame = only(hospital())
    protocol = study(subgroups=("sex",))
    cohort = build_cohort(protocol, frame, site="north", path=path_of(protocol))
    assert repr(cohort) == "Cohort(site='north')"


def test_sites_of_one_table_equal_sites_of_their_own_tables() -> None:
    frame = hospital(100).assign(site=["north"] * 60 + ["south"] * 40).sample(frac=1, random_state=1)
    protocol = study(SURVIVAL, subgroups=("stage",))
    together = cohorts_by_site(protocol, frame, "site", path=path_of(protocol))
    for cohort in together.cohorts:
        own = frame[frame["site"] == cohort.site]
        alone = build_cohort(protocol, own, site=cohort.site, path=path_of(protocol))
        assert cohort.patients == alone.patients
        assert np.array_equal(cohort.rows.inputs, alone.rows.inputs)
        assert np.array_equal(cohort.rows.targets.value, alone.rows.targets.value)
        assert cohort.groups.equals(alone.groups)


def test_the_split_is_a_keyed_hash_of_the_identifier_alone() -> None:
    ids = [f"p{number}" for number in range(2000)]
    train, test = split(ids, 0.25, b"key")
    assert sorted([*train, *test]) == list(range(2000))
    assert abs(len(test) / 2000 - 0.25) < 0.03
    again, held_out = split(ids[::-1][:500], 0.25, b"key")
    assert {ids[::-1][place] for place in held_out} == {ids[place] for place in test if place >= 1500}
    assert {ids[::-1][place] for place in again} == {ids[place] for place in train if place >= 1500}
    assert set(split(ids, 0.25, b"other")[1].tolist()) != set(test.tolist())


def test_the_split_of_a_patient_never_changes_between_releases() -> None:
    ids = ["007", "MRN-1", "Ä"]
    expected = [
        int.from_bytes(hmac.digest(b"k", b"split\0" + patient.encode(), hashlib.sha256)[:8], "big") / 2**64
        < 0.5
        for patient in ids
    ]
    assert [place in split(ids, 0.5, b"k")[1] for place in range(3)] == expected
    assert folds(ids, 5, b"k").tolist() == [3, 2, 4]


def test_a_smaller_test_fraction_holds_out_a_subset() -> None:
    ids = [f"p{number}" for number in range(300)]
    assert set(split(ids, 0.1, b"k")[1]) < set(split(ids, 0.3, b"k")[1])
    assert len(split(ids, 0.0, b"k")[1]) == 0


def test_folds_are_even_and_independent_of_the_split() -> None:
    ids = [f"p{number}" for number in range(5000)]
    fold = folds(ids, 5, b"key")
    assert np.bincount(fold, minlength=5).min() > 900
    _, held_out = split(ids, 0.2, b"key")
    assert np.bincount(fold[held_out], minlength=5).min() > 150


def test_identifiers_and_hospital_codes_are_read_verbatim_under_the_site_s_own_names() -> None:
    assert verbatim_columns(study()) == ("patient",)
    assert verbatim_columns(study(), "tss", columns={"patient": "MRN"}) == ("MRN", "tss")


def test_a_wide_table_is_aligned_without_a_step_per_cell() -> None:
    genes = tuple(Feature(name=f"g{n}", kind="continuous", low=-20, high=20, source="s") for n in range(1600))
    values = np.random.default_rng(0).normal(size=(300, 1600))
    frame = pd.concat([only(hospital(300)), pd.DataFrame(values, columns=[g.name for g in genes])], axis=1)
    protocol = study(RESPONSE, features=genes)
    start = time.perf_counter()
    build_cohort(protocol, frame, site="n", path=path_of(protocol))
    assert time.perf_counter() - start < 30  # measured: 0.5 s on an idle core
