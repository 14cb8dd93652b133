"""The site's state machine: it answers what it must, refuses by default, and says nothing in a refusal."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.studies import renamed
from tests.wards import BASE_DIGEST, STUDY, Ward, declined, message, opened

from wardround.client.site import REFUSALS
from wardround.common.errors import TrustError
from wardround.common.formats import digest
from wardround.common.learning.exchange import (
    DECLINED,
    EVERYONE,
    FINISH,
    FINISHED,
    NO_MODEL,
    PRESENT,
    ROLL_CALL,
    UPDATE,
    unpack_update,
)
from wardround.common.learning.parameters import to_bytes
from wardround.common.privacy.events import GaussianSteps


def test_an_update_is_bound_to_what_was_asked(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        envelope = opened(site.answer(message()), UPDATE)
        head = ward.ledger.head
    header = envelope.header
    assert (header.study, header.protocol_digest) == ("small", STUDY.digest)
    assert (header.round, header.attempt, header.base_model) == (1, 1, BASE_DIGEST)
    receipt, update = unpack_update(envelope.body)
    assert receipt.event == STUDY.event()
    assert receipt.ledger_seq == head[0] - 1  # the settlement came after the charge
    assert update["output.weight"].tolist() == [[1, 1, 1]]


def test_a_roll_call_is_answered_by_signature_and_touches_nothing(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open(approved=False) as site:
        call = message(ROLL_CALL, b"", receiver=EVERYONE, round=0, attempt=0, base_model=NO_MODEL)
        assert opened(site.answer(call), PRESENT).body == b""
        assert ward.charges() == 0
    assert ward.trainer.calls == 0


def test_a_finish_returns_the_rest_of_the_reservation_however_often_it_is_said(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        site.answer(message())
        for _ in range(2):
            assert opened(site.answer(message(FINISH)), FINISHED).body == b""
        assert sum(e.steps for e in ward.ledger.exposure() if isinstance(e, GaussianSteps)) == 1
        assert "finished" in declined(ward, site.answer(message(attempt=2)))


def test_a_task_before_the_site_approved_the_study_is_declined_untrained(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open(approved=False) as site:
        assert "no reservation" in declined(ward, site.answer(message()))
    assert ward.trainer.calls == 0


@pytest.mark.parametrize("kind", [PRESENT, UPDATE, FINISHED, DECLINED])
def test_a_kind_that_only_sites_send_is_declined(tmp_path: Path, kind: str) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        assert "expected a message that this study's mechanism asks for" in declined(
            ward, site.answer(message(kind))
        )
        assert ward.charges() == 0


@pytest.mark.parametrize(
    ("signer", "changed"),
    [
        ("coordinator", {"protocol_digest": "0" * 64}),
        ("coordinator", {"study": "another"}),
        ("coordinator", {"receiver": "south"}),
        ("coordinator", {"receiver": EVERYONE}),
        ("coordinator", {"sender": "south"}),
        ("south", {"sender": "south"}),
        ("south", {}),
        ("north", {"sender": "north"}),
    ],
)
def test_what_the_coordinator_did_not_sign_for_this_site_gets_no_answer(
    tmp_path: Path, signer: str, changed: dict[str, Any]
) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        with pytest.raises(TrustError):
            site.answer(message(signer=signer, **changed))
        assert ward.charges() == 0
    assert ward.reasons() == []


def test_another_study_that_this_site_also_approved_does_not_open_this_one(tmp_path: Path) -> None:
    other = renamed(STUDY, "other")
    ward = Ward(tmp_path)
    with ward.open() as site, pytest.raises(TrustError, match=r"study|protocol_digest"):
        site.answer(message(study="other", protocol_digest=other.digest))


@pytest.mark.parametrize("body", [b"", b"\x00" * 40, to_bytes({"w": np.zeros(3, np.float32)})])
def test_a_body_that_is_not_the_declared_model_is_declined_before_any_charge(
    tmp_path: Path, body: bytes
) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        opened(site.answer(message(body=body, base_model=digest(body))), DECLINED)
        assert ward.charges() == 0
    assert ward.trainer.calls == 0


def test_a_failure_in_training_is_charged_declined_and_may_be_tried_again_at_no_further_cost(
    tmp_path: Path,
) -> None:
    ward = Ward(tmp_path)
    ward.trainer.fails = ValueError("patient MRN-000007 has no value")
    with ward.open() as site:
        reply = site.answer(message())
        assert b"MRN" not in reply
        assert b"ValueError" not in reply
        assert "MRN-000007" in declined(ward, reply)  # at the site only
        ward.trainer.fails = None
        opened(site.answer(message()), UPDATE)
        assert ward.charges() == 1
    assert stat.S_IMODE((ward.folder / REFUSALS).stat().st_mode) == 0o600


def test_all_refusals_have_the_same_length_and_code(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        replies = [site.answer(message(kind)) for kind in (PRESENT, UPDATE)]
        replies.append(site.answer(message(body=b"")))
        ward.trainer.fails = RuntimeError("x" * 5000)
        replies.append(site.answer(message()))
    bodies = [json.loads(opened(reply, DECLINED).body) for reply in replies]
    assert {len(reply) for reply in replies} == {len(replies[0])}
    assert {body["code"] for body in bodies} == {"declined"}
    assert len({body["reference"] for body in bodies}) == len(bodies)
    assert all(body.keys() == {"code", "reference"} for body in bodies)


def test_a_full_disk_at_the_site_is_a_refusal_and_nothing_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward = Ward(tmp_path)
    real = os.write

    def full_outbox(descriptor: int, data: bytes) -> int:
        if ".reply" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    with ward.open() as site:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full_outbox)
            assert "No space left" in declined(ward, site.answer(message()))
        assert ward.charges() == 1
        opened(site.answer(message()), UPDATE)
        assert ward.charges() == 1


def test_control_c_during_training_is_not_turned_into_a_refusal(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    ward.trainer.fails = KeyboardInterrupt()
    with ward.open() as site, pytest.raises(KeyboardInterrupt):
        site.answer(message())
    assert ward.reasons() == []


def test_the_same_task_is_answered_from_the_outbox_without_training(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        first = site.answer(message())
    with ward.open() as site:
        assert site.answer(message()) == first
    assert ward.trainer.calls == 1
