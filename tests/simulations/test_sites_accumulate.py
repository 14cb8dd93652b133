"""One table split into hospitals' folders: whatever studies run, and wherever their reports go, one account pays."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import SIZES, SURVIVAL, TAKING_PART, command, private_study, study, table, weighted, write

from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.results import Results


@pytest.fixture
def hospitals(tmp_path: Path, quick_disk: None) -> Path:
    """Folders of private hospitals with a lifetime cap of 4."""
    return split(tmp_path, "--epsilon-cap", "4")


def split(folder: Path, *more: object) -> Path:
    table().to_csv(folder / "all.csv", index=False)
    words = ("--table", folder / "all.csv", "--site-column", "hospital", "--out", folder / "sites")
    said = command("study", "split", *words, *more)
    assert said.code == 0, said.err
    return folder / "sites"


def run(hospitals: Path, protocol: StudyProtocol, out: Path) -> int:
    written, _ = write(out.parent / f"{out.name}-study", protocol, table())
    return command("simulate", written, "--sites", hospitals, "--out", out).code


def epsilons(out: Path) -> dict[str, float]:
    return {row.site: row.value for row in Results.load(out / "results.json").epsilon}


def account(site: Path) -> float:
    found = json.loads(command("site", "ledger", site, "--json").out)
    return float(found["spent"])


def test_two_different_studies_spend_from_one_account_and_the_third_is_refused(
    hospitals: Path, tmp_path: Path
) -> None:
    first, second = private_study(attempts=1), private_study(SURVIVAL, attempts=1)
    assert run(hospitals, first, tmp_path / "one") == 0
    assert run(hospitals, second, tmp_path / "two") == 0
    for site in TAKING_PART:
        # Both studies release 3 rounds of 2 steps at noise 4: 6 steps, then 12; closed form at q = 1.
        assert epsilons(tmp_path / "one")[site] == pytest.approx(2.5018, abs=1e-4)
        assert epsilons(tmp_path / "two")[site] == pytest.approx(3.7087, abs=1e-4)
    third = replace(first, study=replace(first.study, name="third"))
    assert run(hospitals, third, tmp_path / "three") == 5
    assert account(hospitals / "north") == epsilons(tmp_path / "two")["north"]


def test_throwing_reports_away_gives_no_privacy_back(hospitals: Path, tmp_path: Path) -> None:
    assert run(hospitals, private_study(attempts=1), tmp_path / "one") == 0
    before = account(hospitals / "north")
    shutil.rmtree(tmp_path / "one")
    assert account(hospitals / "north") == before > 0
    assert run(hospitals, private_study(attempts=1), tmp_path / "one") == 0
    assert account(hospitals / "north") > before


def test_public_hospitals_run_without_privacy_and_private_ones_do_not(
    hospitals: Path, tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    public = split(tmp_path / "open", "--cohort", "public")
    assert run(public, study(), tmp_path / "shared") == 0
    assert set(epsilons(tmp_path / "shared").values()) == {float("inf")}
    assert run(hospitals, study(), tmp_path / "refused") == 5
    assert not (tmp_path / "refused").exists()


def test_folders_carry_the_names_under_which_the_protocol_lists_its_sites(
    quick_disk: None, tmp_path: Path
) -> None:
    # A spreadsheet wrote the hospital's number as 1.0; the study lists site 1, as `--table` reads it.
    numbers = dict(zip(SIZES, ("1.0", "2.0", "3.0", "4.0"), strict=True))
    frame = table()
    frame.assign(hospital=frame["hospital"].map(numbers)).to_csv(tmp_path / "all.csv", index=False)
    words = ("--table", tmp_path / "all.csv", "--site-column", "hospital", "--cohort", "public")
    assert command("study", "split", *words, "--out", tmp_path / "sites").code == 0
    listed = weighted(study(), {"1": 60, "2": 50, "3": 44})
    assert run(tmp_path / "sites", listed, tmp_path / "run") == 0
    assert set(epsilons(tmp_path / "run")) == {"1", "2", "3"}
