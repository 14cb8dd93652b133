"""Private names of Flower's list of nodes, seen over the Control API. Verified: flwr 1.41."""

from flwr.proto.control_pb2 import ListNodesRequest, RegisterNodeRequest, UnregisterNodeRequest
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.constant import NodeStatus
from flwr.supercore.control.control_http_client import ControlHttpClient


def listed(control: ControlHttpClient) -> list[NodeInfo]:
    """Every node that may connect."""
    nodes = control.ListNodes(ListNodesRequest()).nodes_info
    return [node for node in nodes if node.status != NodeStatus.UNREGISTERED]


def enter(control: ControlHttpClient, name: str, public_key: bytes) -> int:
    """Let the holder of a key (PEM) connect; the node's number."""
    return int(control.RegisterNode(RegisterNodeRequest(public_key=public_key, name=name)).node_id)


def strike(control: ControlHttpClient, number: int) -> None:
    """Never let a node connect again."""
    control.UnregisterNode(UnregisterNodeRequest(node_id=number))
