"""A hospital and a study that monitors a released model: only that model, and nobody who trained it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.consortia import Consortium, asked
from tests.evaluating import evaluated
from tests.monitoring import monitor

from wardround.cli import main
from wardround.client import frozen
from wardround.client.account import read_account
from wardround.client.approving import approve
from wardround.client.monitored import unknown_training
from wardround.client.reception import Reception
from wardround.client.refusals import REFUSALS
from wardround.client.review import review
from wardround.client.reviewprint import page
from wardround.common.errors import PolicyRefusal
from wardround.common.formats import digest
from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.evaluated import TABLE, Evaluated
from wardround.common.learning.exchange import unpack_update
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.models import initial
from wardround.common.learning.monitored import FOLDER, Monitored
from wardround.common.learning.parameters import to_bytes
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Envelope, open_envelope

Capture = pytest.CaptureFixture[str]
WIDTH = 11
STUDY = evaluated(asked("judged"), epsilon=1.0)
MODEL = initial(STUDY, WIDTH)


def released() -> Monitored:
    cells = np.full(STUDY.table_cells, 20.0)
    path = FeaturePath.from_protocol(STUDY, None)
    return Monitored(
        model=ReleasedModel(protocol=STUDY, parameters=MODEL, path=path),
        before=calibration_of(STUDY, MODEL, Evaluated(table=cells, sites=("north", "south"))),
    )


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    found = Consortium(tmp_path, names=("north", "south"))
    found.approve("north", STUDY)
    found.spend("north", STUDY, 3)
    found.finish("north", STUDY)
    released().save(found.root / FOLDER)
    return found


def answered(made: Consortium, protocol: StudyProtocol, model: bytes, attempt: int = 1) -> Envelope:
    fields: dict[str, object] = {"round": 1, "attempt": attempt, "base_model": digest(model)}
    reply = Reception(made.site("north")).answer(made.message("task", protocol, "north", model, **fields))
    roster = approve(made.site("north"), made.bundle(protocol)).approval.roster
    return open_envelope(reply, roster, receiver="coordinator", sender="north")


def test_a_site_answers_with_a_table_of_those_who_were_held_out_when_the_model_was_trained(
    made: Consortium,
) -> None:
    again = monitor(released())
    before = read_account(made.office("north").policy)
    first = approve(made.site("north"), made.bundle(STUDY), again="again").approval
    kept, _ = frozen.held_out_from_bytes(first.held_out_path.read_bytes())
    found = made.approve("north", again).approval
    assert frozen.from_bytes(found.cohort_path.read_bytes()).n_patients == 0
    counted, _ = frozen.held_out_from_bytes(found.held_out_path.read_bytes())
    np.testing.assert_array_equal(counted.inputs, kept.inputs)
    reply = answered(made, again, to_bytes(MODEL))
    receipt, table = unpack_update(reply.body)
    assert (receipt.event, table[TABLE].shape) == (again.event_of(1), (again.table_cells,))
    assert answered(made, again, to_bytes(MODEL)).body == reply.body  # one charge, the same bytes
    after = read_account(made.office("north").policy)
    assert 0.99 < after.held_out["tolerated"].spent <= 1.0
    assert after.accounts["tolerated"].spent == before.accounts["tolerated"].spent


def test_another_model_than_the_one_approved_is_declined_and_costs_nothing(made: Consortium) -> None:
    again = monitor(released())
    made.approve("north", again)
    other = {name: array + np.float32(0.5) for name, array in MODEL.items()}
    assert answered(made, again, to_bytes(other)).header.kind == "declined"
    line = (made.site("north") / REFUSALS).read_text().splitlines()[-1]
    assert "expected the released model" in json.loads(line)["reason"]
    with made.ledger("north") as ledger:
        assert ledger.held_out.spent() == []


def larger(protocol: StudyProtocol) -> StudyProtocol:
    return replace(protocol, cohort=replace(protocol.cohort, test_fraction=0.6))


def outside(protocol: StudyProtocol) -> StudyProtocol:
    return monitor(released(), external_sites=("north",))


@pytest.mark.parametrize("change", [larger, outside], ids=["a larger share", "as if it never trained"])
def test_a_study_that_would_count_patients_who_trained_is_refused_at_review_and_approval(
    made: Consortium, change: Callable[[StudyProtocol], StudyProtocol]
) -> None:
    wrong = change(monitor(released()))
    found = review(made.site("north"), made.bundle(wrong))
    assert not found.allowed
    assert "held out 25% when it trained this model: some trained it" in " ".join(page(found).split())
    with pytest.raises(PolicyRefusal, match="some trained it") as caught:
        made.approve("north", wrong)
    assert "test_fraction = 0.25 or less" in caught.value.advice
    made.approve("south", wrong)  # it never trained the model


def test_a_site_that_evaluated_the_model_knows_who_trained_it_whatever_the_protocol_says(
    tmp_path: Path,
) -> None:
    found = Consortium(tmp_path, names=("north", "south"))
    found.approve("north", STUDY)
    model = to_bytes(MODEL)
    fields: dict[str, object] = {"round": 4, "attempt": 1, "base_model": digest(model)}
    Reception(found.site("north")).answer(found.message("task", STUDY, "north", model, **fields))
    honest = larger(monitor(released()))
    assert honest.monitoring is not None
    lying = replace(honest, monitoring=replace(honest.monitoring, protocol="0" * 64))
    with found.ledger("north") as ledger, pytest.raises(PolicyRefusal, match="some trained it"):
        found.office("north").door(ledger).reserve(lying)


def test_a_hospital_that_trained_under_another_protocol_than_is_said_is_told_to_ask(made: Consortium) -> None:
    honest = monitor(released())
    assert honest.monitoring is not None
    lying = replace(honest, monitoring=replace(honest.monitoring, protocol="0" * 64))
    words = "the ledger here holds no training under the protocol that is said to have made this model"
    for site, warned in (("north", 0), ("south", 1)):
        warnings = review(made.site(site), made.bundle(honest)).warnings
        assert sum(words in one for one in warnings) == warned
    with made.ledger("north") as ledger:  # an honest coordinator publishes no such study
        assert unknown_training(lying, ledger)


def test_the_review_says_what_is_evaluated_and_that_nobody_trains(made: Consortium) -> None:
    text = " ".join(page(review(made.site("north"), made.bundle(monitor(released())))).split())
    assert "trains nothing" in text
    assert "first seen in 2027" in text
    assert "0 rounds" not in text
    assert "gradients" not in text


def test_what_leaves_is_one_table_of_the_size_that_the_review_said(made: Consortium) -> None:
    again = monitor(released())
    said = {each.kind: each for each in review(made.site("north"), made.bundle(again)).leaving}
    assert list(said) == ["present", "update", "declined", "finished"]
    assert [array.shape for array in said["update"].arrays] == [(again.table_cells,)]
    assert said["update"].times == 2
    made.approve("north", again)
    fields: dict[str, object] = {"round": 1, "attempt": 1, "base_model": digest(to_bytes(MODEL))}
    task = made.message("task", again, "north", to_bytes(MODEL), **fields)
    assert len(Reception(made.site("north")).answer(task)) <= said["update"].most


def test_a_reviewed_study_costs_its_training_patients_nothing(made: Consortium) -> None:
    found = review(made.site("north"), made.bundle(monitor(released())))
    training = [each for each in found.caps if each.pool == "training"]
    assert training
    assert all(each.after == each.before for each in training)


def test_the_ledger_says_of_each_study_what_those_held_out_lost(made: Consortium, capsys: Capture) -> None:
    again = monitor(released())
    made.approve("north", again)
    answered(made, again, to_bytes(MODEL))
    found = {study.name: study for study in read_account(made.office("north").policy).studies}
    assert (found["again"].releases, found["again"].tables) == (0, 1)
    assert (found["judged"].releases, found["judged"].tables) == (3, 0)
    assert found["again"].tables_epsilon["tolerated"] == pytest.approx(1.0, abs=1e-3)
    assert main(["site", "ledger", str(made.site("north"))]) == 0
    out = capsys.readouterr().out
    assert "of those held out" in out
    assert "0.9999" in out or "1.0000" in out
