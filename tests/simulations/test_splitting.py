"""One table into hospitals' folders: nothing lost, nothing written over, every code kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wardround.client.policy import SitePolicy
from wardround.client.sitefile import FirstPolicy
from wardround.client.tables import read_table
from wardround.common.errors import StorageError, UsageError
from wardround.simulations.splitting import split_table

FIRST = FirstPolicy(site="any", table=Path("any"), cohort="synthetic", epsilon_cap=8.0)
TABLE = pd.DataFrame(
    {
        "patient": ["007", "008", "009", "010", "011", "012"],
        "tss": ["02", "NA", "02", "A/B", np.nan, "NA"],
        "age": ["60.10", "", '5"1', "70,5", "80", "90"],
    }
)


def test_every_row_with_a_site_lands_in_one_folder_unchanged(tmp_path: Path) -> None:
    folders = split_table(TABLE, "tss", tmp_path / "sites", FIRST)
    assert [(folder.site, folder.path.name) for folder in folders] == [
        ("02", "02"),
        ("A/B", "A-B"),
        ("NA", "NA"),
    ]
    parts = [read_table(folder.path / "patients.csv", verbatim=("tss",)) for folder in folders]
    again = pd.concat(parts).sort_values("patient")
    kept = TABLE[TABLE["tss"].notna()]
    assert again["patient"].tolist() == kept["patient"].tolist()
    assert again["tss"].tolist() == kept["tss"].tolist()
    assert again["age"].fillna("").tolist() == kept["age"].tolist()


def test_every_folder_holds_a_policy_and_an_identity_of_its_own(tmp_path: Path) -> None:
    folders = split_table(TABLE, "tss", tmp_path, FIRST)
    policies = [SitePolicy.load(folder.path / "site.toml") for folder in folders]
    assert [policy.site for policy in policies] == ["02", "A/B", "NA"]
    assert [policy.table for policy in policies] == [folder.path / "patients.csv" for folder in folders]
    assert {(policy.cohort, policy.epsilon_cap) for policy in policies} == {("synthetic", 8.0)}
    assert len({policy.identity.read_bytes() for policy in policies}) == 3


def test_patients_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    folder = split_table(TABLE, "tss", tmp_path, FIRST)[0].path
    assert (folder / "patients.csv").stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_exists_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "NA").mkdir()
    with pytest.raises(StorageError, match="1 site folders exist already"):
        split_table(TABLE, "tss", tmp_path, FIRST)
    assert [path.name for path in tmp_path.iterdir()] == ["NA"]
    assert not list((tmp_path / "NA").iterdir())


def test_fewer_than_two_sites_and_unknown_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names 1 sites"):
        split_table(TABLE.assign(tss="x"), "tss", tmp_path, FIRST)
    with pytest.raises(UsageError, match="no column 'hospital'"):
        split_table(TABLE, "hospital", tmp_path, FIRST)


def test_a_name_that_no_party_can_have_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="printable"):
        split_table(TABLE.assign(tss=["a", "b\x07", "a", "a", "a", "a"]), "tss", tmp_path / "sites", FIRST)
    assert not (tmp_path / "sites").exists()
