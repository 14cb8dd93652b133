"""Who takes part in a rehearsal, and what its folders take over from real ones: never keys or a ledger."""

from pathlib import Path

import numpy as np
import pytest
from tests.consortia import Consortium as Real
from tests.consortia import asked
from tests.hospital import hospital, only
from tests.runs import command, private_study, table, weighted, write

from wardround.client.approving import approve
from wardround.client.heldout import SPLIT_KEY
from wardround.client.policy import SitePolicy
from wardround.common.errors import UsageError
from wardround.common.trust.identity import SigningKey
from wardround.simulations.hospitals import Consortium
from wardround.simulations.recruitment import from_folders, from_table
from wardround.simulations.rehearsalsites import among, furnish, largest

NAMES = ("north", "south", "west")


def real(root: Path) -> tuple[Real, Consortium]:
    """Three real hospitals of different sizes, one of which spent something."""
    sizes = dict(zip(NAMES, (60, 90, 40), strict=True))
    made = Real(root, names=NAMES, tables={name: only(hospital(n)) for name, n in sizes.items()})  # type: ignore[arg-type]
    approve(made.site("south"), made.bundle(asked()))
    return made, from_folders(asked(), root, root)


def test_the_largest_take_part_in_the_order_of_their_names(tmp_path: Path) -> None:
    _, consortium = real(tmp_path)
    assert [one.name for one in largest(consortium, 2)] == ["north", "south"]
    assert [one.name for one in largest(consortium, 0)] == list(NAMES)
    for wrong in (1, 4):
        with pytest.raises(UsageError, match=f"expected --hospitals from 2 to 3, found {wrong}"):
            largest(consortium, wrong)


def test_a_copy_takes_over_limits_table_and_split_and_has_keys_and_a_ledger_of_its_own(
    tmp_path: Path,
) -> None:
    made, consortium = real(tmp_path)
    made.edit("south", "# age = ", 'age = "age" # ')
    before = {path: path.read_bytes() for path in made.site("south").rglob("*") if path.is_file()}
    sites = furnish(asked(), consortium, consortium.hospitals, tmp_path / "run", site_column="", seed=0)
    copy, own = sites[1].folder, made.site("south")
    theirs, ours = SitePolicy.load(copy / "site.toml"), SitePolicy.load(own / "site.toml")
    for name in ("site", "epsilon_cap", "delta", "smallest_cohort", "mechanisms", "columns", "table", "pool"):
        assert getattr(theirs, name) == getattr(ours, name), name
    assert (copy / SPLIT_KEY).read_bytes() == (own / SPLIT_KEY).read_bytes()
    assert SigningKey.load(theirs.identity).public != SigningKey.load(ours.identity).public
    assert tmp_path / "run" in theirs.ledger.parents
    assert tmp_path / "run" in theirs.head.parents
    assert not theirs.ledger.exists()
    assert {path: path.read_bytes() for path in before} == before


def test_hospitals_of_one_table_get_their_own_rows_only(tmp_path: Path) -> None:
    study, patients = write(tmp_path, private_study(), table())
    protocol = private_study()
    consortium = from_table(
        protocol,
        study.parent,
        patients,
        site_column="hospital",
        out=tmp_path / "x",
        cohort="synthetic",
        seed=3,
    )
    sites = furnish(
        protocol, consortium, largest(consortium, 2), tmp_path / "run", site_column="hospital", seed=3
    )
    frame = table()
    for site in sites:
        lines = (site.folder / "patients.csv").read_text(encoding="utf-8").splitlines()
        assert len(lines) - 1 == int(np.sum(frame["hospital"] == site.name))
        assert (site.folder / "patients.csv").stat().st_mode & 0o77 == 0


def test_a_study_that_lists_hospitals_is_rehearsed_with_those_that_take_part(tmp_path: Path) -> None:
    _, consortium = real(tmp_path)
    protocol = weighted(asked(quorum=3), {"north": 1.0, "south": 2.0, "west": 4.0})
    fewer = among(protocol, largest(consortium, 2))
    assert [site.name for site in fewer.federation.sites] == ["north", "south"]
    assert fewer.federation.quorum == 2
    assert fewer.privacy == protocol.privacy
    assert among(asked(), consortium.hospitals) == asked()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    study, patients = write(tmp_path, private_study(), table())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").write_text("keep me", encoding="utf-8")
    words = ["rehearse", study, "--table", patients, "--site-column", "hospital", "--out", tmp_path / "run"]
    said = command(*words)
    assert said.code == 2
    assert "is not empty" in said.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["letter.txt"]
