"""Lying sites, lost messages and a lying transport in a study under joint noise: left out, or void, charged and named.

The model after a void attempt is the one before it; a model is only ever made of sums that all members agreed to.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from tests.jointliars import Forge, Liar, broken, in_anothers_name, junk, log_of, lost, said
from tests.jointrogues import FOUR, NAMES, approve_only, book, drive, joint_federation, kinds, reason
from tests.rogues import Replies

from wardround.common.errors import PrivacyError, StudyError
from wardround.common.formats import digest
from wardround.common.learning.exchange import Receipt
from wardround.common.privacy.events import JointGaussianSteps
from wardround.common.trust.envelope import Envelope
from wardround.common.trust.sumroster import AGREED, MASKED, READY
from wardround.common.trust.sumwire import Masked
from wardround.server.coordinator import LOG
from wardround.simulations.federation import Federation

EAST, NORTH, SOUTH = NAMES


def poor_ready(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return liar.signed(reply, envelope, envelope.body.replace(b'"suites":["', b'"suites":["none","'))


LEFT_OUT: Mapping[str, tuple[Forge, str]] = {
    "nothing": (lost, "no reply"),
    "keys that cannot be used": (poor_ready, "known suites"),
    "another site's message": (in_anothers_name, "expected sender 'south'"),
    "broken bytes": (broken, "other bytes"),
    "junk": (junk, "envelope"),
}


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("name", LEFT_OUT)
def test_whoever_is_not_ready_is_left_out_where_the_quorum_allows(tmp_path: Path, name: str) -> None:
    forge, why = LEFT_OUT[name]
    made = joint_federation(tmp_path, FOUR, rounds=2, attempts=1, quorum=3)
    drive(made, Liar(made, READY, forge, attempts=1))
    (first, data), (second, later) = log_of(made)
    assert first == second == "round"
    assert why in str(said(data, SOUTH)["refused"])
    assert data["secure_sum"]["members"] == [EAST, NORTH, "west"]  # type: ignore[index]
    assert later["secure_sum"]["members"] == sorted(FOUR)  # type: ignore[index]
    assert kinds(made, SOUTH) == ["spend", "settle", "close"]
    assert kinds(made, NORTH) == ["spend", "settle", "spend", "settle", "close"]


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("name", LEFT_OUT)
def test_whoever_is_not_ready_voids_the_attempt_where_all_are_needed(tmp_path: Path, name: str) -> None:
    forge, why = LEFT_OUT[name]
    made = joint_federation(tmp_path, rounds=1, attempts=2)
    drive(made, Liar(made, READY, forge, attempts=1))
    (first, data), (second, _) = log_of(made)
    assert (first, second) == ("void", "round")
    assert why in str(said(data, SOUTH)["refused"])
    assert data["result_model"] == data["base_model"]
    assert [kinds(made, site) for site in NAMES] == [["spend", "settle", "close"]] * 3


def other_roster(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    body = envelope.body
    at = body.index(b'"roster":"') + len(b'"roster":"')
    return liar.signed(reply, envelope, body[:at] + b"0" * 64 + body[at + 64 :])


def without_ciphertexts(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    """`south` is followed by `west`, for which it must make a secret."""
    return liar.signed(reply, envelope, envelope.body.replace(b'"west"', b'"wes"'))


DISAGREES: Mapping[str, tuple[Forge, str]] = {
    "nothing": (lost, "did not agree to the roster"),
    "another roster": (other_roster, "is about another roster"),
    "no secret for a member": (without_ciphertexts, "one ciphertext for each"),
    "another site's message": (in_anothers_name, "expected sender 'south'"),
    "broken bytes": (broken, "other bytes"),
}


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("name", DISAGREES)
def test_whoever_is_lost_before_the_task_ends_the_attempt_and_nobody_is_charged(
    tmp_path: Path, name: str
) -> None:
    forge, why = DISAGREES[name]
    made = joint_federation(tmp_path, FOUR, rounds=1, attempts=2, quorum=3)
    liar = Liar(made, AGREED, forge, attempts=1)
    drive(made, liar)
    (first, data), (second, later) = log_of(made)
    assert (first, second) == ("void", "round")
    assert why in str(said(data, SOUTH)["refused"])
    assert data["result_model"] == data["base_model"]
    assert "transcript" not in data["secure_sum"]  # type: ignore[operator]
    assert data["secure_sum"]["roster"] != later["secure_sum"]["roster"]  # type: ignore[index]
    assert [kinds(made, site) for site in FOUR] == [["spend", "settle", "close"]] * 4
    assert {book(made, site)[2].payload["attempt"] for site in FOUR} == {2}


def too_long(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return liar.signed(reply, envelope, envelope.body + bytes(4))


def too_short(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return liar.signed(reply, envelope, envelope.body[:-4])


def cheap(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    found = Masked.unpack(envelope.body, 4)
    event = JointGaussianSteps(noise_multiplier=99.0, honest=2, coordinates=2**24, steps=1)
    receipt = replace(Receipt.from_bytes(found.receipt), event=event)
    return liar.signed(reply, envelope, replace(found, receipt=receipt.to_bytes()).pack())


def no_receipt(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return liar.signed(reply, envelope, replace(Masked.unpack(envelope.body, 4), receipt=b"{}").pack())


def other_transcript(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return liar.signed(
        reply, envelope, replace(Masked.unpack(envelope.body, 4), transcript=digest(b"?")).pack()
    )


def earlier_round(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
    return liar.signed(reply, envelope, envelope.body, round=7)


VOID: Mapping[str, tuple[Forge, str]] = {
    "a false dropout": (lost, "no upload"),
    "an upload altered on its way": (broken, "other bytes"),
    "a longer vector": (too_long, "expected 16 bytes of masked values, found 20"),
    "a shorter vector": (too_short, "expected 16 bytes of masked values, found 12"),
    "a cheap receipt": (cheap, "charges another event"),
    "no receipt": (no_receipt, "receipt"),
    "another transcript": (other_transcript, "masked for another roster"),
    "another round": (earlier_round, "expected round 1"),
    "another site's upload": (in_anothers_name, "expected sender 'south'"),
    "junk": (junk, "envelope"),
}


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("name", VOID)
def test_whoever_fails_after_masking_voids_the_round_which_is_charged_and_named(
    tmp_path: Path, name: str
) -> None:
    forge, why = VOID[name]
    made = joint_federation(tmp_path, FOUR, rounds=1, attempts=2, quorum=3)
    liar = Liar(made, MASKED, forge, attempts=1)
    drive(made, liar)
    (first, data), (second, later) = log_of(made)
    assert (first, second) == ("void", "round")
    assert data["result_model"] == data["base_model"] == later["base_model"]
    assert why in str(said(data, SOUTH)["refused"])
    assert [kinds(made, site) for site in FOUR] == [["spend", "settle"] * 2 + ["close"]] * 4
    _names_the_culprit(made, data, forge)


def _names_the_culprit(made: Federation, data: Mapping[str, object], forge: Forge) -> None:
    """The log and the sites' own signed ledgers show together what left, and who did not do as it should."""
    for site in FOUR:
        settled = book(made, site)[3].payload["update"]
        if site != SOUTH:
            assert {"upload", "event", "ledger_head"} <= said(data, site).keys()
        elif forge is lost:
            assert "reply" not in said(data, site)  # and yet the site's ledger holds a digest
        else:
            assert said(data, site)["reply"] != settled
    assert {"roster", "transcript", "members"} <= data["secure_sum"].keys()  # type: ignore[attr-defined]
    assert "sum" not in data["secure_sum"]  # type: ignore[operator]


@pytest.mark.usefixtures("quick_disk")
def test_a_vector_of_noise_that_no_patients_can_add_up_to_is_void_and_not_a_model(tmp_path: Path) -> None:
    def wild(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
        found = Masked.unpack(envelope.body, 4)
        values = found.values + np.array([2**31 - 1, 0, 0, 0], np.uint32)
        return liar.signed(reply, envelope, replace(found, values=values).pack())

    made = joint_federation(tmp_path, rounds=1, attempts=2)
    drive(made, Liar(made, MASKED, wild, attempts=1))
    (first, data), (second, _) = log_of(made)
    assert (first, second) == ("void", "round")
    assert data["result_model"] == data["base_model"]
    assert all("beyond what all patients" in str(said(data, site)["refused"]) for site in NAMES)
    assert all("upload" in said(data, site) for site in NAMES)


@pytest.mark.usefixtures("quick_disk")
def test_masks_that_do_not_cancel_are_void_and_not_a_model(tmp_path: Path) -> None:
    """A member that masks with other keys than it showed spoils the sum; nobody can tell who, nobody believes it."""

    def other_keys(liar: Liar, reply: Message, envelope: Envelope) -> Replies:
        found = Masked.unpack(envelope.body, 4)
        values = np.random.default_rng(5).integers(2**29, 2**31, 4, dtype=np.uint32) + found.values
        return liar.signed(reply, envelope, replace(found, values=values).pack())

    made = joint_federation(tmp_path, rounds=1, attempts=1)
    with pytest.raises(StudyError, match="below its quorum"):
        drive(made, Liar(made, MASKED, other_keys))
    ((kind, data),) = log_of(made)
    assert kind == "void"
    assert data["result_model"] == data["base_model"]


@pytest.mark.usefixtures("quick_disk")
def test_attempts_end_when_the_reserved_ones_are_used_up(tmp_path: Path) -> None:
    made = joint_federation(tmp_path, rounds=2, attempts=3)
    with pytest.raises(StudyError, match="round 1 stayed below its quorum of 3 in 3 attempts"):
        drive(made, Liar(made, MASKED, lost))
    assert [kind for kind, _ in log_of(made)] == ["void"] * 3
    assert [kinds(made, site) for site in NAMES] == [["spend", "settle"] * 3] * 3


@pytest.mark.usefixtures("quick_disk")
def test_a_refusal_at_a_site_reaches_the_log_as_a_reference_and_nothing_else(tmp_path: Path) -> None:
    made = joint_federation(tmp_path, rounds=1, attempts=1)
    approve_only(made, NORTH, [EAST])
    with pytest.raises(StudyError):
        drive(made)
    ((kind, data),) = log_of(made)
    words = str(said(data, NORTH)["refused"])
    assert kind == "void"
    assert words.startswith("declined, reference ")
    assert "'south' is not among the sites" in reason(made, NORTH, words.rpartition(" ")[2])
    assert [kinds(made, site) for site in NAMES] == [[], [], []]


def test_a_study_whose_sums_no_grid_holds_asks_and_charges_nobody(tmp_path: Path) -> None:
    with pytest.raises(PrivacyError, match="no grid holds"):
        joint_federation(tmp_path, noise=1e-4)
    assert not (tmp_path / "federation" / LOG).exists()
