"""One attempt at the coordinator, without Flower: what is taken, what is noted, and when there is a sum."""

from dataclasses import replace

import numpy as np
import pytest
from tests.studies import RUN, WIDTH, joint_protocol, keys_and_roster

from wardround.common.errors import PrivacyError
from wardround.common.formats import digest
from wardround.common.learning.exchange import DECLINED, Receipt, refusal
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import parameters_digest, to_vector
from wardround.common.learning.study import RoundTask, summed_values
from wardround.common.privacy.jointnoise import grid_of
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Header, seal
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import AGREED, MASKED, READY, SumContext
from wardround.common.trust.sumwire import unpack_messages
from wardround.server.admission import Refused
from wardround.server.jointround import JointRound, check_sums

PROTOCOL = joint_protocol()
NAMES = ("east", "north", "south")
BASE = initial(PROTOCOL, WIDTH)
TASK = RoundTask(round=1, attempt=1, base=BASE, base_model=parameters_digest(BASE))
SIZE = to_vector(BASE).size
KEYS, ROSTER = keys_and_roster(*NAMES)
RECEIPT = Receipt(event=PROTOCOL.event(), ledger_seq=3, ledger_head=digest(b"head"))


def all_sessions() -> dict[str, SumSession]:
    """All sites, trusting each other."""
    context = SumContext(
        study=PROTOCOL.study.name,
        protocol_digest=PROTOCOL.digest,
        run=RUN,
        round=1,
        attempt=1,
        base_model=TASK.base_model,
        coordinator="coordinator",
    )
    return {
        name: SumSession.open(KEYS[name], name, context, approved=ROSTER.sites, least=2) for name in NAMES
    }


def at_ready(*names: str, fewest: int = 3) -> tuple[JointRound, dict[str, SumSession]]:
    attempt = JointRound(PROTOCOL, ROSTER, TASK, run=RUN, fewest=fewest)
    sessions = {name: session for name, session in all_sessions().items() if name in names}
    for name, session in sessions.items():
        attempt.take(READY, name, session.ready)
    return attempt, sessions


def at_task(*names: str, fewest: int = 3) -> tuple[JointRound, dict[str, SumSession]]:
    attempt, sessions = at_ready(*(names or NAMES), fewest=fewest)
    roster, _ = unpack_messages(attempt.roster_body())
    for name, session in sessions.items():
        attempt.take(AGREED, name, session.agree(roster))
    agreements, _ = unpack_messages(attempt.agreements_body())
    for session in sessions.values():
        session.confirm(agreements)
    return attempt, sessions


def upload(session: SumSession, *values: int, receipt: Receipt = RECEIPT) -> bytes:
    said = {"receipt": receipt.digest}
    return session.upload(np.array(values, np.uint32), receipt=receipt.to_bytes(), said=said)


def asked(name: str, kind: str) -> Header:
    return Header(
        kind=kind,
        study=PROTOCOL.study.name,
        protocol_digest=PROTOCOL.digest,
        run=RUN,
        round=1,
        attempt=1,
        sender=name,
        receiver="coordinator",
        base_model=TASK.base_model,
    )


def declined(name: str) -> bytes:
    return seal(KEYS[name], asked(name, DECLINED), refusal("0badcafe"))


def test_the_sum_is_that_of_all_members_in_units_of_the_gradient() -> None:
    attempt, sessions = at_task()
    for number, (name, session) in enumerate(sessions.items(), start=1):
        attempt.take(MASKED, name, upload(session, number, 10 * number, 0, 2**32 - number))
    total = attempt.total()
    assert total is not None
    step = grid_of(PROTOCOL.privacy, sites=3, coordinates=SIZE).step
    assert total.tolist() == [6 * step, 60 * step, 0.0, -6 * step]
    assert attempt.refused == {}
    assert set(attempt.receipts) == set(NAMES)
    assert set(attempt.record()) == {"members", "suite", "roster", "transcript", "sum"}


def test_too_few_ready_sites_close_no_roster() -> None:
    attempt, _ = at_ready("east", "north")
    assert attempt.roster_body() == b""
    assert attempt.members == ()
    assert attempt.agreements_body() == b""
    assert attempt.total() is None
    assert attempt.record() == {}


def test_whoever_is_not_ready_is_left_out() -> None:
    attempt, _ = at_task("east", "south", fewest=2)
    assert attempt.members == ("east", "south")


def test_a_refusal_is_noted_with_its_reference_and_no_digest() -> None:
    attempt, _ = at_ready("east", "south")
    attempt.take(READY, "north", declined("north"))
    assert attempt.refused == {"north": "declined, reference 0badcafe"}
    assert attempt.rejected == {}
    attempt.take(READY, "north", Refused(reason="too late"))
    assert attempt.refused == {"north": "declined, reference 0badcafe"}  # the first word stands


def test_a_refusal_after_the_roster_voids_the_attempt() -> None:
    attempt, sessions = at_task()
    for name in ("east", "south"):
        attempt.take(MASKED, name, upload(sessions[name], 1, 1, 1, 1))
    attempt.take(MASKED, "north", declined("north"))
    assert attempt.total() is None
    assert attempt.refused == {"north": "declined, reference 0badcafe"}
    assert set(attempt.receipts) == {"east", "south"}
    assert set(attempt.record()) == {"members", "suite", "roster", "transcript"}


def test_a_missing_upload_is_named() -> None:
    attempt, sessions = at_task()
    for name in ("east", "south"):
        attempt.take(MASKED, name, upload(sessions[name], 1, 1, 1, 1))
    assert attempt.total() is None
    assert attempt.refused == {"north": "no upload"}


def test_a_missing_agreement_is_named_and_nobody_gets_a_task() -> None:
    attempt, sessions = at_ready(*NAMES)
    roster, _ = unpack_messages(attempt.roster_body())
    for name in ("east", "south"):
        attempt.take(AGREED, name, sessions[name].agree(roster))
    assert attempt.agreements_body() == b""
    assert attempt.refused == {"north": "did not agree to the roster"}
    assert attempt.total() is None


JUNK = (b"", b"\x00" * 300, b"{}\n" + bytes(64), seal(KEYS["north"], asked("north", "present"), b"?"))


@pytest.mark.parametrize("reply", JUNK, ids=["empty", "zeros", "unsigned", "another kind"])
@pytest.mark.parametrize("kind", [READY, AGREED, MASKED])
def test_what_is_not_acceptable_is_noted_with_its_digest_and_never_raised(kind: str, reply: bytes) -> None:
    if kind == READY:
        attempt, _ = at_ready("east", "south")
    elif kind == AGREED:
        attempt, _ = at_ready(*NAMES)
        attempt.roster_body()
    else:
        attempt, _ = at_task()
    attempt.take(kind, "north", reply)
    assert set(attempt.refused) == {"north"}
    assert attempt.rejected == {"north": digest(reply)}
    assert attempt.total() is None


def test_another_price_voids_the_attempt() -> None:
    attempt, sessions = at_task()
    cheap = replace(RECEIPT, event=joint_protocol(noise=9.0).event())
    for name in NAMES:
        receipt = cheap if name == "north" else RECEIPT
        attempt.take(MASKED, name, upload(sessions[name], 1, 1, 1, 1, receipt=receipt))
    assert attempt.total() is None
    assert "another event" in attempt.refused["north"]


def test_a_sum_beyond_what_patients_can_add_up_to_is_void() -> None:
    grid = grid_of(PROTOCOL.privacy, sites=3, coordinates=SIZE)
    most = round(grid.largest / grid.step)
    assert 1.2 * most < 2**31
    for value, counts in ((most, True), (round(1.2 * most), False), (2**32 - round(1.2 * most), False)):
        attempt, sessions = at_task()
        for name in NAMES:
            attempt.take(MASKED, name, upload(sessions[name], 0, 0, value if name == "east" else 0, 0))
        assert (attempt.total() is not None) == counts
        assert set(attempt.refused) == (set() if counts else set(NAMES))
        assert set(attempt.receipts) == set(NAMES)  # they stay charged, and the log says so


@pytest.mark.parametrize("protocol", [joint_protocol(noise=1e-4), joint_protocol(noise=1e8)])
def test_a_study_whose_sums_no_grid_can_hold_is_refused_before_anybody_is_asked(
    protocol: StudyProtocol,
) -> None:
    check_sums(PROTOCOL, BASE, sites=3)
    with pytest.raises(PrivacyError):
        check_sums(protocol, BASE, sites=3)


def test_the_length_of_a_sum_is_that_of_the_model() -> None:
    assert summed_values(PROTOCOL, BASE, 1) == WIDTH + 1
