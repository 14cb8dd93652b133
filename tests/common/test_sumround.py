"""The coordinator's and the auditor's side: an exact sum of all members, or a void that names who is to blame."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sums import (
    CONTEXT,
    OTHERS,
    Consortium,
    Vector,
    agree,
    at_coordinator,
    consortium,
    key,
    moved,
    names,
    readies,
    some_values,
)

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.trust.agreement import CLASSIC, HYBRID
from wardround.common.trust.envelope import seal
from wardround.common.trust.identity import Roster
from wardround.common.trust.masking import ring_sum
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumround import SumRound, SumVoid, recompute_sum
from wardround.common.trust.sumwire import Masked, unpack_messages

LENGTH = 11
ALL = consortium(4)
ROSTER = ALL.roster
EAST, NORTH, SOUTH, WEST = names(4)
VALUES = dict(zip(names(4), some_values(4, LENGTH), strict=True))


def ready_to_mask() -> tuple[SumRound, dict[str, SumSession]]:
    sessions = ALL.sessions()
    return at_coordinator(sessions, ROSTER, LENGTH), sessions


def uploads(sessions: dict[str, SumSession]) -> dict[str, bytes]:
    return {name: session.upload(VALUES[name], receipt=b"r") for name, session in sessions.items()}


def body(envelope: bytes) -> bytes:
    return envelope.split(b"\n", 1)[1][64:]


def sealed(name: str, data: bytes, *, kind: str = "masked", context: object = CONTEXT) -> bytes:
    """A body of any content, properly signed by a member."""
    fields = context.header(kind, sender=name)  # type: ignore[attr-defined]
    return seal(ALL.keys[name], fields, data)


def test_the_sum_is_the_exact_sum_of_all_members() -> None:
    attempt, sessions = ready_to_mask()
    for name, upload in uploads(sessions).items():
        assert attempt.masked(name, upload) == b"r"
    assert attempt.total().tolist() == ring_sum(VALUES.values()).tolist()
    assert attempt.roster.members == tuple(names(4))
    assert attempt.roster.suite == HYBRID


def test_coordinator_and_sites_see_one_roster_and_one_transcript() -> None:
    attempt, sessions = ready_to_mask()
    assert {session.roster.digest for session in sessions.values()} == {attempt.roster.digest}
    assert {session.transcript.digest for session in sessions.values()} == {attempt.transcript.digest}


def test_what_is_sent_to_members_is_what_they_sent_verbatim() -> None:
    sessions = ALL.sessions()
    attempt = SumRound(CONTEXT, keys=ROSTER, length=LENGTH)
    for name in reversed(names(4)):
        attempt.ready(name, sessions[name].ready)
    assert unpack_messages(attempt.roster_body()) == (readies(sessions), b"")
    agreements = agree(sessions)
    for name, agreed in reversed(list(zip(names(4), agreements, strict=True))):
        attempt.agreed(name, agreed)
    assert unpack_messages(attempt.agreements_body() + b"model") == (agreements, b"model")


def test_a_site_whose_first_message_is_not_acceptable_stays_out() -> None:
    sessions = ALL.sessions()
    attempt = SumRound(CONTEXT, keys=ROSTER, length=LENGTH)
    for name in (EAST, NORTH, SOUTH):
        attempt.ready(name, sessions[name].ready)
    for bad in (
        sessions[WEST].ready[:-1],
        sessions[EAST].ready,
        *(ALL.open(WEST, context=moved(field)).ready for field in OTHERS),
    ):
        with pytest.raises(TrustError):
            attempt.ready(WEST, bad)
    assert attempt.roster.members == (EAST, NORTH, SOUTH)
    with pytest.raises(UsageError, match="closed"):
        attempt.ready(WEST, sessions[WEST].ready)


def test_sites_without_a_common_suite_have_no_roster() -> None:
    attempt = SumRound(CONTEXT, keys=ROSTER, length=LENGTH)
    attempt.ready(EAST, ALL.open(EAST, suites=[HYBRID]).ready)
    attempt.ready(NORTH, ALL.open(NORTH, suites=[CLASSIC]).ready)
    with pytest.raises(TrustError, match="share no suite"):
        attempt.roster_body()


def test_a_member_that_does_not_agree_makes_the_sum_void_by_name() -> None:
    sessions = ALL.sessions()
    attempt = SumRound(CONTEXT, keys=ROSTER, length=LENGTH)
    for name, session in sessions.items():
        attempt.ready(name, session.ready)
    messages = readies(sessions)
    attempt.roster_body()
    attempt.agreed(EAST, sessions[EAST].agree(messages))
    attempt.agreed(NORTH, sessions[NORTH].agree(messages))
    with pytest.raises(SumVoid, match=r"'site-02': .*about another roster") as caught:
        attempt.agreed(SOUTH, sessions[SOUTH].agree(messages[:3]))
    assert caught.value.causes.keys() == {SOUTH}
    with pytest.raises(SumVoid) as caught:
        attempt.agreements_body()
    assert caught.value.causes.keys() == {SOUTH, WEST}
    assert caught.value.causes[WEST] == "did not agree to the roster"


@pytest.mark.parametrize("missing", [[WEST], [EAST, SOUTH], names(4)])
def test_missing_uploads_make_the_sum_void_and_are_all_named(missing: list[str]) -> None:
    attempt, sessions = ready_to_mask()
    for name, upload in uploads(sessions).items():
        if name not in missing:
            attempt.masked(name, upload)
    with pytest.raises(SumVoid, match="round 3 attempt 2 is void") as caught:
        attempt.total()
    assert caught.value.causes == dict.fromkeys(missing, "no upload")


def test_an_altered_upload_makes_the_sum_void_and_names_the_site() -> None:
    attempt, sessions = ready_to_mask()
    sent = uploads(sessions)
    for at in (-1, -4 * LENGTH, -4 * LENGTH - 1, -4 * LENGTH - 33):  # vector, transcript, receipt
        changed = bytearray(sent[SOUTH])
        changed[at] ^= 1
        with pytest.raises(SumVoid, match=r"'site-02': .*body_digest differs"):
            attempt.masked(SOUTH, bytes(changed))
    for name in (EAST, NORTH, WEST):
        attempt.masked(name, sent[name])
    with pytest.raises(SumVoid) as caught:
        attempt.total()
    assert caught.value.causes.keys() == {SOUTH}


@pytest.mark.parametrize("length", [0, LENGTH - 1, LENGTH + 1, 4 * LENGTH])
def test_an_upload_of_another_length_makes_the_sum_void(length: int) -> None:
    attempt, sessions = ready_to_mask()
    vector: Vector = np.zeros(length, np.uint32)
    with pytest.raises(SumVoid, match=f"'site-01': expected 44 bytes of masked values, found {4 * length}"):
        attempt.masked(NORTH, sessions[NORTH].upload(vector))


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\0\0\0\x09r", bytes(36), bytes(36 + 4 * LENGTH + 1)])
def test_an_upload_that_is_cut_or_longer_makes_the_sum_void(data: bytes) -> None:
    attempt, _ = ready_to_mask()
    with pytest.raises(SumVoid, match=r"'site-01': (expected|the body)"):
        attempt.masked(NORTH, sealed(NORTH, data))


def test_an_upload_for_another_roster_makes_the_sum_void() -> None:
    attempt, _ = ready_to_mask()
    other = Masked(receipt=b"", transcript=digest(b"another"), values=VALUES[NORTH]).pack()
    with pytest.raises(SumVoid, match="masked for another roster"):
        attempt.masked(NORTH, sealed(NORTH, other))


@pytest.mark.parametrize("field", sorted(OTHERS))
def test_an_upload_of_another_attempt_makes_the_sum_void(field: str) -> None:
    attempt, sessions = ready_to_mask()
    replayed = sealed(NORTH, body(uploads(sessions)[NORTH]), context=moved(field))
    with pytest.raises(SumVoid, match=f"expected {field}"):
        attempt.masked(NORTH, replayed)


def test_an_upload_under_another_kind_or_name_makes_the_sum_void() -> None:
    attempt, sessions = ready_to_mask()
    sent = uploads(sessions)
    with pytest.raises(SumVoid, match="expected kind 'masked'"):
        attempt.masked(NORTH, sealed(NORTH, body(sent[NORTH]), kind="update"))
    with pytest.raises(SumVoid, match="'site-01': expected sender 'site-01'"):
        attempt.masked(NORTH, sent[EAST])


def test_an_upload_of_a_site_outside_the_roster_is_refused() -> None:
    sessions = {name: ALL.open(name) for name in (EAST, NORTH)}
    attempt = at_coordinator(sessions, ROSTER, LENGTH)
    stray = Masked(receipt=b"", transcript=attempt.transcript.digest, values=VALUES[WEST]).pack()
    with pytest.raises(SumVoid, match="'site-03': not a member"):
        attempt.masked(WEST, sealed(WEST, stray))


def test_the_same_upload_again_changes_nothing_and_another_one_makes_the_sum_void() -> None:
    attempt, sessions = ready_to_mask()
    sent = uploads(sessions)
    for name in names(4):
        attempt.masked(name, sent[name])
        attempt.masked(name, sent[name])
    assert attempt.total().tolist() == ring_sum(VALUES.values()).tolist()
    second = Masked(receipt=b"", transcript=attempt.transcript.digest, values=VALUES[NORTH]).pack()
    with pytest.raises(SumVoid, match="two different uploads"):
        attempt.masked(NORTH, sealed(NORTH, second))
    with pytest.raises(SumVoid, match="two different uploads"):
        attempt.total()


def test_messages_that_come_too_late_are_a_fault_of_the_caller() -> None:
    attempt, sessions = ready_to_mask()
    with pytest.raises(UsageError, match="agreements of this attempt are closed"):
        attempt.agreed(EAST, sessions[EAST].ready)
    with pytest.raises(UsageError, match="length > 0"):
        SumRound(CONTEXT, keys=ROSTER, length=0)


def test_the_log_gets_the_digests_of_the_uploads() -> None:
    attempt, sessions = ready_to_mask()
    sent = uploads(sessions)
    for name in names(4):
        attempt.masked(name, sent[name])
    assert attempt.uploads == {name: digest(body(sent[name])) for name in names(4)}


# The auditor


def archived() -> tuple[list[bytes], list[bytes], dict[str, bytes]]:
    attempt, sessions = ready_to_mask()
    agreements, _ = unpack_messages(attempt.agreements_body())
    return readies(sessions), agreements, uploads(sessions)


def recomputed(
    readies: list[bytes], agreements: list[bytes], uploads: dict[str, bytes], *, keys: Roster = ROSTER
) -> Vector:
    return recompute_sum(
        CONTEXT,
        keys=keys,
        length=LENGTH,
        readies=readies,
        agreements=agreements,
        uploads=iter(uploads.items()),
    )


def test_an_auditor_computes_the_sum_again_from_the_archive() -> None:
    assert recomputed(*archived()).tolist() == ring_sum(VALUES.values()).tolist()


def test_an_archive_with_a_gap_or_a_change_is_refused() -> None:
    roster, agreements, sent = archived()
    with pytest.raises(SumVoid, match="'site-03': no upload"):
        recomputed(roster, agreements, {name: sent[name] for name in (EAST, NORTH, SOUTH)})
    with pytest.raises(TrustError, match="found nothing from 'site-00'"):
        recomputed(roster, agreements[1:], sent)
    with pytest.raises(TrustError, match="about another roster"):
        recomputed(roster[1:], agreements[1:], sent)
    with pytest.raises(SumVoid, match="body_digest"):
        recomputed(roster, agreements, sent | {WEST: sent[WEST][:-1] + b"?"})


def test_an_archive_under_keys_that_the_auditor_does_not_trust_is_refused() -> None:
    swapped = Consortium(keys={**ALL.keys, WEST: key(99)}).roster
    with pytest.raises(TrustError, match="signature"):
        recomputed(*archived(), keys=swapped)


def test_a_void_says_what_happens_next() -> None:
    error = SumVoid(replace(CONTEXT, round=7), {"b": "no upload", "a": "altered"})
    assert str(error) == "the sum of round 7 attempt 2 is void: 'a': altered; 'b': no upload"
    assert list(error.causes) == ["a", "b"]
    assert "stays charged" in error.advice
