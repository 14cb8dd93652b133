"""What stands in front of Flower's SuperLink and inside its database: bodies in one piece, sums, nothing for nobody."""

import asyncio
import contextlib
import inspect
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.superlink.routers.fleet import router
from flwr.superlink.servicer.fleet import fleet_handlers
from tests.flowerline import line

from wardround.common.flower.internals_link import Guard
from wardround.common.flower.internals_state import NowAndThen
from wardround.common.flower.tally import Tally

Message = MutableMapping[str, Any]
PIECE = {"type": "http.request", "more_body": True}
LEFT = {"type": "http.disconnect"}


def passed_on(*messages: Message) -> list[Message]:
    """What the application behind the guard receives of a request."""
    seen: list[Message] = []
    coming = deque(messages)

    async def receive() -> Message:
        return coming.popleft()

    async def app(scope: Message, receive: Any, send: Any) -> None:
        while not seen or seen[-1]["type"] == "http.request":
            seen.append(await receive())

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/fleet/push-object"}
    guard = Guard(app, "unused")
    asyncio.run(guard({**scope, "headers": [(b"content-length", b"4")]}, receive, send))
    return seen


def test_a_body_arrives_in_one_piece_and_then_what_follows() -> None:
    seen = passed_on({**PIECE, "body": b"ab"}, PIECE, {"type": "http.request", "body": b"cd"}, LEFT)
    assert seen == [{"type": "http.request", "body": b"abcd", "more_body": False}, LEFT]


def test_of_a_sender_who_left_nothing_is_passed_on() -> None:
    assert passed_on({**PIECE, "body": b"ab"}, LEFT) == []


def test_the_parts_of_one_reply_are_counted_however_often_it_is_announced() -> None:
    tally = Tally(largest=10)
    tally.announce("first", 7, 1, "task")
    tally.announce("again", 7, 1, "task")
    tally.announce("other", 7, 1, "roll call")
    tally.announce("peer", 8, 1, "task")
    assert tally.take("first", 7, 1, 6)
    assert not tally.take("again", 7, 1, 5)
    assert tally.take("again", 7, 1, 4)
    assert not tally.take("first", 7, 1, 1)
    assert tally.take("other", 7, 1, 10)
    assert tally.take("peer", 8, 1, 10)


def test_sessions_from_before_a_restart_count_together() -> None:
    tally = Tally(largest=10)
    assert tally.take("unknown", 7, 1, 6)
    assert not tally.take("unheard of", 7, 1, 6)
    assert tally.take("unknown", 8, 1, 6)


def test_flower_hands_every_part_of_a_reply_to_the_function_that_we_replace() -> None:
    source = inspect.getsource(router)
    assert source.count("fleet_handlers.push_object(") == 1
    assert source.count("fleet_handlers.push_messages(") == 1


def test_what_runs_now_and_then_runs_once_a_second() -> None:
    class State:
        """In the place of Flower's."""

    runs: list[float] = []
    now = [0.0]
    State.look = NowAndThen(lambda state: runs.append(now[0]), clock=lambda: now[0])  # type: ignore[attr-defined]
    for _ in range(30):
        State().look()  # type: ignore[attr-defined]
        now[0] += 0.1
    assert runs == pytest.approx([0.0, 1.0, 2.0], abs=0.11)


def test_a_superlink_writes_nothing_for_a_question(tmp_path: Path) -> None:
    script = (
        "from wardround.common.flower.internals_state import SqlCoreState, SqlLinkState, lighten, sql_mixin\n"
        "lighten()\n"
        "print(SqlLinkState.store_traffic(None, 1, bytes_sent=1, bytes_recv=1))\n"
        "print(SqlLinkState.add_clientapp_runtime(None, 1, 2.0))\n"
        "print(SqlCoreState.__dict__['_cleanup_expired_task_tokens'].__class__.__name__)\n"
        "print(dict(sql_mixin.SQLITE_PRAGMAS)['journal_mode'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None", "NowAndThen", "WAL"]
    source = inspect.getsource(SqlLinkState)
    assert "self._cleanup_expired_task_tokens()" in source
    assert "state.store_traffic(" in inspect.getsource(fleet_handlers)


def test_a_new_database_has_large_pages(tmp_path: Path) -> None:
    with line(tmp_path) as own:
        own.link()
        with contextlib.closing(sqlite3.connect(own.place.database)) as database:
            assert database.execute("PRAGMA page_size").fetchone() == (32768,)
