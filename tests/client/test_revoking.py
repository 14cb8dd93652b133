"""Revoking a study: it counts at once, frees what was not spent, and can be taken back by a new approval."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.consortia import JOINT, Consortium, asked

from wardround.client.approvals import APPROVAL, approved
from wardround.client.revoking import revoke
from wardround.client.standing import studies
from wardround.common.durable import LockedError
from wardround.common.errors import TrustError, UsageError

STUDY = asked()


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path, names=("north", "south"))


def test_a_revocation_frees_what_was_not_spent_and_forgets_the_patients(made: Consortium) -> None:
    found = made.approve("north", STUDY).approval
    made.spend("north", STUDY, 2)
    assert revoke(made.site("north"), "asked") == (STUDY,)
    assert made.reserved("north") == 2
    assert not found.cohort_path.exists()
    after = approved(made.site("north"), STUDY.digest)
    assert after is not None
    assert after.state == "revoked"
    assert revoke(made.site("north"), STUDY.digest[:8]) == (STUDY,)  # again, and by its digest
    assert made.reserved("north") == 2


def test_a_revoked_study_can_be_approved_again_with_a_new_reservation(made: Consortium) -> None:
    made.approve("north", STUDY)
    made.spend("north", STUDY, 2)
    revoke(made.site("north"), "asked")
    done = made.approve("north", STUDY)
    assert (done.change, done.approval.state, done.approval.number) == ("approved", "approved", 2)
    assert done.approval.cohort_path.exists()
    assert made.reserved("north") == 2 + 6


def test_a_revocation_takes_every_version_of_the_name_and_no_other_study(made: Consortium) -> None:
    versions = [STUDY, asked(rounds=4), asked("another")]
    for protocol in versions:
        made.approve("north", protocol)
    revoke(made.site("north"), "asked")
    states = {each.digest: each.state for each in studies(made.site("north"))}
    assert states == dict(
        zip((each.digest for each in versions), ("revoked", "revoked", "approved"), strict=True)
    )


@pytest.mark.parametrize("name", ["nobody", "", STUDY.digest[:7], "../.."])
def test_a_study_that_was_never_approved_cannot_be_revoked(made: Consortium, name: str) -> None:
    made.approve("north", STUDY)
    with pytest.raises(UsageError, match="was approved here"):
        revoke(made.site("north"), name)


def test_a_changed_approval_counts_for_nothing_and_can_be_revoked(made: Consortium) -> None:
    found = made.approve("north", STUDY).approval
    path = found.folder / APPROVAL
    path.write_text(path.read_text().replace('"width": 11', '"width": 12'))
    with pytest.raises(TrustError, match="signature"):
        approved(made.site("north"), STUDY.digest)
    revoke(made.site("north"), "asked")
    assert made.reserved("north") == 0


@pytest.mark.parametrize("state", ["cut off", "changed", "whole"])
def test_a_revocation_forgets_the_patients_of_an_approval_that_does_not_count(
    made: Consortium, state: str
) -> None:
    found = made.approve("north", STUDY).approval
    if state == "cut off":
        (found.folder / APPROVAL).unlink()
    if state == "changed":
        (found.folder / APPROVAL).write_text("{}")
    (found.folder / ".cohort-2.npz.draft").write_bytes(b"patients")
    revoke(made.site("north"), "asked")
    assert not list(found.folder.glob("*cohort*"))
    assert made.reserved("north") == 0


def test_a_revocation_of_joint_noise_forgets_its_open_session(made: Consortium) -> None:
    protocol = asked(privacy=replace(JOINT, honest_sites=2), sites=())
    office = made.office("north")
    three = Consortium(made.root / "three")
    three.approve("north", protocol)
    session = three.office("north").outbox / f"{protocol.digest[:16]}.session"
    session.write_bytes(b"keys")
    revoke(three.site("north"), "asked")
    assert not session.exists()
    assert office.folder != three.site("north")


def test_a_revocation_during_a_round_counts_at_once_and_is_finished_later(made: Consortium) -> None:
    made.approve("north", STUDY)
    with made.ledger("north"), pytest.raises(LockedError, match="marked as revoked"):
        revoke(made.site("north"), "asked", patience=0.0)
    after = approved(made.site("north"), STUDY.digest)
    assert after is not None
    assert after.state == "revoked"
    assert made.reserved("north") == 6
    revoke(made.site("north"), "asked")
    assert made.reserved("north") == 0
