"""A dishonest coordinator in a secure sum: whatever it hands out is refused before anything is masked."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.sums import (
    CONTEXT,
    OTHERS,
    agree,
    consortium,
    key,
    moved,
    names,
    readies,
)

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import canonical
from wardround.common.trust.agreement import CLASSIC, HYBRID, SUITES, EphemeralKeys
from wardround.common.trust.envelope import seal
from wardround.common.trust.masking import ring_sum
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import agreed_body, ready_body

ALL = consortium(4)
EAST, NORTH, SOUTH, WEST = names(4)


def fresh_ready(signer: int, name: str, **shares: bytes) -> bytes:
    """A `ready` message of anybody about any keys, properly signed."""
    public = replace(EphemeralKeys.draw(SUITES).public, **shares)
    return seal(key(signer), CONTEXT.header("ready", sender=name), ready_body(SUITES, public))


def test_an_approved_peer_is_needed_whatever_the_coordinator_says() -> None:
    sessions = ALL.sessions(approved=[EAST, NORTH, SOUTH])
    with pytest.raises(TrustError, match="'site-03' is not among the sites that this site approved"):
        sessions[EAST].agree(readies(sessions))


def test_a_stranger_is_refused() -> None:
    sessions = ALL.sessions()
    with pytest.raises(TrustError, match="'invented' is not among the sites that this site approved"):
        sessions[EAST].agree([*readies(sessions), fresh_ready(77, "invented")])


def test_the_coordinator_cannot_become_a_member() -> None:
    everybody = {name: signing.public for name, signing in ALL.keys.items()}
    session = SumSession.open(
        ALL.keys[EAST], EAST, CONTEXT, approved={**everybody, "coordinator": key(1).public}, least=2
    )
    with pytest.raises(TrustError, match="it is no member"):
        session.agree([session.ready, fresh_ready(1, "coordinator")])


def test_a_key_swapped_by_the_coordinator_is_refused() -> None:
    sessions = ALL.sessions()
    messages = readies(sessions)
    swapped = fresh_ready(77, NORTH)
    for forged in (swapped, _with_body(messages[1], swapped)):
        with pytest.raises(TrustError, match=r"signature does not belong|body_digest"):
            sessions[EAST].agree([messages[0], forged, *messages[2:]])


def _with_body(envelope: bytes, other: bytes) -> bytes:
    """The header and signature of one envelope before the body of another."""
    head, body = envelope.index(b"\n") + 65, other.index(b"\n") + 65
    return envelope[:head] + other[body:]


def test_a_site_that_is_there_twice_is_refused() -> None:
    sessions = ALL.sessions()
    again = ALL.open(NORTH)
    for second in (sessions[NORTH].ready, again.ready):
        with pytest.raises(TrustError, match="several of 'site-01'"):
            sessions[EAST].agree([*readies(sessions), second])


def test_one_key_approved_under_two_names_is_refused() -> None:
    with pytest.raises(TrustError, match="one key under two names"):
        SumSession.open(
            ALL.keys[EAST], EAST, CONTEXT, approved={"a": key(7).public, "b": key(7).public}, least=2
        )


@pytest.mark.parametrize("least", [3, 4])
def test_a_roster_short_of_the_sites_own_minimum_is_refused(least: int) -> None:
    sessions = ALL.sessions(least=least)
    messages = readies(sessions)
    with pytest.raises(TrustError, match=f"at least {least} members in the roster, found {least - 1}"):
        sessions[EAST].agree(messages[: least - 1])
    sessions[EAST].agree(messages[:least])


@pytest.mark.parametrize("least", [-1, 0, 1])
def test_a_sum_of_one_site_cannot_be_asked_for(least: int) -> None:
    with pytest.raises(UsageError, match="least >= 2"):
        ALL.open(EAST, least=least)


def test_a_roster_of_one_is_refused() -> None:
    session = ALL.open(EAST)
    with pytest.raises(TrustError, match="at least 2 members in a sum, found 1"):
        session.agree([session.ready])
    with pytest.raises(TrustError, match="found 0"):
        session.agree([])


@pytest.mark.parametrize("field", sorted(OTHERS))
def test_a_message_of_another_attempt_is_refused(field: str) -> None:
    sessions = ALL.sessions()
    replayed = ALL.open(NORTH, context=moved(field)).ready
    with pytest.raises(TrustError, match=f"expected {field} .* in an envelope"):
        sessions[EAST].agree([sessions[EAST].ready, replayed])


def test_a_message_to_another_coordinator_is_refused() -> None:
    sessions = ALL.sessions()
    other = ALL.open(NORTH, context=replace(CONTEXT, coordinator="another"))
    with pytest.raises(TrustError, match="expected receiver 'coordinator'"):
        sessions[EAST].agree([sessions[EAST].ready, other.ready])


def test_the_sites_own_message_must_be_in_the_roster() -> None:
    sessions = ALL.sessions()
    with pytest.raises(TrustError, match="this site's own message among all, found none of 'site-00'"):
        sessions[EAST].agree(readies(sessions)[1:])


def test_an_older_message_of_the_site_itself_is_refused() -> None:
    # Same attempt, asked twice: the coordinator kept the first answer.
    first, sessions = ALL.open(EAST), ALL.sessions()
    with pytest.raises(TrustError, match="own message as it was sent, found another one of 'site-00'"):
        sessions[EAST].agree([first.ready, *readies(sessions)[1:]])


def test_a_roster_of_messages_of_another_kind_is_refused() -> None:
    sessions = ALL.sessions()
    agreements = agree(sessions)
    with pytest.raises(TrustError, match="expected kind 'ready'"):
        ALL.open(EAST).agree(agreements)


@pytest.mark.parametrize(
    ("shares", "why"),
    [
        ({"x25519": bytes(32)}, "no secret can be agreed"),
        ({"x25519": (1).to_bytes(32, "little")}, "no secret can be agreed"),
        ({"mlkem": b"\xff" * 1184}, "no secret can be agreed"),
        ({"x25519": bytes(31)}, r"expected fresh keys of \(32, 1184\) bytes, found \(31, 1184\)"),
        ({"mlkem": b""}, r"found \(32, 0\)"),
    ],
)
def test_a_members_unusable_keys_are_refused_by_name(shares: dict[str, bytes], why: str) -> None:
    session = ALL.open(EAST)
    with pytest.raises(TrustError, match=why) as caught:
        session.agree([session.ready, fresh_ready(3, NORTH, **shares)])
    assert "'site-01'" in str(caught.value)


@pytest.mark.parametrize(
    "suites", [[], [CLASSIC, HYBRID], [HYBRID, HYBRID], ["rot13"], [HYBRID, "rot13"], "x25519", None, [[]]]
)
def test_suites_in_another_order_or_unknown_are_refused(suites: object) -> None:
    session = ALL.open(EAST)
    body = json.loads(ready_body(SUITES, EphemeralKeys.draw(SUITES).public)) | {"suites": suites}
    forged = seal(key(3), CONTEXT.header("ready", sender=NORTH), canonical(body))
    with pytest.raises(TrustError, match="known suites"):
        session.agree([session.ready, forged])


def test_a_second_roster_is_refused_and_the_first_gets_the_same_answer() -> None:
    sessions = ALL.sessions()
    messages = readies(sessions)
    first = sessions[EAST].agree(messages)
    assert sessions[EAST].agree(messages[::-1]) == first
    with pytest.raises(TrustError, match="a second roster"):
        sessions[EAST].agree(messages[:3])
    assert sessions[EAST].members == tuple(ALL.keys)


# The agreements


def test_two_rosters_are_noticed_before_anything_is_masked() -> None:
    sessions, again = ALL.sessions(), ALL.open(WEST)
    messages = readies(sessions)
    agreements = [session.agree(messages) for session in list(sessions.values())[:3]]
    fewer = sessions[WEST].agree(messages[:2] + messages[3:])
    other_keys = again.agree([*messages[:3], again.ready])
    for last in (fewer, other_keys):
        with pytest.raises(TrustError, match="the `agreed` message of 'site-03' is about another roster"):
            sessions[EAST].confirm([*agreements, last])
    with pytest.raises(UsageError, match="call confirm"):
        sessions[EAST].mask(np.zeros(1, np.uint32))


def test_another_suite_in_the_agreement_is_noticed() -> None:
    sessions = ALL.sessions()
    agreements = agree(sessions)
    downgraded = replace(sessions[WEST].roster, suite=CLASSIC)
    agreements[3] = seal(key(5), CONTEXT.header("agreed", sender=WEST), agreed_body(downgraded, {}))
    with pytest.raises(TrustError, match="'site-03' is about another roster"):
        sessions[EAST].confirm(agreements)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda sent: sent[:-1], "found nothing from 'site-03'"),
        (lambda sent: sent[1:], "found nothing from 'site-00'"),
        (lambda sent: [*sent, sent[2]], "several of 'site-02'"),
        (lambda sent: [], "found nothing from 'site-00'"),
        (lambda sent: [*sent[:3], sent[3][:-1] + b" "], "body_digest"),
        (lambda sent: [*sent[:3], seal(key(77), CONTEXT.header("agreed", sender=WEST), b"{}")], "signature"),
        (lambda sent: [*sent[:3], ALL.open(WEST).ready], "expected kind 'agreed'"),
    ],
)
def test_agreements_that_are_missing_doubled_or_altered_are_refused(change: object, why: str) -> None:
    sessions = ALL.sessions()
    agreements = agree(sessions)
    with pytest.raises(TrustError, match=why):
        sessions[EAST].confirm(change(agreements))  # type: ignore[operator]


def test_an_approved_site_outside_the_roster_cannot_agree_to_it() -> None:
    sessions = ALL.sessions()
    three = {name: sessions[name] for name in (EAST, NORTH, SOUTH)}
    agreements = agree(three)
    outsider = seal(key(5), CONTEXT.header("agreed", sender=WEST), agreed_body(three[EAST].roster, {}))
    with pytest.raises(TrustError, match="expected a member of the roster"):
        three[EAST].confirm([*agreements, outsider])


def test_a_tampered_ciphertext_breaks_the_signature() -> None:
    sessions = ALL.sessions()
    agreements = agree(sessions)
    at = agreements[0].index(b'"site-03":"') + 20
    changed = bytes([agreements[0][at] ^ 1])
    agreements[0] = agreements[0][:at] + changed + agreements[0][at + 1 :]
    for name in (EAST, WEST):
        with pytest.raises(TrustError, match="body_digest differs"):
            sessions[name].confirm(agreements)


@pytest.mark.parametrize(
    ("ciphertexts", "why"),
    [
        ({}, "one ciphertext for each of 2 greater names"),
        ({SOUTH: bytes(1088)}, "one ciphertext for each of 2"),
        ({SOUTH: bytes(1088), WEST: bytes(1088), EAST: bytes(1088)}, "one ciphertext for each of 2"),
        ({SOUTH: bytes(1088), WEST: bytes(1087)}, "ciphertexts of 1088 bytes"),
    ],
)
def test_missing_or_odd_ciphertexts_are_refused(ciphertexts: dict[str, bytes], why: str) -> None:
    sessions = ALL.sessions()
    agreements = agree(sessions)
    body = agreed_body(sessions[NORTH].roster, ciphertexts)
    agreements[1] = seal(key(3), CONTEXT.header("agreed", sender=NORTH), body)
    with pytest.raises(TrustError, match=why):
        sessions[EAST].confirm(agreements)


def test_another_agreement_of_the_site_itself_is_refused() -> None:
    sessions = ALL.sessions()
    agreements = agree(sessions)
    made = {peer: bytes(1088) for peer in (NORTH, SOUTH, WEST)}
    own = seal(key(2), CONTEXT.header("agreed", sender=EAST), agreed_body(sessions[EAST].roster, made))
    with pytest.raises(TrustError, match="own message as it was sent"):
        sessions[EAST].confirm([own, *agreements[1:]])


def test_a_second_set_of_agreements_is_refused() -> None:
    sessions = ALL.sessions()
    agreements = agree(sessions)
    sessions[EAST].confirm(agreements)
    sessions[EAST].confirm(agreements[::-1])
    made = {peer: bytes(1088) for peer in (SOUTH, WEST)}
    other = seal(key(3), CONTEXT.header("agreed", sender=NORTH), agreed_body(sessions[EAST].roster, made))
    with pytest.raises(TrustError, match="a second set of agreements"):
        sessions[EAST].confirm([agreements[0], other, *agreements[2:]])


def test_two_faced_members_spoil_the_sum_and_learn_nothing() -> None:
    # north signs two agreements, one for east, one for the rest: the transcripts differ, so no mask of east vanishes.
    sessions = ALL.sessions()
    agreements = agree(sessions)
    made = {peer: bytes(1088) for peer in (SOUTH, WEST)}
    other = seal(key(3), CONTEXT.header("agreed", sender=NORTH), agreed_body(sessions[EAST].roster, made))
    sessions[EAST].confirm([agreements[0], other, *agreements[2:]])
    for name in (NORTH, SOUTH, WEST):
        sessions[name].confirm(agreements)
    zeros = np.zeros(200, np.uint32)
    total = ring_sum(session.mask(zeros) for session in sessions.values())
    assert np.count_nonzero(total) > 190
