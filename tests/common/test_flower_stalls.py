"""What would leave a hospital deaf or waiting: half a message, a broken handshake, a worker that gave up."""

import inspect
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import httpx
import pytest
from flwr.app import Context, Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import fleet_http_connection
from flwr.supernode import start_client_internal as worker
from tests.flowerline import Line, ask, certificates, end, line, until

from wardround.common.errors import StudyError
from wardround.common.flower.internals_grid import SteadyGrid
from wardround.common.flower.internals_node import steady_invoker
from wardround.common.flower.records import pack, unpack


def push_half(grid: Grid, node: int) -> None:
    """Announce a message and send one of its parts, as a process does that is killed while it sends."""
    assert isinstance(grid, SteadyGrid)
    message = Message(pack(b"echo never"), node, "train")
    with no_object_id_recompute():
        message.metadata.__dict__["_message_id"] = message.object_id
        parts = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
        announced = grid._runtime_client.PushMessages(
            PushAppMessagesRequest(
                messages_list=[message_to_proto(remove_content_from_message(message))],
                message_object_trees=[get_object_tree(message)],
            )
        )
    first, *others = announced.objects_to_push
    assert others
    grid._runtime_client.PushObject(
        PushObjectRequest(
            node=grid.node,
            run_id=message.metadata.run_id,
            session_id=announced.session_id,
            object_id=first,
            object_content=parts[first],
        )
    )


def killed_in_the_middle(own: Line, main: Callable[[Grid, Context], None]) -> None:
    """Run a ServerApp in a child that kills itself."""
    child = os.fork()
    if child == 0:
        try:
            own.serve(main)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


def test_half_a_message_holds_nobody_up_once_its_run_has_ended(tmp_path: Path) -> None:
    def first(grid: Grid, context: Context) -> None:
        (node,) = grid.get_node_ids()
        assert unpack(ask(grid, node, b"echo abc").content) == b"cba"
        push_half(grid, node)
        until(lambda: own.said("north-node").count("Receiving:") == 2)
        os.kill(os.getpid(), signal.SIGKILL)

    def second(grid: Grid, context: Context) -> None:
        (node,) = grid.get_node_ids()
        assert unpack(ask(grid, node, b"echo abc", limit=40.0).content) == b"cba"

    with line(tmp_path) as own:
        own.link()
        own.node("north")
        own.executor("north")
        killed_in_the_middle(own, first)
        own.serve(second)


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(False, id="before a part arrives", marks=pytest.mark.slow),
        pytest.param(True, id="before it says that a part arrived"),
    ],
)
def test_a_superlink_that_dies_while_it_is_sent_a_message_ends_no_study(tmp_path: Path, kept: bool) -> None:
    def main(grid: Grid, context: Context) -> None:
        assert isinstance(grid, SteadyGrid)
        (node,) = grid.get_node_ids()
        stock, one_of_several_threads = grid._runtime_client.PushObject, Lock()

        def interrupted(request: PushObjectRequest) -> PushObjectResponse:
            with one_of_several_threads:
                if links:
                    if kept:
                        stock(request)
                    end(links.pop(), signal.SIGKILL)
                    own.link()
            return stock(request)

        grid._runtime_client.PushObject = interrupted  # type: ignore[method-assign]
        first = list(grid.push_messages([Message(pack(b"echo abc"), node, "train")]))
        assert first[0]
        assert not links
        grid._runtime_client.PushObject = stock  # type: ignore[method-assign]
        # The killed SuperLink may have handed the message to a SuperNode that never got the answer: a reminder's work.
        assert unpack(ask(grid, node, b"echo def").content) == b"fed"

    with line(tmp_path) as own:
        links = [own.link()]
        own.node("north")
        own.executor("north")
        own.serve(main)


def test_a_superlink_that_never_keeps_a_message_is_given_up_with_advice(tmp_path: Path) -> None:
    def main(grid: Grid, context: Context) -> None:
        assert isinstance(grid, SteadyGrid)
        (node,) = grid.get_node_ids()
        grid._runtime_client.PushObject = lambda request: PushObjectResponse(stored=False)  # type: ignore
        with pytest.raises(StudyError, match="did not keep what it was sent") as refused:
            grid.push_messages([Message(pack(b"echo abc"), node, "train")])
        assert "resume" in str(refused.value.advice)

    with line(tmp_path) as own:
        own.link()
        own.node("north")
        own.serve(main)


def test_flowers_signal_for_a_run_that_ended_passes_its_own_cleaning_up() -> None:
    assert not issubclass(RunNotRunningException, Exception)
    source = inspect.getsource(worker._pull_and_store_message)
    assert source.count("except Exception as err:") == 1
    assert set(inspect.signature(worker._pull_and_store_message).parameters) > {
        "pull_object",
        "confirm_message_received",
    }
    assert "pull_object=pull_object," in inspect.getsource(worker.start_client_internal)


def status(code: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "https://h/")
    return httpx.HTTPStatusError("refused", request=request, response=httpx.Response(code, request=request))


@pytest.mark.parametrize(
    ("error", "gives_up"),
    [
        (
            httpx.ConnectError("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol"),
            False,
        ),
        (httpx.ReadError("TLS/SSL connection has been closed (EOF)"), False),
        (httpx.ConnectError("[Errno 111] Connection refused"), False),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"), True),
        (status(404), True),
        (status(503), False),
    ],
    ids=["handshake", "closed", "refused", "certificate", "not found", "away"],
)
def test_what_a_supernode_tries_again(error: Exception, gives_up: bool) -> None:
    tries: list[int] = []

    def call() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise error
        return "there"

    invoker = steady_invoker()
    invoker.wait_function = lambda seconds: None
    if gives_up:
        with pytest.raises(type(error)):
            invoker.invoke(call)
        assert len(tries) == 1
    else:
        assert invoker.invoke(call) == "there"
    assert "= make_simple_http_retry_invoker()" in inspect.getsource(
        fleet_http_connection.http_request_response
    )
    assert max(next(waits) for waits in [invoker.wait_gen_factory()] for _ in range(9)) <= 5


def test_a_supernode_whose_worker_gave_up_ends_instead_of_staying_up_deaf(tmp_path: Path) -> None:
    with line(tmp_path) as own:
        process = own.link()
        node = own.node("north")
        end(process, signal.SIGKILL)
        impostor(own)
        own.link()
        assert node.wait(timeout=60) == 1
        assert "lost the coordinator for good" in own.said("north-node")


def impostor(own: Line) -> None:
    """Put a server's certificate in the place's files that another authority signed."""
    made = certificates(own.root / "other")
    for kept, other in zip((own.place.ca, own.place.certificate, own.place.key), made, strict=True):
        kept.rename(kept.with_suffix(".old"))
        shutil.copy(other, kept)
