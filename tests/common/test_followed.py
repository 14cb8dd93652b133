"""A witness's own copy: what it takes, what it refuses, and what is left of it after a crash at any byte."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.crashes import Acknowledge, crash_points
from tests.enrolling import key
from tests.studies import RUN

from wardround.common.audit.followed import LOG, FollowedLog
from wardround.common.audit.logwire import Page
from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import digest
from wardround.common.trust.checkpoint import Checkpoint, SignedCheckpoint, cosign, origin, sign
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import utc_now
from wardround.common.trust.studylog import StudyLog

PROTOCOL = digest(b"the protocol")
COORDINATOR, EAST, STRANGER = key(9), key(1), key(7)


def lines(folder: Path, *, count: int = 6, study: str = "brca", signer: int = 9) -> list[bytes]:
    """A log: its protocol and some rounds."""
    log = StudyLog(folder / f"source-{study}-{signer}.jsonl", key(signer))
    first = log.append("protocol", {"digest": PROTOCOL, "name": study, "run": RUN})
    return [first.line, *(log.append("round", {"round": number}).line for number in range(count - 1))]


def signed(of: list[bytes], *, study: str = "brca", signer: int = 9) -> SignedCheckpoint:
    checkpoint = Checkpoint(origin=origin(study, PROTOCOL, RUN), size=len(of), root=Tree(of).root())
    return sign(key(signer), checkpoint)


def copy(folder: Path) -> FollowedLog:
    return FollowedLog(
        folder / "copy", "brca", coordinator=COORDINATOR.public, cosigners={"east": EAST.public}
    )


def page(start: int, of: list[bytes]) -> Page:
    return Page(start=start, lines=tuple(of))


def test_lines_are_kept_once_a_checkpoint_covers_them(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    assert log.take(page(0, whole)) is None
    assert not (tmp_path / "copy" / LOG).exists()
    assert log.take(signed(whole[:4])) == signed(whole[:4])
    assert (tmp_path / "copy" / LOG).read_bytes().splitlines() == whole[:4]
    again = copy(tmp_path)
    assert (again.size, again.remembered) == (4, signed(whole[:4]))
    again.take(page(4, whole[4:]))
    assert again.take(signed(whole)) == signed(whole)
    assert (tmp_path / "copy" / LOG).read_bytes().splitlines() == whole


def test_a_checkpoint_that_is_not_newer_gives_nothing(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    log.take(page(0, whole))
    log.take(signed(whole))
    assert log.take(signed(whole)) is None
    assert log.take(signed(whole[:3])) is None
    assert log.remembered == signed(whole)


def test_cosignatures_of_known_parties_are_named(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    log.take(page(0, whole))
    both = signed(whole).with_signatures(
        [cosign(one, signed(whole).checkpoint, time=utc_now()) for one in (EAST, STRANGER)]
    )
    assert log.cosigned(both) == ("east",)


def test_a_log_with_another_root_is_a_fork_and_kept_as_evidence(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    log.take(page(0, whole))
    fork = signed([*whole[:-1], b"another line"])
    with pytest.raises(TrustError, match="the coordinator signed two different logs of 6 lines"):
        log.take(fork)
    assert (tmp_path / "copy" / "refused-6.note").read_bytes() == fork.encode()
    assert log.remembered is None


def test_what_the_coordinator_did_not_sign_is_evidence_of_nothing_and_is_not_kept(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    for forged in (signed(whole, signer=7), replace(signed(whole), signatures=signed(whole[:3]).signatures)):
        with pytest.raises(TrustError):
            log.set_aside(forged)
        assert not list((tmp_path / "copy").glob("refused-*"))
    log.set_aside(signed(whole, study="other"))
    assert (tmp_path / "copy" / "refused-6.note").read_bytes() == signed(whole, study="other").encode()


def changed(line: bytes) -> bytes:
    """With another letter within its payload."""
    return line[:40] + (b"B" if line[40:41] == b"A" else b"A") + line[41:]


@pytest.mark.parametrize("kept", [0, 3])
def test_a_line_that_was_changed_left_out_or_signed_by_a_stranger_is_refused(
    tmp_path: Path, kept: int
) -> None:
    whole, strange = lines(tmp_path), lines(tmp_path, signer=7)
    for wrong in (
        changed(whole[kept]),
        whole[kept + 1],
        strange[kept],
        whole[kept][:-1],
        whole[kept] + b" ",
        b"{}",
        b"",
    ):
        log = copy(tmp_path)
        if kept:
            log.take(page(0, whole[:kept]))
        with pytest.raises((TrustError, StorageError)):
            log.take(page(kept, [wrong]))


def test_a_page_from_elsewhere_is_refused(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    with pytest.raises(TrustError, match="expected line 1 from the log service, found 2"):
        log.take(page(1, whole[1:]))


def test_a_checkpoint_is_refused_before_its_lines_by_a_stranger_or_of_another_study(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    with pytest.raises(TrustError, match="expected the lines of the log before their checkpoint"):
        log.take(signed(whole))
    log.take(page(0, whole[:5]))
    with pytest.raises(TrustError, match="expected a checkpoint of at most 5 lines, found one of 6"):
        log.take(signed(whole))
    with pytest.raises(TrustError, match="did not sign this checkpoint"):
        log.take(signed(whole[:5], signer=7))
    with pytest.raises(TrustError, match="expected a checkpoint of wardround/brca"):
        log.take(signed(whole[:5], study="other"))


def test_the_log_of_another_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="expected a log that begins with the protocol of 'brca'"):
        copy(tmp_path).take(page(0, lines(tmp_path, study="other")))


def test_a_copy_that_is_behind_what_it_remembers_is_refused(tmp_path: Path) -> None:
    whole, log = lines(tmp_path), copy(tmp_path)
    log.take(page(0, whole))
    log.take(signed(whole))
    path = tmp_path / "copy" / LOG
    path.write_bytes(b"\n".join(whole[:3]) + b"\n")
    with pytest.raises(TrustError, match="expected at least 6 lines"):
        copy(tmp_path)
    path.write_bytes(b"\n".join([changed(whole[0]), *whole[1:]]) + b"\n")
    with pytest.raises(TrustError):
        copy(tmp_path)


def test_after_a_crash_at_any_byte_nothing_that_was_given_out_is_forgotten(tmp_path: Path) -> None:
    whole = lines(tmp_path, count=5)

    def action(folder: Path, acknowledge: Acknowledge) -> None:
        log = copy(folder)
        for start, end in ((0, 2), (2, 5)):  # half of three lines is torn
            log.take(page(start, whole[start:end]))
            if log.take(signed(whole[:end])):
                acknowledge(str(end))

    (tmp_path / "crashes").mkdir()
    for crash in crash_points(tmp_path / "crashes", action):
        log = copy(crash.folder)
        given = int(crash.acknowledged[-1]) if crash.acknowledged else 0
        assert log.size >= given
        assert (log.remembered.checkpoint.size if log.remembered else 0) >= given
        if log.size < 5:
            log.take(page(log.size, whole[log.size :]))
        log.take(signed(whole))
        assert copy(crash.folder).remembered == signed(whole)
