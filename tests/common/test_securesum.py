"""A site in a secure sum: masks cancel exactly, keys mask once, and a session goes on in another process."""

import copy
import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sums import (
    CONTEXT,
    Vector,
    agree,
    at_coordinator,
    confirmed,
    consortium,
    key,
    names,
    readies,
    some_values,
)

from wardround.common.errors import PrivacyError, StorageError, TrustError, UsageError
from wardround.common.formats import canonical
from wardround.common.trust.agreement import CLASSIC, HYBRID, SUITES, EphemeralKeys
from wardround.common.trust.masking import ring_sum
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumwire import Masked

ALL = consortium(4)
EAST, NORTH, SOUTH, WEST = names(4)


# Sums


@pytest.mark.parametrize("sites", range(2, 21))
@pytest.mark.parametrize("suite", SUITES)
def test_masks_cancel_in_the_sum_of_all(sites: int, suite: str) -> None:
    values = some_values(sites, 5)
    sessions = confirmed(sites, suites=[suite])
    masked = [session.mask(v) for session, v in zip(sessions.values(), values, strict=True)]
    assert ring_sum(masked).tolist() == [
        sum(map(int, column)) % 2**32 for column in zip(*values, strict=True)
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), st.integers(1, 12), st.data())
def test_any_vectors_add_up_exactly(sites: int, length: int, data: st.DataObject) -> None:
    rows = data.draw(
        st.lists(
            st.lists(st.integers(0, 2**32 - 1), min_size=length, max_size=length),
            min_size=sites,
            max_size=sites,
        )
    )
    sessions = confirmed(sites, suites=[CLASSIC])
    masked = [
        session.mask(np.array(row, np.uint32)) for session, row in zip(sessions.values(), rows, strict=True)
    ]
    assert ring_sum(masked).tolist() == [sum(column) % 2**32 for column in zip(*rows, strict=True)]


def test_no_part_of_the_members_has_their_sum() -> None:
    values = some_values(4, 50)
    masked = [session.mask(v) for session, v in zip(confirmed(4).values(), values, strict=True)]
    for size in (1, 2, 3):
        for chosen in itertools.combinations(range(4), size):
            partial = ring_sum(masked[i] for i in chosen)
            assert not np.isin(partial, ring_sum(values[i] for i in chosen)).any()


def test_the_order_of_messages_does_not_matter() -> None:
    sessions = ALL.sessions()
    forward = readies(sessions)
    agreements = [
        session.agree(order)
        for session, order in zip(sessions.values(), itertools.permutations(forward), strict=False)
    ]
    for session in sessions.values():
        session.confirm(agreements[::-1])
        agreements = [*agreements[1:], agreements[0]]
    total = ring_sum(session.mask(np.full(3, 5, np.uint32)) for session in sessions.values())
    assert total.tolist() == [20, 20, 20]


def test_sites_need_to_approve_only_the_members_of_their_roster() -> None:
    # east has approved everybody, north only these two.
    sessions = {EAST: ALL.open(EAST), NORTH: ALL.open(NORTH, approved=[EAST])}
    agreements = agree(sessions)
    for session in sessions.values():
        session.confirm(agreements)
    assert session.members == (EAST, NORTH)
    assert ring_sum(s.mask(np.full(1, 4, np.uint32)) for s in sessions.values()).tolist() == [8]


def test_the_suite_is_the_strongest_that_all_members_offer() -> None:
    sessions = ALL.sessions()
    agree(sessions)
    assert sessions[EAST].roster.suite == HYBRID
    mixed = {name: ALL.open(name, suites=[CLASSIC] if name == WEST else None) for name in ALL.keys}
    agree(mixed)
    assert mixed[EAST].roster.suite == CLASSIC


def test_a_site_can_require_the_hybrid() -> None:
    strict, west = ALL.open(EAST, suites=[HYBRID]), ALL.open(WEST, suites=[CLASSIC])
    for session in (strict, west):
        with pytest.raises(
            TrustError, match=r"share no suite: 'site-00' x25519\+ml-kem-768; 'site-03' x25519$"
        ):
            session.agree([strict.ready, west.ready])


# Once


def test_a_session_masks_once() -> None:
    session = confirmed(2)[EAST]
    session.mask(np.zeros(4, np.uint32))
    for again in (session.mask, session.upload):
        with pytest.raises(PrivacyError, match="masked a vector already"):
            again(np.ones(4, np.uint32))
    with pytest.raises(PrivacyError, match="masked a vector already"):
        session.agree([])
    with pytest.raises(PrivacyError, match="masked a vector already"):
        session.confirm([])


def test_a_used_session_holds_no_key_and_stays_used_in_a_file() -> None:
    session = confirmed(2)[EAST]
    before = json.loads(session.to_bytes())
    session.mask(np.zeros(4, np.uint32))
    after = session.to_bytes()
    assert json.loads(after)["keys"] is None
    for secret in (before["keys"]["x25519"], before["keys"]["mlkem"], *before["made"][NORTH]):
        assert secret.encode() not in after
    again = SumSession.from_bytes(after, ALL.keys[EAST])
    assert again.used
    assert again.ready == session.ready
    with pytest.raises(PrivacyError, match="masked a vector already"):
        again.mask(np.ones(4, np.uint32))


def test_a_refused_vector_leaves_the_session_unused() -> None:
    session = confirmed(2)[EAST]
    with pytest.raises(UsageError, match="vector of uint32"):
        session.mask(np.zeros(4, np.float64))
    assert not session.used
    session.mask(np.zeros(4, np.uint32))
    assert session.used


def test_nothing_is_masked_before_everybody_agreed() -> None:
    session = ALL.open(EAST)
    for step in (session.mask, session.upload):
        with pytest.raises(UsageError, match="call confirm"):
            step(np.zeros(1, np.uint32))
    with pytest.raises(UsageError, match="call agree"):
        session.confirm([])
    assert not session.used


def test_a_session_is_not_copied() -> None:
    session = ALL.open(EAST)
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(PrivacyError, match="not copied"):
            copier(session)


def test_another_key_for_the_sites_own_name_is_refused() -> None:
    with pytest.raises(TrustError, match="another key than its own"):
        SumSession.open(ALL.keys[EAST], EAST, CONTEXT, approved={EAST: key(7).public}, least=2)


def test_keys_are_fresh_for_every_attempt() -> None:
    bodies = {
        json.loads(session.ready.split(b"\n", 1)[1][64:])["x25519"]
        for session in (ALL.open(EAST) for _ in range(20))
    }
    assert len(bodies) == 20


def test_a_session_shows_no_secret() -> None:
    session = ALL.open(EAST)
    keys = json.loads(session.to_bytes())["keys"]
    for text in (repr(session), str(session), repr(EphemeralKeys.draw(SUITES))):
        assert keys["x25519"] not in text
        assert "b'" not in text


# Between two processes


def test_a_session_goes_on_in_another_process_at_every_step() -> None:
    values = some_values(3, 7)
    everybody = consortium(3)

    def moved_on(sessions: dict[str, SumSession]) -> dict[str, SumSession]:
        return {
            name: SumSession.from_bytes(s.to_bytes(), everybody.keys[name]) for name, s in sessions.items()
        }

    sessions = moved_on(everybody.sessions(least=3))
    first = agree(sessions)
    sessions = moved_on(sessions)
    assert agree(sessions) == first
    for session in sessions.values():
        session.confirm(first)
    sessions = moved_on(sessions)
    total = ring_sum(session.mask(v) for session, v in zip(sessions.values(), values, strict=True))
    assert total.tolist() == ring_sum(values).tolist()


def test_the_minimum_and_the_approvals_survive_the_file() -> None:
    session = ALL.open(EAST, approved=[NORTH, SOUTH], least=3)
    session = SumSession.from_bytes(session.to_bytes(), ALL.keys[EAST])
    with pytest.raises(TrustError, match="not among the sites that this site approved"):
        session.agree([session.ready, ALL.open(WEST).ready, ALL.open(NORTH).ready])
    with pytest.raises(TrustError, match="at least 3 members"):
        session.agree([session.ready, ALL.open(NORTH).ready])


def test_a_file_of_another_site_or_kind_is_refused() -> None:
    data = ALL.open(EAST).to_bytes()
    with pytest.raises(TrustError, match="another key than its own"):
        SumSession.from_bytes(data, ALL.keys[NORTH])
    for change in ({"version": 2}, {"format": "other"}):
        with pytest.raises(StorageError):
            SumSession.from_bytes(canonical(json.loads(data) | change), ALL.keys[EAST])


@pytest.mark.parametrize("wrong", [None, 1, "x", [1], [[]], {"a": 1}, {"a": [1]}, -1, True], ids=repr)
def test_a_field_of_another_type_is_refused_without_a_raw_exception(wrong: object) -> None:
    session = confirmed(2)[EAST]
    state = json.loads(session.to_bytes())
    for name in state.keys() - {"format", "version"}:
        if (name, wrong) == ("keys", None) or (name == "least" and type(wrong) is int and wrong > 0):
            continue  # what a used session says, and another minimum
        with pytest.raises(TrustError):
            SumSession.from_bytes(canonical(state | {name: wrong}), key(2))


@pytest.mark.parametrize(
    "change",
    [
        {"made": {}},
        {"keys": {"x25519": "AAAA", "mlkem": ""}},
        {"agreements": ["AAAA"]},
        {"readies": ["AAAA"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_damaged_state_is_refused_without_a_raw_exception(change: dict[str, object]) -> None:
    state = json.loads(confirmed(2)[EAST].to_bytes())
    with pytest.raises(TrustError):
        SumSession.from_bytes(canonical(state | change), key(2))


# Uploads


def test_an_upload_carries_receipt_transcript_and_vector_under_one_signature() -> None:
    sessions = consortium(2).sessions()
    attempt = at_coordinator(sessions, consortium(2).roster, 6)
    values = some_values(2, 6)
    uploads = {
        name: session.upload(v, receipt=name.encode())
        for (name, session), v in zip(sessions.items(), values, strict=True)
    }
    body = uploads[EAST].split(b"\n", 1)[1][64:]
    masked = Masked.unpack(body, 6)
    assert masked.receipt == EAST.encode()
    assert masked.transcript == attempt.transcript.digest == sessions[EAST].transcript.digest
    assert [attempt.masked(name, upload) for name, upload in uploads.items()] == [
        EAST.encode(),
        NORTH.encode(),
    ]
    assert attempt.total().tolist() == ring_sum(values).tolist()


def test_an_upload_is_hardly_longer_than_the_vector_in_float32() -> None:
    values: Vector = np.zeros(100_000, np.uint32)
    upload = confirmed(2)[EAST].upload(values, receipt=bytes(300))
    assert len(upload) <= 1.01 * values.astype(np.float32).nbytes


def test_the_length_of_an_upload_depends_on_the_length_of_the_vector_only() -> None:
    vectors = (np.zeros(50, np.uint32), np.full(50, 2**32 - 1, np.uint32), some_values(1, 50)[0])
    assert len({len(confirmed(3)[EAST].upload(vector)) for vector in vectors}) == 1
