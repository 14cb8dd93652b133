"""Private names of Flower's ClientApp side: one message for one forked child, and its reply. Verified: flwr 1.41.

Guarantees:
    An error leaves as one of two constants; no text of an exception and no state of Flower's leaves at all. How long a
    hospital computed is not sent along.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from flwr.app import Context, Error, Message
from flwr.common.constant import ErrorCode
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.runtime import RuntimeHttpClient
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


def send_reply(client: RuntimeHttpClient, reply: Message, context: Context, *, asked: Message) -> None:
    """Hand a reply to the SuperNode, with the times of the message that it answers.

    Flower would send along when the reply was made and the time to live that then was left, to a microsecond: how long
    the hospital computed.
    """
    reply.metadata.created_at, reply.metadata.ttl = asked.metadata.created_at, asked.metadata.ttl
    stock.push_message(client, reply, context)


def failed(message: Message) -> Message:
    """What the server sees of any failure at a site: the same every time."""
    return Message(Error(code=ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason="SiteFailed"), reply_to=message)
