"""A hospital that approved a study with an evaluation: patients frozen in two parts, and a reception that answers."""

import json
from pathlib import Path

import pytest
from tests.consortia import Consortium, asked
from tests.evaluating import evaluated

from wardround.client import frozen
from wardround.client.account import read_account
from wardround.client.approving import approve
from wardround.client.heldout import SPLIT_KEY
from wardround.client.reception import Reception
from wardround.client.refusals import REFUSALS
from wardround.client.review import review
from wardround.client.reviewprint import as_dict, page
from wardround.client.revoking import revoke
from wardround.common.errors import PolicyRefusal, TrustError
from wardround.common.formats import digest
from wardround.common.learning.evaluated import TABLE
from wardround.common.learning.exchange import unpack_update
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import to_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Envelope, open_envelope

WIDTH = 11
STUDY = evaluated(asked("judged"), epsilon=1.0)
OUTSIDE = evaluated(asked("outside"), epsilon=1.0, external_sites=("north",))
LAST = 4


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path, names=("north", "south"))


def answered(made: Consortium, round_: int, attempt: int = 1, protocol: StudyProtocol = STUDY) -> Envelope:
    model = to_bytes(initial(STUDY, WIDTH))
    message = made.message(
        "task",
        protocol,
        "north",
        model,
        round=round_,
        attempt=attempt,
        base_model=digest(model),
    )
    reply = Reception(made.site("north")).answer(message)
    roster = approve(made.site("north"), made.bundle(protocol)).approval.roster
    return open_envelope(reply, roster, receiver="coordinator", sender="north")


def test_those_held_out_are_frozen_apart_from_those_who_train(made: Consortium) -> None:
    found = made.approve("north", STUDY).approval
    training = frozen.from_bytes(found.cohort_path.read_bytes())
    held_out, codes = frozen.held_out_from_bytes(found.held_out_path.read_bytes())
    assert training.n_patients + held_out.n_patients == 60
    assert 0 < held_out.n_patients < 60
    assert codes.shape == (held_out.n_patients, 1)
    rows = {row.tobytes() for row in training.inputs}
    assert not rows & {row.tobytes() for row in held_out.inputs}
    assert found.held_out_path.stat().st_mode & 0o077 == 0


def test_the_reception_answers_the_evaluation_with_a_table_charged_to_those_held_out(
    made: Consortium,
) -> None:
    made.approve("north", STUDY)
    reply = answered(made, LAST)
    receipt, found = unpack_update(reply.body)
    assert receipt.event == STUDY.event_of(LAST)
    assert found[TABLE].shape == (STUDY.table_cells,)
    assert answered(made, LAST).body == reply.body
    account = read_account(made.office("north").policy)
    assert 0.99 < account.held_out["tolerated"].spent <= 1.0
    assert account.accounts["tolerated"].spent == 0


def test_an_evaluation_beyond_its_attempts_or_after_a_revocation_is_declined(made: Consortium) -> None:
    made.approve("north", STUDY)
    assert answered(made, LAST, 3).header.kind == "declined"
    assert answered(made, LAST + 1).header.kind == "declined"
    kept = approve(made.site("north"), made.bundle(STUDY)).approval
    revoke(made.site("north"), "judged")
    assert not kept.held_out_path.exists()
    message = made.message("task", STUDY, "north", b"", round=LAST, attempt=1, base_model=digest(b""))
    assert b"declined" in Reception(made.site("north")).answer(message)
    assert read_account(made.office("north").policy).held_out == {}


def test_frozen_patients_that_were_changed_are_not_evaluated(made: Consortium) -> None:
    found = made.approve("north", STUDY).approval
    found.held_out_path.write_bytes(found.cohort_path.read_bytes())
    assert answered(made, LAST).header.kind == "declined"


def test_the_review_says_what_the_evaluation_costs_whom(made: Consortium) -> None:
    found = review(made.site("north"), made.bundle(STUDY))
    text = page(found)
    assert "one table of 48 cells, split by sex" in text
    assert "auc at least 0.5" in text
    assert "held-out patients, against all parties" in text
    assert "once per attempt of the evaluation" in text
    said = as_dict(found)["evaluation"]
    assert isinstance(said, dict)
    assert 0.99 < said["epsilon_planned"] <= 1.0 < said["epsilon_worst"]
    assert [each.pool for each in found.caps] == ["training", "training", "held-out", "held-out"]


def test_a_cap_of_the_held_out_patients_refuses_the_approval_as_a_whole(made: Consortium) -> None:
    made.edit("north", "# epsilon_cap_held_out = 3.0", "epsilon_cap_held_out = 0.5")
    with pytest.raises(PolicyRefusal, match="held-out patients of this pool"):
        made.approve("north", STUDY)
    assert made.reserved("north") == 0
    assert not review(made.site("north"), made.bundle(STUDY)).allowed


def test_a_site_that_lost_the_key_of_its_split_draws_no_other_one(made: Consortium) -> None:
    made.approve("north", asked("first"))
    (made.site("north") / SPLIT_KEY).unlink()
    with pytest.raises(TrustError, match=r"split\.key"):
        made.approve("north", STUDY)
    assert read_account(made.office("north").policy).held_out == {}


@pytest.fixture
def outside(made: Consortium) -> Consortium:
    made.approve("north", OUTSIDE)
    return made


def test_an_external_site_freezes_nobody_for_training(outside: Consortium) -> None:
    found = approve(outside.site("north"), outside.bundle(OUTSIDE)).approval
    assert frozen.from_bytes(found.cohort_path.read_bytes()).n_patients == 0
    everybody, _ = frozen.held_out_from_bytes(found.held_out_path.read_bytes())
    assert everybody.n_patients > 30
    assert answered(outside, LAST, protocol=OUTSIDE).header.kind == "update"


def test_an_external_site_answers_no_round_of_training(outside: Consortium) -> None:
    assert answered(outside, 1, protocol=OUTSIDE).header.kind == "declined"
    (line,) = (outside.site("north") / REFUSALS).read_text().splitlines()
    assert "no patients in that part of the study" in json.loads(line)["reason"]
