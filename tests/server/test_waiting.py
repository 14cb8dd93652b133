"""How long a coordinator waits, and what it makes of a reply; over a real grid whose sites answer late or not."""

import time
from collections.abc import Collection, Iterable
from dataclasses import replace

import pytest
from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from wardround.common.errors import StudyError
from wardround.common.flower.records import pack
from wardround.server.admission import Refused
from wardround.server.waiting import Waiting, collect, content
from wardround.simulations.grid import InlineGrid

QUICK = Waiting(pause=0.01)


def echo() -> ClientApp:
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return Message(message.content, reply_to=message)

    return app


class Slow(InlineGrid):
    """A grid that gives each reply at a later look."""

    looks = 0

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.looks += 1
        due = [one for one in self._sent if one in set(message_ids)][: self.looks % 2]
        return super().pull_messages(due)


def sent(grid: InlineGrid) -> dict[str, str]:
    nodes = list(grid.get_node_ids())
    messages = [Message(pack(bytes([node])), node, "query") for node in nodes]
    return dict(zip(grid.push_messages(messages), map(str, nodes), strict=True))


def test_every_reply_is_given_once_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Slow(echo(), ["a", "b", "c"])
    replies = [content(reply) for reply in collect(grid, sent(grid), QUICK, limit=30.0)]
    assert replies == [bytes([10]), bytes([11]), bytes([12])]
    assert grid.looks >= 5


def test_whoever_does_not_answer_costs_the_limit_and_no_more() -> None:
    grid, began = InlineGrid(echo(), ["a"]), time.monotonic()
    asked = sent(grid)
    replies = list(collect(grid, {**asked, "lost": "south"}, QUICK, limit=0.3))
    assert len(replies) == 1
    assert 0.3 <= time.monotonic() - began < 20


def test_of_two_replies_of_one_site_the_first_counts() -> None:
    grid = InlineGrid(echo(), ["a"])
    asked = sent(grid)

    def again(missing: Collection[str], passed: float) -> None:
        raise AssertionError("nobody was missing")

    copies = {
        name: "10"
        for one in range(3)
        for name in grid.push_messages([Message(pack(bytes([one])), 10, "query")])
    }
    replies = [
        content(reply) for reply in collect(grid, {**asked, **copies}, QUICK, limit=30.0, remind=again)
    ]
    assert replies == [bytes([10])]


def test_nobody_asked_is_nobody_awaited() -> None:
    began = time.monotonic()
    assert list(collect(InlineGrid(echo(), ["a"]), {}, QUICK, limit=600.0)) == []
    assert time.monotonic() - began < 60


def test_a_stop_from_outside_ends_any_waiting() -> None:
    waiting = replace(QUICK, pause=600.0)
    waiting.stop.set()
    with pytest.raises(StudyError, match="stopped"):
        list(collect(InlineGrid(echo(), ["a"]), {"lost": "south"}, waiting, limit=600.0))
    with pytest.raises(StudyError, match="stopped"):
        waiting.a_moment()


def test_an_error_or_another_content_is_a_refusal_without_its_words() -> None:
    asked = Message(RecordDict(), 10, "query")
    error = Message(Error(code=2, reason="patient 4711"), reply_to=asked)
    assert content(error) == Refused(reason="no reply (Flower error code 2)")
    other = Message(RecordDict({"arrays": ArrayRecord()}), reply_to=asked)
    assert isinstance(content(other), Refused)
