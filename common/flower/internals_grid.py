"""Private names of Flower's ServerApp side: one run, its task, and a grid that sends and fetches without naps.

Verified against flwr 1.41.
"""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode, Status
from flwr.common.serde import context_from_proto, run_from_proto
from flwr.proto.control_pb2 import ListRunsRequest, StartRunRequest, StopRunRequest
from flwr.proto.fab_pb2 import Fab
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest
from flwr.proto.runtime_pb2 import (
    AcquireTaskRequest,
    PullAppMessagesRequest,
    PullTaskInputRequest,
)
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.inflatable.inflatable_protobuf_utils import make_pull_object_fn_protobuf
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import HttpGrid

from wardround.common.errors import StudyError
from wardround.common.flower.internals_calls import Patience, link_client
from wardround.common.flower.internals_pull import Parcel
from wardround.common.flower.places import LinkPlace

_SERVER_TASK: Final = "flwr-serverapp"
_UNSENT: Final = "unsent-"
_TRIES: Final = 5  # of a message whose parts the SuperLink does not take


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTask:
    """A claimed ServerApp task.

    Attributes:
        context: What Flower hands to the ServerApp.
        run: The run's description.
    """

    context: Context
    run: Run


def unfinished_runs(control: ControlHttpClient) -> list[int]:
    """The runs that a SuperLink still works on; it forgets what it kept of the others."""
    runs = control.ListRuns(ListRunsRequest()).run_dict
    return [number for number, run in runs.items() if run.status.status != Status.FINISHED]


def stop_run(control: ControlHttpClient, number: int) -> None:
    """End a run, whoever works on it."""
    control.StopRun(StopRunRequest(run_id=number))


def start_run(control: ControlHttpClient, bundle: bytes) -> int:
    """Begin a run of a bundle; its number."""
    return int(control.StartRun(StartRunRequest(fab=Fab(content=bundle))).run_id)


def claim_server_task(client: RuntimeHttpClient) -> tuple[int, str] | None:
    """The next ServerApp task that waits: its run's number and its token; None if there is none."""
    found = client.AcquireTask(AcquireTaskRequest(supported_task_types=[_SERVER_TASK]))
    return (int(found.task.run_id), str(found.token)) if found.token else None


def open_task(client: RuntimeHttpClient) -> ServerTask:
    """Say that the task of this client is being worked on, and become it: `Message(...)` wants that."""
    given = client.PullTaskInput(PullTaskInputRequest())
    TaskIdentity.task_id, TaskIdentity.run_id = given.task_id, given.run.run_id
    TaskIdentity.node_id = given.context.node_id
    return ServerTask(context=context_from_proto(given.context), run=run_from_proto(given.run))


class SteadyGrid(HttpGrid):
    """Flower's own grid over HTTP, with one message in memory at a time and our own patience.

    A message that the SuperLink does not take (its node was removed) is answered at once by an error, as Flower does
    for a node that is away. A reply that a node announced and does not send holds up nobody else's.

    Args:
        place: The SuperLink.
        token: Of the claimed task.
        patience: How long a SuperLink that is away is waited for.
    """

    def __init__(self, place: LinkPlace, token: str, patience: Patience) -> None:
        super().__init__(runtime_api_address=place.loopback, token=token)
        self._place = place
        self._patience = patience
        self._unsent: dict[str, Message] = {}
        self._parcels: dict[str, Parcel] = {}  # name of the message that is answered -> its reply, on its way

    def _connect(self) -> None:
        place = self._place
        self._client = link_client(place.loopback, place.ca, place.secret, self._patience, token=self._token)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send one after the other, each as it is made."""
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        if identifier := self._announced(message):
            return identifier
        identifier = f"{_UNSENT}{uuid.uuid4()}"
        message.metadata.__dict__["_message_id"] = identifier
        error = Error(code=ErrorCode.NODE_UNAVAILABLE, reason="not taken by the SuperLink")
        self._unsent[identifier] = Message(error, reply_to=message)
        return identifier

    def _announced(self, message: Message) -> str:
        """The message's name; empty if its node is unknown.

        A SuperLink that dies between a message's announcement and its last part has forgotten, when it is back,
        which parts it waited for, or that it has the last one. Announced again, it asks for what it lacks.
        """
        for _ in range(_TRIES):
            with suppress(ObjectPushError):
                (identifier,) = super().push_messages([message])
                return identifier
        raise StudyError(
            f"the SuperLink did not keep what it was sent, {_TRIES} times",
            advice="see its log: its disk may be full. Then repeat the same command to resume the study",
        )

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """What has arrived whole by now, of those asked for, one by one; waits for no upload."""
        asked = set(message_ids)
        for one in asked & self._unsent.keys():
            yield self._unsent.pop(one)
        self._ask_for([one for one in asked - self._parcels.keys() if not one.startswith(_UNSENT)])
        for other in self._parcels.keys() - asked:
            self._parcels[other].put_back()
        pull = make_pull_object_fn_protobuf(self._runtime_client.PullObject, self.node, self.run.run_id)
        for one in asked & self._parcels.keys():
            if (reply := self._parcels[one].look(pull)) is not None:
                self._confirm(self._parcels.pop(one))
                yield reply

    def _ask_for(self, identifiers: list[str]) -> None:
        """Hear which replies were announced; the SuperLink tells it once."""
        if not identifiers:
            return
        told = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=identifiers))
        for announced, tree in zip(told.messages_list, told.message_object_trees, strict=True):
            self._parcels[announced.metadata.reply_to_message_id] = Parcel.of(announced, tree)

    def _confirm(self, parcel: Parcel) -> None:
        """Let the SuperLink forget a reply."""
        self._runtime_client.ConfirmMessageReceived(
            ConfirmMessageReceivedRequest(
                node=self.node, run_id=self.run.run_id, message_object_id=parcel.name
            )
        )
