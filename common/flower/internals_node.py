"""Private names of Flower's SuperNode: the stock process, awake when something happens. Verified: flwr 1.41.

Guarantees:
    How long a hospital computed is not sent along (Flower reports it to a microsecond). What a bundle or a run says as
    configuration is not even parsed. A message of which only a part came before its run ended is forgotten, and so is
    its task. A task that failed is answered by an error at once; half of a reply is never waited for. A connection that
    breaks, at whatever moment, is tried again; where the worker ends, the process does.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import httpx
from flwr.common.constant import SubStatus
from flwr.proto.task_pb2 import Task
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supercore.retry import RetryInvoker, exponential, make_simple_http_retry_invoker
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import fleet_http_connection as fleet
from flwr.supernode import start_client_internal as worker
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from wardround.common.flower.internals_calls import about_certificates
from wardround.common.flower.places import LOOPBACK, NodePlace
from wardround.common.flower.replacing import replace_in

_IDLE_NAP: Final = 3.0  # seconds: Flower's own, by which the kinds of waiting are told apart
_SHARE: Final = 0.05  # of the time already waited, so that a poll never adds more than this to a round
_IDLE: Final = (0.1, 2.0)  # seconds between two questions to the SuperLink
_REPLY: Final = (0.02, 0.5)  # seconds between two looks for the executor's reply
_LOOKS: Final = (
    0.02,
    1.0,
)  # seconds between two looks for bytes that are on their way; Flower's own are 1 and 10
_HALF: Final = (
    300.0  # seconds until a message of which a part is still not there is given up; Flower's own are 7200
)
_LONGEST_WAIT: Final = 5  # seconds between two tries to reach the coordinator; Flower's own are 20

_stock_expired = InMemoryNodeState._on_task_tokens_expired
_stock_finish = InMemoryNodeState.finish_task
_stock_pull = worker._pull_and_store_message


class RunEndedError(Exception):
    """The run of a message ended while the message was on its way."""


class Naps:
    """Stands for the module `time` in Flower's worker: naps that grow with the time already waited.

    Args:
        clock: Seconds that never go back.
        rest: Waits so many seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, rest: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock = clock
        self._rest = rest
        self._since = clock()
        self._wanted = 0.0

    def sleep(self, seconds: float) -> None:
        """A nap where Flower would sleep for `seconds`; a change of `seconds` begins another wait."""
        now = self._clock()
        if seconds != self._wanted:
            self._since, self._wanted = now, seconds
        shortest, longest = _IDLE if seconds >= _IDLE_NAP else _REPLY
        self._rest(min(longest, max(shortest, _SHARE * (now - self._since))))


def run_supernode(place: NodePlace, port: int) -> None:
    """Flower's SuperNode in this process, its executor's door at a port of loopback.

    Ends by `SystemExit` when it is asked to; it returns where its worker gave up, while the door is still open.
    """
    tame()
    sys.argv = ["flower-supernode", *_arguments(place, port)]
    flower_supernode()


def tame() -> None:
    """Put ours in the place of what naps too long, tells too much, believes too much, gives up, or waits for ever."""
    first, longest = _LOOKS
    pull = partial(
        pull_objects,
        initial_backoff=first,
        backoff_cap=longest,
        max_time=_HALF,
        max_tries_per_object=None,
    )
    replace_in(worker, "time", Naps())
    replace_in(worker, "pull_objects", pull)
    replace_in(worker, "_pull_and_store_message", _pull_or_forget)
    replace_in(worker, "get_fused_config_from_fab", lambda *given: {})
    replace_in(fleet, "make_simple_http_retry_invoker", steady_invoker)
    replace_in(InMemoryNodeState, "get_message_processing_duration", lambda *given, **named: 0.0)
    replace_in(InMemoryNodeState, "_on_task_tokens_expired", _answer_for_all)
    replace_in(InMemoryNodeState, "finish_task", _finish)


def steady_invoker() -> RetryInvoker:
    """Flower's way to repeat a call; it gives up when a certificate does not fit, not when a handshake breaks off.

    A device between hospital and coordinator may accept a connection and close it while nobody is behind it. Flower
    gives up at any error that speaks of TLS.
    """
    invoker = make_simple_http_retry_invoker()
    stock = invoker.should_giveup

    def gives_up(error: Exception) -> bool:
        if isinstance(error, httpx.TransportError):
            return about_certificates(error)
        return stock is not None and stock(error)

    invoker.should_giveup = gives_up
    invoker.wait_gen_factory = lambda: exponential(max_delay=_LONGEST_WAIT)
    return invoker


def _pull_or_forget(**given: Any) -> int | None:
    """As Flower does; but a run that ends while its message is on its way is a failure like any other.

    Flower's signal for it is no `Exception` and passes its own cleaning up: the executor's child would wait two hours
    for the rest of the message, and its site would answer nobody.
    """
    for name in ("pull_object", "confirm_message_received"):
        given[name] = _failing(given[name])
    return _stock_pull(**given)


def _failing(call: Callable[..., Any]) -> Callable[..., Any]:
    def ours(*given: Any) -> Any:
        try:
            return call(*given)
        except RunNotRunningException as ended:
            raise RunEndedError("the run ended") from ended

    return ours


def _finish(state: InMemoryNodeState, task_id: int, sub_status: str, details: str) -> bool:
    """As Flower does; a task that failed is answered by an error at once, and not when its token has expired."""
    finished = _stock_finish(state, task_id, sub_status, details)
    if finished and sub_status == SubStatus.FAILED:
        _answer_for_all(state, list(state.get_tasks(task_ids=[task_id])))
    return finished


def _answer_for_all(state: InMemoryNodeState, tasks: list[Task]) -> None:
    """As Flower does, also for a message that no executor had fetched: else the SuperNode waits for ever."""
    runs = {task.run_id for task in tasks}
    with state.lock_msg_store:
        for name, entry in list(state.msg_store.items()):
            metadata = entry.message.metadata
            if metadata.run_id not in runs:
                continue
            if not metadata.reply_to_message_id:
                entry.is_retrieved = True
            elif not _whole(state, name):
                _drop_half(state, name)
    _stock_expired(state, tasks)


def _drop_half(state: InMemoryNodeState, reply: str) -> None:
    """Forget a reply whose sender died while it handed it over. One that is on its way fails there, and is lost."""
    state.object_store.delete(reply)
    if not state.msg_store[reply].is_retrieved:
        state.delete_messages(message_ids=[reply])


def _whole(state: InMemoryNodeState, reply: str) -> bool:
    store = state.object_store
    if reply not in store:  # dropped before, and not yet given up by the worker
        return False
    return all(store.get(part.object_id) for part in iterate_object_tree(store.get_object_tree(reply)))


def _arguments(place: NodePlace, port: int) -> list[str]:
    desk = place.desk
    return [
        *("--superlink", place.superlink, "--root-certificates", str(place.ca)),
        *("--auth-supernode-private-key", str(place.key), "--isolation", "process"),
        *("--host", LOOPBACK, "--port", str(port), "--superexec-auth-secret-file", str(desk.secret)),
        *("--ssl-certfile", str(desk.certificate), "--ssl-keyfile", str(desk.key)),
        *("--ssl-ca-certfile", str(desk.certificate)),
    ]
