"""A contract with the Flower that a deployment runs: what we replace and rely on is there and is what it was.

Each private name stands in `tests/flowernames.py` with the test that fails without it.
"""

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from threading import Event

import httpx
import pytest
from flwr.app import Message, RecordDict
from flwr.common.constant import SubStatus
from flwr.supercore.constant import TaskType
from flwr.supercore.inflatable import inflatable_utils
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supernode import start_client_internal as worker
from flwr.supernode.nodestate import NodeStateFactory
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState
from flwr.supernode.runtime import run_clientapp
from tests.flowerline import ROOT
from tests.flowernames import PUBLIC, USED_BY

from wardround.common.errors import StudyError, TrustError
from wardround.common.flower.internals import become_task
from wardround.common.flower.internals_calls import Patience, RunLost
from wardround.common.flower.internals_node import Naps, _answer_for_all, _finish
from wardround.common.flower.records import pack


def test_every_private_name_has_a_test_that_exists() -> None:
    files = sorted((ROOT / "common" / "flower").glob("internals_*.py"))
    assert len(files) >= 6
    imported = {
        f"{node.module}.{alias.name}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("flwr")
        for alias in node.names
        if node.module not in PUBLIC
    }
    assert imported == set(USED_BY)
    for place in set(USED_BY.values()):
        file, _, name = place.partition("::")
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), place


def test_flowers_worker_sleeps_where_we_think() -> None:
    tree = ast.parse(inspect.getsource(worker))
    used = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert {name for name in used if name.startswith("time.")} == {"time.sleep"}
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert sorted(call for call in calls if call.startswith("time.sleep")) == [
        "time.sleep(0.5)",
        "time.sleep(0.5)",
        "time.sleep(3)",
    ]


def test_naps_grow_with_the_wait_and_begin_anew_with_another_one() -> None:
    now, naps = [0.0], []

    def rest(seconds: float) -> None:
        naps.append(round(seconds, 3))
        now[0] += seconds

    nap = Naps(clock=lambda: now[0], rest=rest)
    nap.sleep(3)
    now[0] += 10
    nap.sleep(3)
    now[0] += 1000
    nap.sleep(3)
    nap.sleep(0.5)
    now[0] += 100
    nap.sleep(0.5)
    nap.sleep(3)
    assert naps == [0.1, 0.505, 2.0, 0.02, 0.5, 0.1]


def test_flower_waits_a_second_for_bytes_on_their_way_and_takes_another_number() -> None:
    for pull in (inflatable_utils.pull_objects, inflatable_utils.pull_and_inflate_object_from_tree):
        assert inspect.signature(pull).parameters["initial_backoff"].default == 1
    assert "pull_objects(" in inspect.getsource(worker._pull_and_store_message)
    assert "pull_and_inflate_object_from_tree(" in inspect.getsource(run_clientapp.pull_task_input)


def test_a_node_reports_no_duration_and_parses_no_bundle() -> None:
    script = (
        "from wardround.common.flower.internals_node import tame, worker, InMemoryNodeState as S, Naps\n"
        "tame()\n"
        "print(worker.get_fused_config_from_fab(b'no zip', None), isinstance(worker.time, Naps))\n"
        "print(S.get_message_processing_duration(None, message_id='m'), S.get_message_processing_duration(None, 'm'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{} True\n0.0 0.0\n"
    source = inspect.getsource(worker)
    assert source.count("get_fused_config_from_fab(") == 1
    assert "state.get_message_processing_duration(" in source


def test_a_message_that_nobody_fetched_is_answered_too() -> None:
    become_task()
    for ours, answered in ((InMemoryNodeState._on_task_tokens_expired, 0), (_answer_for_all, 1)):
        state = NodeStateFactory(objectstore_factory=ObjectStoreFactory()).state()
        assert isinstance(state, InMemoryNodeState)
        message = Message(RecordDict(), 11, "train")
        message.metadata.__dict__["_message_id"] = message.object_id
        state.store_message(message)
        number = state.create_task(task_type=TaskType.CLIENT_APP, run_id=1, fab_hash="f")
        assert number is not None
        ours(state, list(state.get_tasks(task_ids=[number])))
        replies = state.get_messages_legacy(is_reply=True)
        assert len(replies) == answered  # none: Flower's worker waits for ever
        assert [reply.error.code for reply in replies] == [8] * answered


def reply_of_which_a_part_is_missing(state: InMemoryNodeState) -> Message:
    """A task of run 1, and a reply to it that its sender began to hand over."""
    asked = Message(RecordDict(), 11, "train")
    asked.metadata.__dict__["_message_id"] = asked.object_id
    state.store_message(asked)
    reply = Message(pack(b"an update"), reply_to=asked)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    state.store_message_and_object_tree(reply, get_object_tree(reply), state.start_session(1))
    return reply


@pytest.mark.parametrize("on_its_way", [False, True])
def test_half_of_a_reply_is_not_waited_for_once_its_task_has_failed(on_its_way: bool) -> None:
    become_task()
    state = NodeStateFactory(objectstore_factory=ObjectStoreFactory()).state()
    assert isinstance(state, InMemoryNodeState)
    reply = reply_of_which_a_part_is_missing(state)
    if on_its_way:
        assert [one.metadata.message_id for one in state.get_messages_legacy(is_reply=True)] == [
            reply.metadata.message_id
        ]
    number = state.create_task(task_type=TaskType.CLIENT_APP, run_id=1, fab_hash="f")
    assert number is not None
    assert _finish(state, number, SubStatus.FAILED, "")
    # Flower's worker waits while a part is b"", and drops the reply where it is None.
    assert state.object_store.get(reply.metadata.message_id) is None
    _answer_for_all(state, list(state.get_tasks(task_ids=[number])))  # once more does no harm
    left = state.get_messages_legacy(is_reply=True)
    assert [one.has_error() for one in left] == ([] if on_its_way else [True])
    assert 'while (content := object_store.get(tree.object_id)) == b"":' in inspect.getsource(worker)


def answering(status: int) -> Callable[[], None]:
    """A call that a server answers with a status."""

    def call() -> None:
        response = httpx.Response(status, request=httpx.Request("POST", "https://h/"), text="patient 12345")
        response.raise_for_status()

    return call


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, RunLost), (404, RunLost), (403, TrustError), (409, StudyError), (500, StudyError)],
)
def test_a_refusal_is_ours_and_says_nothing_of_what_was_answered(status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Patience("the other side", limit=None).invoke(answering(status))
    assert "the other side" in str(caught.value)
    assert "12345" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_call_is_repeated_until_it_works_or_the_limit_or_a_stop() -> None:
    tries: list[int] = []

    def third() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise httpx.ConnectError("refused")
        return "there"

    said: list[str] = []
    assert Patience("it", limit=None, say=said.append).invoke(third) == "there"
    assert said == ["waiting for it"]
    with pytest.raises(StudyError, match="it does not answer"):
        Patience("it", limit=0.0).invoke(answering(503))
    stop = Event()
    stop.set()
    with pytest.raises(StudyError, match="stopped waiting"):
        Patience("it", limit=None, stop=stop).invoke(answering(503))


def test_a_wrong_certificate_is_not_waited_for() -> None:
    def call() -> None:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")

    with pytest.raises(TrustError, match="certificate"):
        Patience("it", limit=None).invoke(call)
