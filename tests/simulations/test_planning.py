"""From what a person typed to a plan: what cannot be meant is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import joint_study, private_study, study, table, write

from wardround.common.errors import ProtocolError, UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.writer import dumps
from wardround.simulations.hospitals import Consortium
from wardround.simulations.planning import load_study, plan
from wardround.simulations.recruitment import from_table
from wardround.simulations.run import Plan


def planned(folder: Path, protocol: StudyProtocol, sizes: dict[str, int], **wishes: object) -> Plan:
    study_path, patients = write(folder, protocol, table(sizes))
    loaded, home = load_study(study_path, seed=0)
    sites = from_table(
        loaded, home, patients, site_column="hospital", out=folder / "run", cohort="synthetic", seed=0
    )
    options = {"backend": "inline", "seed": 0, "folds": 0, "leave_one_out": "no", **wishes}
    return plan(loaded, home, sites, **options)  # type: ignore[arg-type]


TWO = {"north": 40, "south": 40}


def test_a_study_without_privacy_takes_the_seed_of_the_run(tmp_path: Path) -> None:
    path, _ = write(tmp_path, study(), table(TWO))
    assert load_study(path, seed=11)[0].seed == 11
    path.write_text(dumps(replace(study(), seed=4)), encoding="utf-8")
    assert load_study(path, seed=11)[0].seed == 4


def test_a_private_study_takes_no_seed(tmp_path: Path) -> None:
    path, _ = write(tmp_path, private_study(), table(TWO))
    loaded, home = load_study(path, seed=11)
    assert loaded.seed is None
    assert loaded == private_study()
    assert home == tmp_path


def test_an_absent_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="absent"):
        load_study(tmp_path / "absent.toml", seed=0)


def test_one_hospital_is_no_federation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least 2 sites.*found 1 \(1 left out") as refusal:
        planned(tmp_path, study(), {"north": 40, "south": 8})
    assert "minimum_patients" in refusal.value.advice


@pytest.mark.parametrize("folds", [1, -2])
def test_one_fold_is_none(folds: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 folds"):
        planned(tmp_path, study(), TWO, folds=folds)


def test_leaving_one_of_two_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 3 sites, found 2"):
        planned(tmp_path, study(), TWO, leave_one_out="yes")


def test_joint_noise_needs_one_hospital_more_than_it_counts_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"counts on 2 honest sites.*would have 2") as refusal:
        planned(tmp_path, joint_study(), TWO)
    assert "study plan" in refusal.value.advice
    three = {**TWO, "west": 40}
    assert planned(tmp_path, joint_study(), three).leave_one_out == "no"
    with pytest.raises(UsageError, match=r"would have 2 \(3 sites"):
        planned(tmp_path, joint_study(), three, leave_one_out="yes")


def test_without_held_out_patients_only_cross_validation_can_compare(tmp_path: Path) -> None:
    nobody = replace(study(), cohort=replace(study().cohort, test_fraction=0.0))
    with pytest.raises(UsageError, match="no patient is held out"):
        planned(tmp_path, nobody, TWO)
    assert planned(tmp_path, nobody, TWO, folds=2).folds == 2


def test_folds_would_charge_real_ledgers_many_times(tmp_path: Path) -> None:
    chosen = planned(tmp_path, study(), TWO)
    real: Consortium = replace(chosen.consortium, imagined=None)
    with pytest.raises(UsageError, match="each time is charged"):
        plan(chosen.protocol, tmp_path, real, backend="inline", seed=0, folds=2, leave_one_out="no")
