"""A study begins with a quorum, takes in whoever comes later, and asks nobody who left the roster."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from tests.cosigning import cosigned
from tests.rogues import NAMES, QUICK, federation
from tests.studies import private_protocol, roster_of

from wardround.client.app import client_app
from wardround.common.errors import StudyError
from wardround.common.learning.exchange import Receipt
from wardround.common.learning.parameters import to_bytes
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.trust.studylog import read_log
from wardround.server.admission import Admitted
from wardround.server.app import server_app
from wardround.server.coordinator import LOG, Coordinator
from wardround.server.waiting import Waiting
from wardround.server.watching import Attendance, Watch
from wardround.simulations.federation import Federation, begin, by_name, opened
from wardround.simulations.grid import InlineGrid

PATIENT = replace(QUICK, sites=0.3, quorum=60.0)
SOUTH = 12  # its node
NOISE = private_protocol().privacy

pytestmark = pytest.mark.usefixtures("quick_disk")


class Fickle(InlineGrid):
    """A grid on which nodes come and go, or say nothing for a while."""

    away: Callable[[], Iterable[int]] = staticmethod(lambda: ())
    mute: Callable[[], Iterable[int]] = staticmethod(lambda: ())

    def get_node_ids(self) -> Iterable[int]:
        away = set(self.away())
        return [node for node in super().get_node_ids() if node not in away]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        mute = set(self.mute())
        return [
            reply for reply in super().pull_messages(message_ids) if reply.metadata.src_node_id not in mute
        ]


@dataclass
class Seen(Watch):
    """Remembers what was told."""

    coordinator: Coordinator
    roster: list[Attendance] = field(default_factory=list)
    rounds: list[tuple[int, int, int]] = field(default_factory=list)

    def attendance(self, found: Attendance) -> None:
        self.roster.append(found)

    def asked(self, round_: int, attempt: int, sites: int) -> None:
        self.rounds.append((round_, attempt, sites))

    @property
    def done(self) -> int:
        """Rounds that are over."""
        return self.coordinator.study.progress.rounds


def four_rounds(root: Path, privacy: PrivacyTerms | None = None) -> Federation:
    """Three sites, four rounds, and a quorum of one."""
    made = federation(root)
    protocol = made.protocol
    longer = replace(protocol, federation=replace(protocol.federation, rounds=4))
    return replace(made, protocol=longer if privacy is None else longer.with_privacy(privacy))


Nodes = Callable[[Seen], Iterable[int]]


def play(
    made: Federation,
    *,
    away: Nodes = lambda seen: (),
    mute: Nodes = lambda seen: (),
    left: Callable[[Seen], Mapping[str, str]] = lambda seen: {},
    waiting: Waiting = PATIENT,
) -> Seen:
    """Run a study whose nodes come and go."""
    coordinator, roster = begin(made)
    seen = Seen(coordinator)
    with opened(made) as premises:
        sites = {one.hospital.name: one.site(made.protocol, roster) for one in premises}
        grid = Fickle(client_app(by_name(sites)), sites)
        grid.away, grid.mute = lambda: away(seen), lambda: mute(seen)
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
        app = server_app(coordinator, waiting=waiting, left=lambda: left(seen), watch=seen)
        app(grid, context)
    return seen


def said_of(made: Federation, site: str) -> list[str]:
    """What the log says of a site, attempt by attempt: `counted`, or why not."""
    found = []
    for entry in read_log(made.folder / LOG, roster_of(made)):
        match entry.data:
            case {"sites": dict(sites)} if entry.kind in ("round", "void"):
                found.append(str(sites[site].get("refused", "counted")))
    return found


def witnesses(made: Federation) -> list[set[str]]:
    """Who cosigned, checkpoint by checkpoint."""
    found = cosigned(made.folder, made.protocol, roster_of(made))
    return [found[size] for size in sorted(found) if found[size]]


def test_a_quorum_begins_after_the_limit_and_a_late_site_joins_at_the_next_round(tmp_path: Path) -> None:
    made = four_rounds(tmp_path, NOISE)
    seen = play(made, away=lambda seen: [SOUTH] if seen.done < 1 else [])
    rounds = made.protocol.federation.rounds
    assert said_of(made, "south") == ["not asked: it was not there", *["counted"] * (rounds - 1)]
    assert said_of(made, "east") == ["counted"] * rounds
    assert [sites for _, _, sites in seen.rounds] == [2, *[3] * (rounds - 1)]
    assert witnesses(made)[:2] == [{"east", "north"}, set(NAMES)]
    assert (seen.roster[0].absent, seen.roster[-1].absent) == (("south",), ())


def test_whoever_goes_is_not_waited_for_and_comes_back(tmp_path: Path) -> None:
    made = four_rounds(tmp_path, NOISE)
    play(made, away=lambda seen: [SOUTH] if seen.done == 1 else [])
    assert said_of(made, "south")[:3] == ["counted", "not asked: it was not there", "counted"]
    everybody = set(NAMES)
    assert witnesses(made)[:3] == [everybody, everybody - {"south"}, everybody]  # it verified what it missed


def test_a_site_that_fell_silent_is_asked_nothing_until_it_answers_a_call(tmp_path: Path) -> None:
    made = four_rounds(tmp_path)
    play(made, mute=lambda seen: [SOUTH] if seen.done in (1, 2) else [])
    silent = "no reply"
    assert said_of(made, "south")[:3] == ["counted", silent, "not asked: it was not there"]


def test_a_site_that_left_the_roster_is_neither_asked_nor_heard(tmp_path: Path) -> None:
    made = four_rounds(tmp_path)
    seen = play(made, left=lambda seen: {"south": "it was removed"} if seen.done >= 1 else {})
    rounds = made.protocol.federation.rounds
    assert said_of(made, "south") == ["counted", *["not asked: it was not there"] * (rounds - 1)]
    entries = read_log(made.folder / LOG, roster_of(made))
    (change,) = (entry.data for entry in entries if entry.kind == "members")
    assert change == {"round": 2, "attempt": 1, "left": {"south": "it was removed"}}
    assert entries[-1].data["confirmed"] == ["east", "north"]
    assert witnesses(made)[-1] == {"east", "north"}
    assert seen.roster[-1].left == {"south": "it was removed"}


def test_a_site_that_is_back_on_the_roster_takes_part_again(tmp_path: Path) -> None:
    made = four_rounds(tmp_path)
    play(made, left=lambda seen: {"south": "it was removed"} if seen.done == 1 else {})
    assert said_of(made, "south")[:3] == ["counted", "not asked: it was not there", "counted"]


def test_without_a_quorum_on_the_roster_the_study_ends_at_once(tmp_path: Path) -> None:
    made = four_rounds(tmp_path)
    with pytest.raises(StudyError, match="0 sites are left of the roster, the study needs 1"):
        play(made, left=lambda seen: dict.fromkeys(NAMES, "gone"), waiting=replace(PATIENT, quorum=math.inf))


def test_no_attempt_is_used_up_while_a_quorum_is_missing(tmp_path: Path) -> None:
    made, looks = four_rounds(tmp_path), []

    def away(seen: Seen) -> Iterable[int]:
        looks.append(seen.done)
        return range(10, 13) if seen.done == 1 and looks.count(1) < 20 else ()

    seen = play(made, away=away)
    assert {attempt for _, attempt, _ in seen.rounds} == {1}
    assert len(seen.rounds) == made.protocol.federation.rounds


def test_an_update_of_a_site_that_left_moves_nothing(tmp_path: Path) -> None:
    models = []
    for number, north in enumerate((1.0, 9.0)):
        coordinator, _ = begin(four_rounds(tmp_path / str(number)))
        task = coordinator.study.task()
        coordinator.let_leave({"north": "it was removed"})
        receipt = Receipt(event=coordinator.study.protocol.event(), ledger_seq=1, ledger_head="0" * 64)
        moved = {"east": 1.0, "north": north, "south": 2.0}
        verdicts = {
            site: Admitted(
                update={name: np.full_like(array, step) for name, array in task.base.items()},
                receipt=receipt,
                sha256="",
                head=b"",
            )
            for site, step in moved.items()
        }
        assert coordinator.close(task, verdicts)
        models.append(to_bytes(coordinator.study.progress.parameters))
    assert models[0] == models[1]
