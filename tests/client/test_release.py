"""The release door: what it reserves, charges, keeps and refuses. The order on disk is in `test_release_order`."""

import stat
from pathlib import Path

import pytest
from tests.doors import DELTA, MODEL, REPLY, STUDY, Site, price, release, steps
from tests.studies import RUN, renamed, small_protocol

from wardround.client.policy import CohortKind
from wardround.common.errors import PolicyRefusal, PrivacyError, TrustError
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import NonPrivate


def test_a_cap_of_exactly_the_price_allows_the_study(tmp_path: Path) -> None:
    with Site(tmp_path, cap=price(8)).open() as (door, ledger):
        door.reserve(STUDY)
        assert steps(ledger.exposure()) == 8


def test_a_cap_one_digit_below_the_price_refuses_and_reserves_nothing(tmp_path: Path) -> None:
    with Site(tmp_path, cap=price(8) - 1e-4).open() as (door, ledger):
        with pytest.raises(PolicyRefusal, match=r"lifetime cap is .* and 0 is in use"):
            door.reserve(STUDY)
        assert ledger.exposure() == []


def test_an_open_reservation_counts_in_full_and_a_closed_one_as_spent(tmp_path: Path) -> None:
    other = renamed(STUDY, "other")
    with Site(tmp_path, cap=price(9)).open() as (door, ledger):
        door.reserve(STUDY)
        release(door, 1, 1)
        with pytest.raises(PolicyRefusal):  # 8 reserved and 8 asked
            door.reserve(other)
        door.close(STUDY)
        door.reserve(other)  # 1 spent and 8 asked
        assert steps(ledger.exposure()) == 9


@pytest.mark.parametrize("cohort", ["public", "synthetic"])
def test_patients_that_anybody_may_read_have_no_cap(tmp_path: Path, cohort: CohortKind) -> None:
    with Site(tmp_path, cohort=cohort, cap=1e-3).open() as (door, ledger):
        door.reserve(STUDY)
        assert steps(ledger.exposure()) == 8


def test_reserving_again_adds_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, cap=price(8))
    for _ in range(2):
        with site.open() as (door, ledger):
            door.reserve(STUDY)
            door.reserve(STUDY)
            assert steps(ledger.exposure()) == 8


def test_a_finished_study_is_not_reserved_again_by_itself(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        door.close(STUDY)
        with pytest.raises(PrivacyError, match="finished"):
            door.reserve(STUDY)
        assert ledger.exposure() == []


def test_a_study_that_begins_anew_pays_on_top_of_what_it_spent(tmp_path: Path) -> None:
    with Site(tmp_path, cap=price(10)).open() as (door, ledger):
        door.reserve_anew(STUDY)
        release(door, 1, 1)
        release(door, 2, 1)
        door.reserve_anew(STUDY)  # the first run was abandoned; 2 spent and 8 asked
        assert steps(ledger.exposure()) == 10
        release(door, 1, 1, run=RUN[::-1])
        assert steps(ledger.spent()) == 3


def test_a_study_that_may_not_begin_anew_stays_closed(tmp_path: Path) -> None:
    with Site(tmp_path, cap=price(9)).open() as (door, ledger):
        door.reserve_anew(STUDY)
        release(door, 1, 1)
        release(door, 1, 2)
        with pytest.raises(PolicyRefusal):  # 2 spent and 8 asked
            door.reserve_anew(STUDY)
        assert not ledger.has_open(STUDY.study.name, STUDY.digest)
        assert steps(ledger.exposure()) == 2
        with pytest.raises(PrivacyError):
            door.charge(STUDY, 2, 1, MODEL, run=RUN)


def test_nothing_is_charged_without_a_reservation(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        with pytest.raises(PrivacyError, match="no reservation"):
            door.charge(STUDY, 1, 1, MODEL, run=RUN)
        assert ledger.spent() == []


def test_an_attempt_that_was_charged_and_not_answered_is_charged_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    receipts = []
    for _ in range(2):
        with site.open() as (door, ledger):
            door.reserve(STUDY)
            receipts.append(door.charge(STUDY, 1, 1, MODEL, run=RUN))
            assert steps(ledger.spent()) == 1
    assert receipts[0] == receipts[1]


def test_a_receipt_names_the_ledgers_entry_of_the_charge(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        receipt = door.charge(STUDY, 1, 1, MODEL, run=RUN)
        assert (receipt.ledger_seq, receipt.ledger_head) == ledger.head
        assert receipt.event == STUDY.event()


def test_an_answered_attempt_is_never_charged_or_answered_anew(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        assert door.let_go(STUDY, 1, 1, REPLY) == REPLY
        with pytest.raises(TrustError):
            door.charge(STUDY, 1, 1, MODEL, run=RUN)
        assert door.sent(STUDY, 1, 1) == REPLY
        assert steps(ledger.spent()) == 1


def test_a_reply_is_kept_for_its_owner_only_and_the_one_before_is_dropped(tmp_path: Path) -> None:
    site, other = Site(tmp_path), renamed(STUDY, "other")
    with site.open() as (door, _):
        for protocol in (other, STUDY):
            door.reserve(protocol)
            door.charge(protocol, 1, 1, MODEL, run=RUN)
            door.let_go(protocol, 1, 1, REPLY)
        door.charge(STUDY, 1, 2, MODEL, run=RUN)
        door.let_go(STUDY, 1, 2, b"the next reply")
    assert site.kept() == {
        f"{STUDY.digest[:16]}-1-2.reply": b"the next reply",
        f"{other.digest[:16]}-1-1.reply": REPLY,
    }
    modes = {stat.S_IMODE(path.stat().st_mode) for path in site.outbox.iterdir()}
    assert modes == {0o600}


def test_a_reply_that_was_kept_and_never_left_is_not_sent_later(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
    (site.outbox / f"{STUDY.digest[:16]}-1-1.reply").write_bytes(b"a crash fell before its settlement")
    with site.open() as (door, _):
        assert door.sent(STUDY, 1, 1) is None
        assert door.let_go(STUDY, 1, 1, REPLY) == REPLY
        assert door.sent(STUDY, 1, 1) == REPLY


def test_a_reply_without_a_charge_does_not_leave(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        with pytest.raises(PrivacyError):
            door.let_go(STUDY, 1, 1, REPLY)
        door.reserve(STUDY)
        with pytest.raises(TrustError):
            door.let_go(STUDY, 1, 1, REPLY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        with pytest.raises(TrustError):
            door.let_go(STUDY, 1, 2, REPLY)
        assert ledger.settled(STUDY.study.name, STUDY.digest, 1, 1) is None


def test_a_lost_or_changed_outbox_is_named_and_never_replaced(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        door.let_go(STUDY, 1, 1, REPLY)
        (kept,) = site.outbox.iterdir()
        for damage in (lambda: kept.write_bytes(REPLY + b"!"), kept.unlink):
            damage()
            with pytest.raises(TrustError, match="round 1, attempt 1 was answered"):
                door.sent(STUDY, 1, 1)
        with pytest.raises(TrustError):
            door.let_go(STUDY, 1, 1, b"fresh noise under an old charge")


OPEN = small_protocol(rounds=4)


def test_a_release_without_privacy_is_charged_once_and_kept_nowhere(tmp_path: Path) -> None:
    site = Site(tmp_path, cohort="synthetic")
    with site.open() as (door, ledger):
        door.reserve(OPEN)
        for moment in ((1, 1), (2, 1), (2, 1), (1, 1)):
            door.charge(OPEN, *moment, MODEL, run=RUN)
            assert door.let_go(OPEN, *moment, REPLY) == REPLY
            assert door.sent(OPEN, *moment) is None
        assert ledger.spent() == [NonPrivate()]
    assert site.kept() == {}


def test_a_private_study_of_the_same_name_does_not_pay_for_one_without_privacy(tmp_path: Path) -> None:
    """Its charges once made a release without privacy free."""
    assert OPEN.study.name == STUDY.study.name
    with Site(tmp_path, cohort="synthetic").open() as (door, ledger):
        door.reserve(STUDY)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        door.reserve(OPEN)
        door.charge(OPEN, 1, 1, MODEL, run=RUN)
        assert epsilon(ledger.spent(), DELTA) == float("inf")


def test_a_finished_study_without_privacy_is_not_answered_either(tmp_path: Path) -> None:
    with Site(tmp_path, cohort="synthetic").open() as (door, _):
        door.reserve(OPEN)
        door.charge(OPEN, 1, 1, MODEL, run=RUN)
        door.close(OPEN)
        with pytest.raises(PrivacyError, match="finished"):
            door.charge(OPEN, 1, 1, MODEL, run=RUN)


def test_closing_what_was_never_open_is_no_error(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.close(STUDY)
        assert ledger.spent() == []
