"""Hospitals of a simulation: splits, folds, folders, and nothing of a patient in their text."""

from pathlib import Path

import numpy as np
import pytest
from tests.studies import RUN, hospital, private_protocol

from wardround.client.policy import SitePolicy
from wardround.common.errors import PolicyRefusal, StorageError
from wardround.simulations.hospitals import (
    enter,
    exposures,
    fold_of,
    imagine,
    imagined_folder,
    refused_by,
    spends,
)


def test_folds_hold_out_every_patient_exactly_once(tmp_path: Path) -> None:
    north = hospital(tmp_path, "north", seed=1)
    parts = [fold_of(north, number, 3, seed=0) for number in range(3)]
    everyone = np.concatenate([part.test for part in parts])
    assert sorted(everyone.tolist()) == list(range(north.rows.n_patients))
    for part in parts:
        assert not set(part.train) & set(part.test)
        assert len(part.train) + len(part.test) == north.rows.n_patients


def test_folds_depend_on_the_seed_and_on_nothing_else(tmp_path: Path) -> None:
    north = hospital(tmp_path, "north", seed=1)
    assert fold_of(north, 0, 3, seed=0).test.tolist() == fold_of(north, 0, 3, seed=0).test.tolist()
    assert fold_of(north, 0, 3, seed=0).test.tolist() != fold_of(north, 0, 3, seed=1).test.tolist()


def test_training_and_held_out_rows_carry_their_own_outcomes(tmp_path: Path) -> None:
    north = hospital(tmp_path, "north", seed=1)
    np.testing.assert_array_equal(north.training().inputs, north.rows.inputs[:-6])
    np.testing.assert_array_equal(north.held_out().targets.value, north.rows.targets.value[-6:])
    np.testing.assert_array_equal(north.held_out_groups()["sex"], north.groups["sex"][-6:])
    assert north.all_held_out().held_out().n_patients == north.rows.n_patients


def test_the_text_of_a_hospital_shows_no_patient(tmp_path: Path) -> None:
    north = hospital(tmp_path, "north", seed=1)
    assert "north-0" in north.ids
    assert "north-0" not in repr(north)
    assert "array" not in repr(north)


def test_an_identity_is_made_once(tmp_path: Path) -> None:
    north = hospital(tmp_path, "north", seed=1)
    first, again = north.office(), north.office()
    assert first.key.public.fingerprint == again.key.public.fingerprint
    assert (first.policy.identity.stat().st_mode & 0o777) == 0o600


def test_a_first_policy_of_an_imagined_hospital_is_not_written_over(tmp_path: Path) -> None:
    folder = imagine(tmp_path, "north", table=Path("a.csv"), cohort="synthetic", delta=1e-5)
    text = (folder / "site.toml").read_text()
    imagine(tmp_path, "north", table=Path("a.csv"), cohort="private", delta=1e-6)
    assert (folder / "site.toml").read_text() == text


def test_a_policy_that_a_power_cut_left_empty_is_written_anew(tmp_path: Path) -> None:
    folder = imagine(tmp_path, "north", table=Path("a.csv"), cohort="synthetic", delta=1e-5)
    text = (folder / "site.toml").read_text()
    (folder / "site.toml").write_text("")
    imagine(tmp_path, "north", table=Path("a.csv"), cohort="synthetic", delta=1e-5)
    assert (folder / "site.toml").read_text() == text


@pytest.mark.parametrize("name", ['No"rth', "Orléans / Sud", "../etc", "a\\b", "x = 1\ny"])
def test_any_name_gives_a_folder_below_the_root_and_a_policy_that_reads_back(
    name: str, tmp_path: Path
) -> None:
    folder = imagine(tmp_path / "sites", name, table=Path('ta"ble.csv'), cohort="public", delta=1e-5)
    assert folder.parent == tmp_path / "sites"
    policy = SitePolicy.load(folder / "site.toml")
    assert (policy.site, policy.cohort, policy.table.name) == (name, "public", 'ta"ble.csv')


def test_names_that_look_alike_on_disk_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = {imagined_folder(tmp_path, name).name.casefold() for name in ("Sud", "sud", "Süd", "s/ud")}
    assert len(folders) == 4


def test_a_hospital_is_entered_once_at_a_time(tmp_path: Path) -> None:
    north = hospital(tmp_path, "north", seed=1)
    with enter(north), pytest.raises(StorageError, match="in use"), enter(north):
        pass


def test_what_was_charged_is_in_the_extract(tmp_path: Path) -> None:
    north, protocol = hospital(tmp_path, "north", seed=1), private_protocol()
    with enter(north) as premises:
        premises.door.reserve_anew(protocol)
        premises.door.charge(protocol, 1, 1, "0" * 64, run=RUN)
    assert exposures(north) == [protocol.event()]
    extract = spends(north)
    assert len(extract["spent"]) == 1  # type: ignore[arg-type]
    assert set(extract) == {"spent", "seq", "head"}


def test_a_refusal_names_the_site_and_keeps_its_advice() -> None:
    refusal = refused_by("north", PolicyRefusal("no", advice="ask"))
    assert (str(refusal), refusal.advice, refusal.exit_code) == ("north: no", "ask", 5)
