"""Approving a study: what a person decides, what is reserved for it, what is frozen, and what is refused."""

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.consortia import NOISE, Consortium, asked
from tests.hospital import hospital, only
from tests.studies import keys_and_roster

from wardround.client import frozen
from wardround.client.approvals import APPROVAL, approvals, approved, last_approved
from wardround.client.approving import approve
from wardround.client.joining import known_roster
from wardround.client.standing import studies
from wardround.common.errors import CohortError, PolicyRefusal, TrustError, UsageError
from wardround.common.trust.rosterfile import seal_roster
from wardround.server.enrolment import remove

STUDY = asked()


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path, names=("north", "south"))


def test_an_approval_reserves_every_attempt_of_every_round(made: Consortium) -> None:
    done = made.approve("north", STUDY)
    assert done.change == "approved"
    assert made.reserved("north") == 3 * 2
    found = approved(made.site("north"), STUDY.digest)
    assert found is not None
    assert (found.state, found.number, found.roster_version, found.revision) == ("approved", 1, 2, 1)
    assert found.protocol == STUDY
    assert last_approved(made.site("north"), "asked") == found


def test_only_the_owner_may_read_what_an_approval_keeps(made: Consortium) -> None:
    folder = made.approve("north", STUDY).approval.folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name.split("-")[0]: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("approval.json", "bundle", "cohort", "study.toml"), 0o600)


def test_the_training_patients_are_frozen_without_those_held_out(made: Consortium) -> None:
    found = made.approve("north", STUDY).approval
    rows = frozen.from_bytes(found.cohort_path.read_bytes())
    assert 20 <= rows.n_patients < 60  # of 60, a quarter held out by the site's own key
    assert rows.inputs.shape[1] == found.width
    table = made.site("north") / "patients.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    only(hospital(300, seed=8)).to_csv(table, index=False)
    assert len(lines) == 61
    assert made.approve("north", STUDY).change == "known"
    again = frozen.from_bytes(found.cohort_path.read_bytes())
    np.testing.assert_array_equal(again.inputs, rows.inputs)


def test_the_same_patients_are_held_out_in_every_study(made: Consortium) -> None:
    first = made.approve("north", STUDY).approval
    second = made.approve("north", asked("another", rounds=2)).approval
    one, two = (frozen.from_bytes(each.cohort_path.read_bytes()).inputs for each in (first, second))
    np.testing.assert_array_equal(one, two)


def test_a_changed_protocol_under_an_approved_name_is_another_study(made: Consortium) -> None:
    made.approve("north", STUDY)
    other = asked(rounds=4)
    assert approved(made.site("north"), other.digest) is None
    made.approve("north", other)
    assert [each.protocol.digest for each in approvals(made.site("north"))] == [STUDY.digest, other.digest]
    newest = last_approved(made.site("north"), "asked")
    assert newest is not None
    assert newest.protocol == other
    assert made.reserved("north") == (3 + 4) * 2


def test_approving_twice_reserves_once(made: Consortium) -> None:
    made.approve("north", STUDY)
    assert made.approve("north", STUDY).change == "known"
    assert made.reserved("north") == 6


def test_a_policy_that_refuses_leaves_nothing_behind(made: Consortium) -> None:
    made.edit("north", "# purposes", 'purposes = ["care"] # ')
    with pytest.raises(PolicyRefusal, match="purpose"):
        made.approve("north", STUDY)
    assert approvals(made.site("north")) == ()
    assert made.reserved("north") == 0


def test_a_cap_that_refuses_leaves_no_patient_and_no_reservation(made: Consortium) -> None:
    made.edit("north", "epsilon_cap = 8.0", "epsilon_cap = 0.1")
    with pytest.raises(PolicyRefusal, match="lifetime cap"):
        made.approve("north", STUDY)
    assert made.reserved("north") == 0
    assert [path for path in made.site("north").glob("approvals/*/*") if path.is_file()] == []
    assert studies(made.site("north")) == ()


def test_a_table_that_does_not_fit_is_refused_before_anything_is_reserved(made: Consortium) -> None:
    only(hospital(12)).to_csv(made.site("north") / "patients.csv", index=False)
    with pytest.raises(CohortError, match="found 12"):
        made.approve("north", STUDY)
    assert made.reserved("north") == 0
    assert approvals(made.site("north")) == ()


def test_a_study_of_another_coordinator_is_refused(made: Consortium, tmp_path: Path) -> None:
    other = Consortium(tmp_path / "elsewhere", names=("north",))
    with pytest.raises(TrustError, match="signature"):
        approve(made.site("north"), other.bundle(STUDY))


def test_a_roster_without_this_hospital_is_refused(made: Consortium) -> None:
    remove(made.server, "north")
    with pytest.raises(TrustError, match="does not hold 'north'"):
        made.approve("north", STUDY)
    assert approvals(made.site("north")) == ()


def test_a_newer_roster_is_taken_over_and_an_older_one_is_refused(made: Consortium) -> None:
    old = made.bundle(STUDY)
    before = approve(made.site("north"), old).approval
    remove(made.server, "south")
    done = made.approve("north", STUDY)
    assert done.change == "roster"
    assert tuple(done.approval.roster.sites) == ("north",)
    assert (done.approval.cohort, done.approval.number) == (before.cohort, before.number)
    assert made.reserved("north") == 6
    assert len(list(before.folder.glob("bundle-*"))) == 1
    known = known_roster(made.site("north"))
    assert known is not None
    assert known.version == 3
    with pytest.raises(TrustError, match="version 3 or newer"):
        approve(made.site("north"), old)


def test_a_finished_study_needs_a_person_to_say_again(made: Consortium) -> None:
    made.approve("north", STUDY)
    made.spend("north", STUDY, 2)
    made.finish("north", STUDY)
    with pytest.raises(PolicyRefusal, match="finished") as caught:
        made.approve("north", STUDY)
    assert "--again" in caught.value.advice
    assert made.reserved("north") == 2
    done = made.approve("north", STUDY, again="again")
    assert (done.change, done.approval.number) == ("approved", 2)
    assert made.reserved("north") == 2 + 6
    assert [path.name for path in done.approval.folder.glob("cohort-*")] == ["cohort-2.npz"]


def test_again_is_refused_where_nothing_is_finished(made: Consortium) -> None:
    for _ in range(2):
        with pytest.raises(UsageError, match="not finished"):
            made.approve("north", STUDY, again="again")
        made.approve("north", STUDY)


def test_a_refused_repetition_leaves_the_study_finished(made: Consortium) -> None:
    made.approve("north", STUDY)
    made.finish("north", STUDY)
    made.edit("north", "epsilon_cap = 8.0", "epsilon_cap = 0.1")
    with pytest.raises(PolicyRefusal, match="lifetime cap"):
        made.approve("north", STUDY, again="again")
    made.edit("north", "epsilon_cap = 0.1", "epsilon_cap = 8.0")
    with pytest.raises(PolicyRefusal, match="finished"):
        made.approve("north", STUDY)


def test_an_approval_of_another_study_put_in_its_place_is_refused(made: Consortium) -> None:
    first = made.approve("north", STUDY).approval
    second = made.approve("north", asked("another")).approval
    (first.folder / APPROVAL).write_bytes((second.folder / APPROVAL).read_bytes())
    with pytest.raises(TrustError, match="is not the study that was approved"):
        approved(made.site("north"), STUDY.digest)


def test_the_standing_of_a_study_says_what_was_used(made: Consortium) -> None:
    made.approve("north", STUDY)
    made.spend("north", STUDY, 2)
    (found,) = studies(made.site("north"))
    assert (found.state, found.charged, found.reserved) == ("approved", 2, 6)
    made.finish("north", STUDY)
    assert studies(made.site("north"))[0].state == "finished"


def test_two_rosters_of_one_version_are_noticed(made: Consortium) -> None:
    from wardround.common.study.bundle import write_bundle
    from wardround.common.study.reader import dumps

    made.approve("north", STUDY)
    _, other = keys_and_roster("south")
    sites = {"north": made.office("north").key.public, **other.sites}
    roster = replace(other, coordinator_key=made.key.public, sites=sites)
    forged = write_bundle(
        made.key, study=dumps(asked("b")), loadings=None, roster=seal_roster(made.key, roster, 2), revision=1
    )
    with pytest.raises(TrustError, match="two different rosters"):
        approve(made.site("north"), forged)


def test_without_privacy_the_terms_of_the_policy_decide(made: Consortium) -> None:
    with pytest.raises(PolicyRefusal, match="mechanism"):
        made.approve("north", replace(STUDY, privacy=replace(NOISE, mechanism="none", noise_multiplier=0.0)))
