"""A site cosigns a log that continues what it cosigned, and nothing else: forks, cuts, other studies, other keys."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.doors import REPLY, STUDY, Site, release
from tests.studies import RUN, private_protocol, renamed

from wardround.client.release import ReleaseDoor
from wardround.client.witness import Witnessed, witness
from wardround.common.errors import TrustError, UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.checkpoint import Checkpoint, origin, sign, verify_cosignature
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.merkle import Tree
from wardround.common.trust.witness import NOTHING, Seen, read_answer, read_shown, show

COORDINATOR = SigningKey.generate()
LINES = [f"line {number}".encode() for number in range(12)]
NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)


def shown(
    size: int,
    old: int = 0,
    *,
    lines: list[bytes] = LINES,
    study: StudyProtocol = STUDY,
    run: str = RUN,
    key: SigningKey = COORDINATOR,
) -> str:
    """The first `size` lines as a coordinator shows them to a site that cosigned `old` lines."""
    tree = Tree(lines)
    name = origin(study.study.name, study.digest, run)
    log = Checkpoint(origin=name, size=size, root=tree.root(size))
    return show(old, tree.consistency(old, size), sign(key, log))


def asked(
    site: Site, door: ReleaseDoor, text: str, study: StudyProtocol = STUDY, *, run: str = RUN
) -> Witnessed:
    return witness(
        text, key=site.key, protocol=study, run=run, coordinator=COORDINATOR.public, door=door, time=NOW
    )


def having_cosigned(site: Site, size: int, study: StudyProtocol = STUDY) -> None:
    """The site cosigned `size` lines with its first reply."""
    with site.open() as (door, _):
        door.reserve(study)
        door.charge(study, 1, 1, "0" * 64, run=RUN)
        door.let_go(study, 1, 1, REPLY, log=asked(site, door, shown(size, study=study), study).seen)


def test_the_first_checkpoint_is_cosigned_and_remembered_by_the_ledger(tmp_path: Path) -> None:
    site = Site(tmp_path)
    having_cosigned(site, 5)
    with site.open() as (door, ledger):
        assert door.cosigned(STUDY, RUN) == Seen(size=5, root=Tree(LINES).root(5))
        assert ledger.cosigned(STUDY.study.name, STUDY.digest) == {RUN: door.cosigned(STUDY, RUN)}


@pytest.mark.parametrize("size", range(5, 13))
def test_a_log_that_continues_is_cosigned_with_the_sites_own_key(tmp_path: Path, size: int) -> None:
    site = Site(tmp_path)
    having_cosigned(site, 5)
    with site.open() as (door, _):
        found = asked(site, door, shown(size, 5))
        assert found.seen == Seen(size=size, root=Tree(LINES).root(size))
        said, line = read_answer(found.said["log"])
        checkpoint = read_shown(shown(size, 5)).signed.checkpoint
        assert said == size
        assert line is not None
        assert verify_cosignature(line, checkpoint, site.key.public) == NOW


FORKED = [*LINES[:3], b"another line", *LINES[4:]]
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "a rewritten line": (lambda: shown(9, 5, lines=FORKED), "does not continue"),
    "another log of the same size": (lambda: shown(5, 5, lines=FORKED), "two different logs have 5 lines"),
    "an empty log": (lambda: shown(0), "at least one line"),
    "a shorter log": (lambda: shown(4, 4), "rolled back"),
    "no proof": (lambda: _without_proof(shown(9, 5)), "too short"),
    "a proof from elsewhere": (lambda: shown(9, 4), "from the 5 lines that this site cosigned"),
    "a proof from nothing": (lambda: shown(9, 0), "from the 5 lines that this site cosigned"),
    "another study": (lambda: shown(9, 5, study=renamed(STUDY, "other")), "expected a checkpoint of"),
    "another run": (lambda: shown(9, 5, run="ab" * 16), "expected a checkpoint of"),
    "another protocol": (lambda: shown(9, 5, study=private_protocol(rounds=3)), "expected a checkpoint of"),
    "another coordinator": (lambda: shown(9, 5, key=SigningKey.generate()), "did not sign this checkpoint"),
    "nothing at all": (lambda: "", "to be shown, found none"),
    "no checkpoint": (lambda: "old 5\n\nhello", "signed note"),
    "no sizes": (lambda: shown(9, 5).replace("old 5", "old five"), "whole number of lines"),
    "a size in another spelling": (lambda: shown(9, 5).replace("old 5", "old 05"), "whole number of lines"),
    "half a message": (lambda: shown(9, 5)[:40], "checkpoint"),
}


def _without_proof(text: str) -> str:
    return replace(read_shown(text), proof=()).encode()


@pytest.mark.parametrize("what", REFUSED)
def test_whatever_does_not_continue_is_refused_and_the_reason_says_which(tmp_path: Path, what: str) -> None:
    site = Site(tmp_path)
    having_cosigned(site, 5)
    make, why = REFUSED[what]
    with site.open() as (door, _):
        with pytest.raises(TrustError, match=why):
            asked(site, door, make())
        assert door.cosigned(STUDY, RUN).size == 5


def test_a_site_that_was_never_shown_a_log_works_without_cosigning(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        assert asked(site, door, "") == Witnessed()


def test_after_the_end_only_what_was_cosigned_last_is_cosigned_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    having_cosigned(site, 5)
    with site.open() as (door, _):
        door.close(STUDY, run=RUN, log=asked(site, door, shown(8, 5)).seen)
        assert asked(site, door, shown(8, 5)).seen == Seen(size=8, root=Tree(LINES).root(8))
        assert asked(site, door, shown(9, 8)) == Witnessed()
        with pytest.raises(TrustError, match="rolled back"):
            asked(site, door, shown(5, 5))


def test_a_study_that_is_approved_again_has_a_log_of_its_own_in_a_new_run_and_no_second_one_in_the_old(
    tmp_path: Path,
) -> None:
    site, other = Site(tmp_path), "ab" * 16
    having_cosigned(site, 5)
    with site.open() as (door, ledger):
        door.close(STUDY)  # a person left the run: its coordinator may go on with it, and with its log
        door.reserve_anew(STUDY)
        with pytest.raises(TrustError, match="does not continue"):
            asked(site, door, shown(9, 5, lines=FORKED))
        with pytest.raises(TrustError, match="rolled back"):
            asked(site, door, shown(2, lines=FORKED))
        assert asked(site, door, shown(9, 5)).seen == Seen(size=9, root=Tree(LINES).root(9))
        assert door.cosigned(STUDY, other) == NOTHING
        seen = asked(site, door, shown(2, lines=FORKED, run=other), run=other).seen
        door.charge(STUDY, 1, 2, "0" * 64, run=other)
        door.let_go(STUDY, 1, 2, REPLY, log=seen)
        assert ledger.cosigned(STUDY.study.name, STUDY.digest) == {
            RUN: Seen(size=5, root=Tree(LINES).root(5)),
            other: Seen(size=2, root=Tree(FORKED).root(2)),
        }


def test_what_an_end_cosigns_is_remembered_under_a_run_or_not_cosigned(tmp_path: Path) -> None:
    site = Site(tmp_path)
    having_cosigned(site, 5)
    with site.open() as (door, _), pytest.raises(UsageError, match="the run whose log"):
        door.close(STUDY, log=asked(site, door, shown(8, 5)).seen)


def test_the_golden_ledger_without_a_log_has_cosigned_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        release(door, 1, 1)
        assert door.cosigned(STUDY, RUN) == NOTHING
