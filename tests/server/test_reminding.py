"""A task or an answer that is lost comes again, and costs nothing twice; over real sites that answer in order."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict
from tests.rogues import NAMES
from tests.studies import joint_protocol, private_protocol, small_federation, small_protocol

from wardround.client.app import client_app
from wardround.common.flower.internals import become_task
from wardround.common.flower.records import unpack
from wardround.common.learning.parameters import to_bytes
from wardround.common.privacy.events import DpEvent, times
from wardround.common.study.protocol import StudyProtocol
from wardround.server.app import server_app
from wardround.server.reminding import Reminder
from wardround.server.waiting import Waiting
from wardround.server.watching import Watch
from wardround.simulations.federation import begin, by_name, opened
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import exposures

SOUTH = 12  # its node
WAITING = Waiting(replies=60.0, keys=60.0, sites=5.0, pause=0.01, doubt=0.05)
FATES = ("task", "answer")

pytestmark = pytest.mark.usefixtures("quick_disk")


class Lossy(InlineGrid):
    """South's node loses the first copy of what the test says, or the first answer to it."""

    lost: Callable[[Message], bool] = staticmethod(lambda message: False)
    fate = "task"

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        asked = set(message_ids)
        for name in [one for one in self._sent if one in asked]:
            message = self._sent[name]
            unlucky = message.metadata.dst_node_id == SOUTH and self.lost(message)
            if unlucky and self.fate == "task":
                del self._sent[name]
                continue
            replies = list(super().pull_messages([name]))
            if not unlucky:
                yield from replies


class Told(Watch):
    """Who was asked again, and how many attempts there were."""

    def __init__(self) -> None:
        self.again: list[str] = []
        self.attempts = 0

    def asked_again(self, site: str) -> None:
        self.again.append(site)

    def asked(self, round_: int, attempt: int, sites: int) -> None:
        self.attempts += 1


def play(
    root: Path, protocol: StudyProtocol, *, fate: str, lost: Iterable[int]
) -> tuple[bytes, Told, list[DpEvent]]:
    """Run a study in which some of south's messages are lost, by number; roll calls are not counted.

    Returns:
        The model, what was told, and the charges in south's ledger.
    """
    made = small_federation(root, protocol, names=NAMES)
    made.folder.mkdir(parents=True, exist_ok=True)
    coordinator, roster = begin(made)
    told, unlucky, count = Told(), set(lost), itertools.count(1)

    def is_lost(message: Message) -> bool:
        return b'"kind":"roll-call"' not in unpack(message.content) and next(count) in unlucky

    with opened(made) as premises:
        sites = {one.hospital.name: one.site(made.protocol, roster) for one in premises}
        grid = Lossy(client_app(by_name(sites)), sites)
        grid.lost, grid.fate = is_lost, fate
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
        server_app(coordinator, waiting=WAITING, watch=told)(grid, context)
    (south,) = (one for one in made.hospitals if one.name == "south")
    return to_bytes(coordinator.study.progress.parameters), told, exposures(south)


@pytest.mark.parametrize("fate", FATES)
def test_what_was_lost_comes_again_and_the_model_is_the_uninterrupted_one(tmp_path: Path, fate: str) -> None:
    protocol = small_protocol(rounds=3)
    whole, quiet, _ = play(tmp_path / "whole", protocol, fate=fate, lost=())
    model, told, _ = play(tmp_path / "lossy", protocol, fate=fate, lost={1, 3})
    assert quiet.again == []
    assert told.again == ["south", "south"]
    assert told.attempts == 3
    assert model == whole


@pytest.mark.parametrize("fate", FATES)
def test_a_private_answer_that_was_lost_comes_again_and_is_charged_once(tmp_path: Path, fate: str) -> None:
    protocol = private_protocol(rounds=2)
    _, told, charged = play(tmp_path, protocol, fate=fate, lost={1, 2, 4})
    assert told.again == ["south", "south", "south"]
    assert told.attempts == 2
    assert charged == times(protocol.event(), 2)


@pytest.mark.parametrize("fate", FATES)
def test_every_step_of_a_secure_sum_comes_again(tmp_path: Path, fate: str) -> None:
    protocol = joint_protocol(rounds=1)
    _, told, charged = play(tmp_path, protocol, fate=fate, lost={1, 3, 5})
    assert told.again == ["south", "south", "south"]
    assert told.attempts == 1
    assert charged == times(protocol.event(), 1)


def test_the_end_of_a_study_is_told_again(tmp_path: Path) -> None:
    _, told, _ = play(tmp_path, small_protocol(rounds=1), fate="task", lost={2})
    assert told.again == ["south"]


class Queue:
    """A node that answers nothing, or roll calls only."""

    def __init__(self, *, answers_calls: bool) -> None:
        self.sent: list[str] = []
        self._answers_calls = answers_calls

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        self.sent += [message.metadata.message_type for message in messages]
        return [f"{self.sent[-1]}-{len(self.sent)}"]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        calls = [name for name in message_ids if name.startswith("query")]
        return [answer_to(name) for name in calls] if self._answers_calls else []


def answer_to(name: str) -> Message:
    asked = Message(RecordDict(), SOUTH, "query")
    reply = Message(RecordDict(), reply_to=asked)
    reply.metadata.__dict__["_reply_to_message_id"] = name
    return reply


def remind(node: Queue, *, hours: int, signed: bool = True) -> Counter[str]:
    """What a node is sent in some hours in which its task stays unanswered."""
    become_task()
    reminder = Reminder(
        node,  # type: ignore[arg-type]
        {"task": "south"},
        call=lambda site: Message(RecordDict(), SOUTH, "query"),
        again=lambda site: Message(RecordDict(), SOUTH, "train"),
        answers=lambda site, reply: signed,
        first=5.0,
        told=lambda site: None,
    )
    for now in range(hours * 3600):
        reminder.look(["south"], float(now))
    return Counter(node.sent)


def test_a_site_that_computes_for_hours_finds_a_handful_of_calls() -> None:
    assert remind(Queue(answers_calls=False), hours=2) == Counter({"query": 10})


def test_a_site_that_answers_calls_only_is_sent_a_handful_of_copies() -> None:
    assert remind(Queue(answers_calls=True), hours=2) == Counter({"query": 10, "train": 10})


def test_an_answer_that_the_site_did_not_sign_proves_nothing() -> None:
    assert remind(Queue(answers_calls=True), hours=2, signed=False) == Counter({"query": 10})
