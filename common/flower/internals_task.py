"""Private names of Flower's ClientApp side: one message for one forked child, and its reply. Verified: flwr 1.41.

Guarantees:
    An error leaves as one of two constants; no text of an exception and no state of Flower's leaves at all.
"""

import base64
import json
from dataclasses import dataclass
from functools import partial
from typing import Final

from flwr.app import Context, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime import run_clientapp as stock

from wardround.common.flower.replacing import replace_in

_CLIENT_TASK: Final = "flwr-clientapp"
_LOOKS: Final = (
    0.02,
    0.5,
)  # seconds between two looks for bytes that are on their way; Flower's own are 1 and 10

# How long a child waits for them is the SuperNode's business, which ends the task of a message that will not come.
replace_in(
    stock,
    "pull_and_inflate_object_from_tree",
    partial(
        pull_and_inflate_object_from_tree,
        initial_backoff=_LOOKS[0],
        backoff_cap=_LOOKS[1],
        max_tries_per_object=None,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTask:
    """What a SuperNode hands to an executor.

    Attributes:
        message: From the ServerApp; not believed.
        context: Flower's; nothing of it is used.
        bundle: The run's bundle; never unpacked.
    """

    message: Message
    context: Context
    bundle: bytes


def claim_client_task(client: RuntimeHttpClient) -> str | None:
    """The token of the next ClientApp task that waits, if there is one."""
    return str(client.AcquireTask(AcquireTaskRequest(supported_task_types=[_CLIENT_TASK])).token) or None


def fetch(client: RuntimeHttpClient) -> ClientTask:
    """The input of this client's task. This process becomes the task: `Message(...)` wants that."""
    message, context, _, bundle = stock.pull_task_input(client)
    return ClientTask(message=message, context=context, bundle=bundle.content)


def send_reply(client: RuntimeHttpClient, reply: Message, context: Context) -> None:
    """Hand a reply to the SuperNode."""
    stock.push_message(client, reply, context)


def failed(message: Message) -> Message:
    """What the server sees of any failure at a site: the same every time."""
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="SiteFailed"), reply_to=message)


def crashed(message: Message) -> Message:
    """What the server sees of a child that died: the same every time."""
    return Message(Error(code=ErrorCode.CLIENT_APP_CRASHED, reason="SiteFailed"), reply_to=message)


def remember(token: str, task: ClientTask) -> bytes:
    """What it takes to answer for a child that dies, without the message's content."""
    bare = message_to_proto(remove_content_from_message(task.message)).SerializeToString()
    context = task.context
    names = {"run": context.run_id, "node": context.node_id, "task": TaskIdentity.task_id}
    return json.dumps({"token": token, **names, "message": base64.b64encode(bare).decode()}).encode()


def recall(data: bytes) -> tuple[str, Message, Context]:
    """Read `remember` back, and become its task.

    Raises:
        ValueError: It is something else.
    """
    try:
        kept = json.loads(data)
        bare = ProtoMessage.FromString(base64.b64decode(kept["message"]))
        TaskIdentity.run_id, TaskIdentity.node_id = kept["run"], kept["node"]
        TaskIdentity.task_id = kept["task"]
        context = Context(
            run_id=kept["run"], node_id=kept["node"], node_config={}, state=RecordDict(), run_config={}
        )
        return str(kept["token"]), message_from_proto(bare), context
    except (KeyError, TypeError) as error:
        raise ValueError("not a task") from error
