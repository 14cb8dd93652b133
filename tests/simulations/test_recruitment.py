"""From tables to hospitals: who takes part, under which identifiers, and in which part of the split."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.runs import SIZES, TAKING_PART, command, private_study, study, table, write

from wardround.common.errors import CohortError, PolicyRefusal, UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.hospitals import Consortium
from wardround.simulations.recruitment import from_folders, from_table


def imagined(
    folder: Path, frame: pd.DataFrame, protocol: StudyProtocol | None = None, *, seed: int = 0
) -> Consortium:
    chosen = protocol or study()
    _, patients = write(folder, chosen, frame)
    return from_table(
        chosen, folder, patients, site_column="hospital", out=folder / "run", cohort="synthetic", seed=seed
    )


def folders(folder: Path, frame: pd.DataFrame, cohort: str = "synthetic") -> Path:
    _, patients = write(folder, study(), frame)
    words = ("--table", patients, "--site-column", "hospital", "--out", folder / "sites", "--cohort", cohort)
    assert command("study", "split", *words).code == 0
    return folder / "sites"


def test_each_value_of_the_column_is_a_hospital_and_small_ones_are_counted(tmp_path: Path) -> None:
    found = imagined(tmp_path, table())
    assert [hospital.name for hospital in found.hospitals] == [*TAKING_PART]
    assert [hospital.rows.n_patients for hospital in found.hospitals] == [SIZES[name] for name in TAKING_PART]
    assert found.left_out == 1


def test_samples_of_one_patient_are_one_patient(tmp_path: Path) -> None:
    north = imagined(tmp_path, table()).hospitals[0]
    assert len(north.rows.inputs) > north.rows.n_patients == 60
    samples = np.bincount(north.rows.patient)
    assert samples.max() == 2
    ids = table().query("hospital == 'north'")["patient"].value_counts()
    assert [int(ids[patient]) for patient in north.ids] == samples.tolist()


def test_leading_zeros_tell_patients_apart(tmp_path: Path) -> None:
    frame = table()
    first, second = sorted(set(frame.loc[frame["hospital"] == "north", "patient"]))[:2]
    frame = frame.replace({"patient": {first: "007", second: "7"}})
    north = imagined(tmp_path, frame).hospitals[0]
    assert {"007", "7"} <= set(north.ids)
    assert north.rows.n_patients == 60


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    found = imagined(tmp_path, table())
    assert not (tmp_path / "run").exists()
    found.move_in()
    assert all((hospital.folder / "site.toml").exists() for hospital in found.hospitals)


def test_the_digest_names_the_table_and_the_column(tmp_path: Path) -> None:
    first, again = imagined(tmp_path / "a", table()), imagined(tmp_path / "b", table())
    assert first.data_digest == again.data_digest
    frame = table()
    frame.loc[0, "age"] = "61.125"
    assert imagined(tmp_path / "c", frame).data_digest != first.data_digest


def test_another_patient_moves_nobody_between_training_and_test(tmp_path: Path) -> None:
    frame = table()
    gone = frame.loc[frame["hospital"] == "north", "patient"].iloc[0]
    before = imagined(tmp_path / "a", frame).hospitals[0]
    after = imagined(tmp_path / "b", frame[frame["patient"] != gone]).hospitals[0]
    held_out = {before.ids[place] for place in before.test}
    assert {after.ids[place] for place in after.test} == held_out - {gone}


def test_another_seed_holds_out_other_patients(tmp_path: Path) -> None:
    first, second = (imagined(tmp_path / str(seed), table(), seed=seed).hospitals[0] for seed in (0, 1))
    assert first.test.tolist() != second.test.tolist()


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, patients = write(tmp_path, study(), table())
    with pytest.raises(CohortError, match="'clinic'"):
        from_table(
            study(),
            tmp_path,
            patients,
            site_column="clinic",
            out=tmp_path / "run",
            cohort="synthetic",
            seed=0,
        )


def test_private_patients_need_a_mechanism_before_their_table_is_even_read(tmp_path: Path) -> None:
    absent = tmp_path / "absent.csv"
    with pytest.raises(PolicyRefusal, match="no privacy mechanism"):
        from_table(
            study(), tmp_path, absent, site_column="hospital", out=tmp_path / "run", cohort="private", seed=0
        )


def test_folders_give_the_same_patients_as_the_table_they_came_from(tmp_path: Path) -> None:
    together = imagined(tmp_path, table())
    apart = from_folders(study(), tmp_path, folders(tmp_path, table()))
    for one, other in zip(together.hospitals, apart.hospitals, strict=True):
        assert (one.name, one.ids) == (other.name, other.ids)
        np.testing.assert_array_equal(one.rows.inputs, other.rows.inputs)
        np.testing.assert_array_equal(one.rows.targets.value, other.rows.targets.value)
    assert apart.left_out == 1
    assert apart.imagined is None


def test_a_hospital_holds_out_the_same_patients_in_every_study(tmp_path: Path) -> None:
    sites = folders(tmp_path, table())
    first = from_folders(study(), tmp_path, sites).hospitals[0]
    second = from_folders(private_study(), tmp_path, sites).hospitals[0]
    assert first.test.tolist() == second.test.tolist()
    assert ((sites / "north" / "split.key").stat().st_mode & 0o777) == 0o600


def test_the_own_column_names_of_a_hospital_are_mapped_identifiers_included(tmp_path: Path) -> None:
    """`NA` is a patient's code here: it must survive although the identifier has the hospital's own name."""
    frame = table()
    first = frame.loc[frame["hospital"] == "north", "patient"].iloc[0]
    sites = folders(tmp_path, frame.replace({"patient": {first: "NA"}}))
    own = pd.read_csv(sites / "north" / "patients.csv", dtype=str, keep_default_na=False)
    own.rename(columns={"patient": "mrn", "age": "AGE"}).to_csv(sites / "north" / "patients.csv", index=False)
    policy = sites / "north" / "site.toml"
    policy.write_text(policy.read_text() + 'patient = "mrn"\nage = "AGE"\n')
    north = from_folders(study(), tmp_path, sites).hospitals[0]
    assert north.rows.n_patients == 60
    assert "NA" in north.ids


def test_a_folder_with_a_wrong_unit_stops_the_study_and_a_small_one_does_not(tmp_path: Path) -> None:
    frame = table()
    sites = folders(tmp_path, frame)
    assert [h.name for h in from_folders(study(), tmp_path, sites).hospitals] == [*TAKING_PART]
    path = sites / "tiny" / "patients.csv"
    own = pd.read_csv(path, dtype=str)
    own.assign(age=[f"{float(cell) * 365.25:.1f}" for cell in own["age"]]).to_csv(path, index=False)
    with pytest.raises(CohortError, match="tiny"):
        from_folders(study(), tmp_path, sites)


def test_a_policy_that_refuses_is_named_with_its_site(tmp_path: Path) -> None:
    sites = folders(tmp_path, table(), cohort="private")
    with pytest.raises(PolicyRefusal, match="north: study small asks for mechanism 'none'"):
        from_folders(study(), tmp_path, sites)


def test_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    sites = folders(tmp_path, table())
    policy = sites / "south" / "site.toml"
    policy.write_text(policy.read_text().replace('site = "south"', 'site = "north"'))
    with pytest.raises(UsageError, match="same name"):
        from_folders(study(), tmp_path, sites)


def test_no_folder_at_all_is_refused_with_the_commands_that_make_some(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        from_folders(study(), tmp_path, tmp_path)
    assert "wardround site init" in refusal.value.advice


def test_warnings_reach_the_report_without_patients(tmp_path: Path) -> None:
    frame = table()
    frame["sex"] = "f"
    notes = imagined(tmp_path, frame).notes
    assert any("sex" in note for note in notes)
    assert not any(patient in json.dumps(notes) for patient in frame["patient"])


def test_hospitals_may_be_grouped_by_a_public_column(tmp_path: Path) -> None:
    frame = table()
    frame["hospital"] = frame["hospital"].map({"north": "A", "tiny": "A", "south": "B", "west": "B"})
    found = imagined(tmp_path, frame, replace(study(), cohort=replace(study().cohort, minimum_patients=60)))
    assert [(h.name, h.rows.n_patients) for h in found.hospitals] == [("A", 67), ("B", 94)]
