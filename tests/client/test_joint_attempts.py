"""Attempts of a secure sum at a site: one charge and one upload each, nothing of one in another, and full disks."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.jointrogues import (
    NAMES,
    Hostile,
    book,
    declined,
    facing,
    home,
    joint_federation,
    kept,
    kinds,
    masked,
    outbox,
)

from wardround.client.site import REFUSALS
from wardround.client.sumdesk import SumDesk
from wardround.client.trainer import CohortTrainer
from wardround.common.formats import digest
from wardround.common.learning.exchange import DECLINED, FINISH, FINISHED, TASK
from wardround.common.learning.parameters import Parameters
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import OPEN, ROSTER
from wardround.common.trust.sumwire import Masked, pack_messages

Words = NDArray[np.uint32]
EAST, NORTH, SOUTH = NAMES


@pytest.fixture
def hostile(tmp_path: Path, quick_disk: None) -> Iterator[Hostile]:
    with facing(joint_federation(tmp_path, rounds=2, attempts=2)) as found:
        yield found


def test_an_honest_attempt_is_charged_once_and_the_same_bytes_are_resent(hostile: Hostile) -> None:
    agreements = hostile.agreements().values()
    first = hostile.order(NORTH, agreements)
    assert masked(hostile, first)
    assert kinds(hostile.made, NORTH) == ["spend", "settle"]
    assert book(hostile.made, NORTH)[-1].payload["update"] == digest(first)
    assert kept(hostile.made, NORTH) == ["1-1.reply"]  # the session is gone
    assert hostile.order(NORTH, agreements) == first
    assert hostile.order(NORTH, [], b"another body") == first
    assert kinds(hostile.made, NORTH) == ["spend", "settle"]


@pytest.mark.parametrize("moved", [{"round_": 2}, {"attempt": 2}])
def test_a_ready_of_an_earlier_attempt_or_round_is_declined(hostile: Hostile, moved: dict[str, Any]) -> None:
    earlier, now = hostile.open(), hostile.open(**moved)
    for stale in (SOUTH, NORTH):
        body = pack_messages([*{**now, stale: earlier[stale]}.values()])
        reply = hostile.ask(NORTH, ROSTER, body, **moved)
        assert "expected " + next(iter(moved)).strip("_") in declined(hostile, NORTH, reply)


def test_a_roster_and_a_task_of_an_earlier_attempt_are_declined(hostile: Hostile) -> None:
    readies = hostile.open().values()
    agreements = hostile.propose(NAMES, readies).values()
    hostile.open(attempt=2)
    body = pack_messages(list(readies))
    assert "no secure sum is open" in declined(hostile, NORTH, hostile.ask(NORTH, ROSTER, body))
    assert "no secure sum is open" in declined(hostile, NORTH, hostile.order(NORTH, agreements))


def test_an_attempt_is_opened_again_with_the_same_keys_until_it_is_answered(hostile: Hostile) -> None:
    first = hostile.open()
    assert hostile.open() == first
    hostile.order(NORTH, hostile.propose(NAMES, first.values()).values())
    envelope = hostile.read(hostile.ask(NORTH, OPEN))
    assert envelope.header.kind == DECLINED
    assert kinds(hostile.made, NORTH) == ["spend", "settle"]


def test_an_earlier_attempt_is_not_opened_after_a_later_one_was_charged(hostile: Hostile) -> None:
    hostile.order(NORTH, hostile.agreements(round_=2).values(), round_=2)
    for round_, attempt in ((1, 1), (1, 2), (2, 1)):
        envelope = hostile.read(hostile.ask(NORTH, OPEN, round_=round_, attempt=attempt))
        assert envelope.header.kind == DECLINED
    assert kinds(hostile.made, NORTH) == ["spend", "settle"]


def test_two_attempts_have_other_keys_other_noise_and_two_charges(hostile: Hostile) -> None:
    readies, uploads = [], []
    for attempt in (1, 2):
        found = hostile.open(attempt=attempt)
        readies.append(found[NORTH])
        agreements = hostile.propose(NAMES, found.values(), attempt=attempt).values()
        sent = {site: hostile.order(site, agreements, attempt=attempt) for site in NAMES}
        uploads.append([Masked.unpack(masked(hostile, sent[site]).body, 4).values for site in NAMES])
    assert hostile.read(readies[0]).body != hostile.read(readies[1]).body
    assert not set(uploads[0][1].tolist()) & set(uploads[1][1].tolist())
    first, second = (np.sum(vectors, axis=0, dtype=np.uint32) for vectors in uploads)
    assert not np.array_equal(first, second)  # the masks are gone: what differs is the noise
    assert kinds(hostile.made, NORTH) == ["spend", "settle", "spend", "settle"]


def test_a_server_cannot_have_more_attempts_than_were_reserved(hostile: Hostile) -> None:
    moments = [(round_, attempt) for round_ in (1, 2) for attempt in (1, 2)]
    for round_, attempt in moments:
        agreements = hostile.agreements(round_=round_, attempt=attempt).values()
        for site in NAMES:
            assert masked(hostile, hostile.order(site, agreements, round_=round_, attempt=attempt))
    for round_, attempt in ((2, 3), (3, 1)):
        envelope = hostile.read(hostile.ask(NORTH, OPEN, round_=round_, attempt=attempt))
        assert envelope.header.kind == DECLINED
    assert kinds(hostile.made, NORTH) == ["spend", "settle"] * 4
    assert kept(hostile.made, NORTH) == ["2-2.reply"]


@pytest.mark.parametrize(
    ("round_", "attempt"),
    [(0, 1), (1, 0), (1, 3), (3, 1), (10**300, 1), (1, 10**300)],
    ids=["round 0", "attempt 0", "attempt 3", "round 3", "absurd round", "absurd attempt"],
)
@pytest.mark.parametrize("kind", [OPEN, ROSTER, TASK])
def test_an_attempt_that_the_protocol_does_not_have_is_declined(
    hostile: Hostile, kind: str, round_: int, attempt: int
) -> None:
    """A round of three hundred digits was charged, could be no file's name, and no study came after it."""
    reply = hostile.ask(NORTH, kind, round_=round_, attempt=attempt)
    assert "expected a round of 1 to 2 and an attempt of 1 to 2" in declined(hostile, NORTH, reply)


def test_the_end_of_a_study_removes_the_keys_of_an_open_attempt(hostile: Hostile) -> None:
    hostile.agreements()
    assert kept(hostile.made, NORTH) == [".session"]
    envelope = hostile.read(hostile.ask(NORTH, FINISH))
    assert envelope.header.kind == FINISHED
    assert kept(hostile.made, NORTH) == []
    assert hostile.read(hostile.ask(NORTH, OPEN)).header.kind == DECLINED
    last = (home(hostile.made, NORTH).folder / REFUSALS).read_text().splitlines()[-1]
    assert "no open reservation" in json.loads(last)["reason"]


def test_a_damaged_session_costs_its_attempt_and_no_other(hostile: Hostile) -> None:
    agreements = hostile.agreements().values()
    (path,) = outbox(hostile.made, NORTH).iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-9], b"", whole.replace(b'"made"', b'"mode"')):
        path.write_bytes(damaged)
        assert "TrustError" in declined(hostile, NORTH, hostile.order(NORTH, agreements))
    agreements = hostile.agreements(attempt=2).values()
    assert masked(hostile, hostile.order(NORTH, agreements, attempt=2))


def test_charged_before_patients_are_read_and_keys_gone_before_anything_is_masked(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreements = hostile.agreements().values()
    seen: dict[str, tuple[list[str], list[str]]] = {}
    share, mask = CohortTrainer.share, SumSession.mask

    def watched_share(self: CohortTrainer, base: Parameters, round_: int, *, sites: int) -> Words:
        seen["share"] = kinds(hostile.made, NORTH), kept(hostile.made, NORTH)
        return share(self, base, round_, sites=sites)

    def watched_mask(self: SumSession, values: Words) -> Words:
        seen["mask"] = kinds(hostile.made, NORTH), kept(hostile.made, NORTH)
        return mask(self, values)

    monkeypatch.setattr(CohortTrainer, "share", watched_share)
    monkeypatch.setattr(SumSession, "mask", watched_mask)
    assert masked(hostile, hostile.order(NORTH, agreements))
    assert seen == {"share": (["spend"], [".session"]), "mask": (["spend"], [])}


def test_a_site_that_failed_after_its_charge_gets_it_back_with_the_next_attempt(
    hostile: Hostile, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreements = hostile.agreements().values()
    with monkeypatch.context() as patch:
        patch.setattr(SumDesk, "forget", lambda self: 1 / 0)
        assert hostile.read(hostile.order(NORTH, agreements)).header.kind == DECLINED
    assert kinds(hostile.made, NORTH) == ["spend"]
    hostile.open(attempt=2)
    assert kinds(hostile.made, NORTH) == ["spend", "return"]
    assert hostile.read(hostile.order(NORTH, agreements)).header.kind == DECLINED  # the attempt is over
    agreements = hostile.agreements(attempt=2).values()
    assert masked(hostile, hostile.order(NORTH, agreements, attempt=2))
    assert kinds(hostile.made, NORTH) == ["spend", "return", "spend", "settle"]


def test_a_session_is_for_its_owner_only(hostile: Hostile) -> None:
    hostile.open()
    (path,) = outbox(hostile.made, NORTH).iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    hostile.agreements()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


class FullDisk:
    """A disk that is full from one write on."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        self.refused = 0
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            self.left -= 1
            if self.left < 0:
                self.refused += 1
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        patch.setattr(os, "write", write)


def test_a_full_disk_at_any_step_costs_no_more_than_the_attempt(
    tmp_path: Path, quick_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = after = 0
    while True:
        made = joint_federation(tmp_path / str(after), rounds=2, attempts=2)
        with facing(made) as hostile:
            with monkeypatch.context() as patch:
                disk = FullDisk(patch, after)
                uploads = attempt(hostile, 1)
            refused += disk.refused > 0
            settled = [site for site in NAMES if kinds(made, site)[-1:] == ["settle"]]
            assert set(uploads) <= set(settled), after
            assert sorted(attempt(hostile, 2)) == sorted(NAMES), after
        if not disk.refused:
            break
        after += 1
    assert refused == after > 20
    assert sorted(uploads) == sorted(NAMES)


def attempt(hostile: Hostile, number: int) -> list[str]:
    """The sites that let a masked upload go in one attempt."""
    ready = [hostile.ask(site, OPEN, attempt=number) for site in NAMES]
    agreed = [hostile.ask(site, ROSTER, pack_messages(ready), attempt=number) for site in NAMES]
    replies = {site: hostile.order(site, agreed, attempt=number) for site in NAMES}
    return [site for site, reply in replies.items() if reply and hostile.read(reply).header.kind == "masked"]
