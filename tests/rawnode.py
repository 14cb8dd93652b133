"""A hospital's node without our SuperNode: whoever has a node key can speak Flower's Fleet API directly, and lie."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message, Metadata, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.node_pb2 import Node as NodeProto
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from tests.flowerline import Line

from wardround.common.flower.places import LinkPlace


class RawNode:
    """A node that speaks Flower's Fleet API directly, and may lie."""

    def __init__(self, place: LinkPlace, key_file: Path, number: int) -> None:
        self.number = number
        key = load_ssh_private_key(key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.public = public_key_to_bytes(key.public_key())
        self.client = FleetHttpClient.from_server_address(
            place.loopback,
            False,
            place.ca.read_bytes(),
            interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
        )
        self.node = NodeProto(node_id=self.number)
        self.client.ActivateNode(ActivateNodeRequest(public_key=self.public, heartbeat_interval=30))

    def pull(self) -> list[Message]:
        """What waits for this node."""
        waiting = self.client.PullMessages(PullMessagesRequest(node=self.node)).messages_list
        return [message_from_proto(one) for one in waiting]

    def push(self, message: Message) -> None:
        """Send one message as it is."""
        message.metadata.__dict__["_message_id"] = message.object_id
        tree = get_object_tree(message)
        proto = message_to_proto(remove_content_from_message(message))
        self.client.PushMessages(
            PushMessagesRequest(node=self.node, messages_list=[proto], message_object_trees=[tree])
        )

    def leave(self) -> None:
        """Go offline."""
        self.client.DeactivateNode(DeactivateNodeRequest(node_id=self.number))
        self.client.close()


def raw_node(link: Line, name: str) -> RawNode:
    """A registered node that may lie."""
    number = link.enrol(name)
    return RawNode(link.place, link.node_place(name).key, number)


def forged(asked: Message, *, sender: int, receiver: int, reply: bool) -> Message:
    """A message with whatever metadata."""
    was = asked.metadata
    return make_message(
        Metadata(
            run_id=was.run_id,
            message_id="",
            src_node_id=sender,
            dst_node_id=receiver,
            reply_to_message_id=was.message_id if reply else "",
            group_id="",
            created_at=was.created_at,
            ttl=was.ttl / 2,
            message_type="train",
        ),
        content=RecordDict(),
    )
