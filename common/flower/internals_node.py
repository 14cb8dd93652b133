"""Private names of Flower's SuperNode: the stock process, awake when something happens. Verified: flwr 1.41.

Guarantees:
    How long a hospital computed is not sent along (Flower reports it to a microsecond). What a bundle or a run says as
    configuration is not even parsed.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from flwr.proto.task_pb2 import Task
from flwr.supercore.inflatable.inflatable_utils import pull_objects
from flwr.supernode import start_client_internal as worker
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.nodestate.in_memory_nodestate import InMemoryNodeState

from wardround.common.flower.places import LOOPBACK, NodePlace
from wardround.common.flower.replacing import replace_in

_IDLE_NAP: Final = 3.0  # seconds: Flower's own, by which the kinds of waiting are told apart
_SHARE: Final = 0.05  # of the time already waited, so that a poll never adds more than this to a round
_IDLE: Final = (0.1, 2.0)  # seconds between two questions to the SuperLink
_REPLY: Final = (0.02, 0.5)  # seconds between two looks for the executor's reply
_FIRST_LOOK: Final = 0.02  # seconds between two looks for bytes that are on their way; Flower's own is 1

_stock_expired = InMemoryNodeState._on_task_tokens_expired


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
    """Flower's SuperNode in this process, its executor's door at a port of loopback. Returns by `SystemExit`."""
    tame()
    sys.argv = ["flower-supernode", *_arguments(place, port)]
    flower_supernode()


def tame() -> None:
    """Put ours in the place of what naps too long, tells too much, believes too much, or waits for ever."""
    replace_in(worker, "time", Naps())
    replace_in(worker, "pull_objects", partial(pull_objects, initial_backoff=_FIRST_LOOK))
    replace_in(worker, "get_fused_config_from_fab", lambda *given: {})
    replace_in(InMemoryNodeState, "get_message_processing_duration", lambda *given, **named: 0.0)
    replace_in(InMemoryNodeState, "_on_task_tokens_expired", _answer_for_all)


def _answer_for_all(state: InMemoryNodeState, tasks: list[Task]) -> None:
    """As Flower does, also for a message that no executor had fetched: else the SuperNode waits for ever."""
    runs = {task.run_id for task in tasks}
    with state.lock_msg_store:
        for entry in state.msg_store.values():
            metadata = entry.message.metadata
            entry.is_retrieved |= metadata.run_id in runs and not metadata.reply_to_message_id
    _stock_expired(state, tasks)


def _arguments(place: NodePlace, port: int) -> list[str]:
    desk = place.desk
    return [
        *("--superlink", place.superlink, "--root-certificates", str(place.ca)),
        *("--auth-supernode-private-key", str(place.key), "--isolation", "process"),
        *("--host", LOOPBACK, "--port", str(port), "--superexec-auth-secret-file", str(desk.secret)),
        *("--ssl-certfile", str(desk.certificate), "--ssl-keyfile", str(desk.key)),
        *("--ssl-ca-certfile", str(desk.certificate)),
    ]
