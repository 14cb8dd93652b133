"""Which node keys may connect to the SuperLink: Flower's list, made equal to the coordinator's roster.

A key in this list lets a hospital's SuperNode fetch and send, nothing more. Who may answer in a study is decided by
the signed roster.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wardround.common.flower.internals_calls import ControlHttpClient, Patience, control_client
from wardround.common.flower.internals_nodes import enter, listed, strike
from wardround.common.flower.nodekeys import check_node_key, node_key_line, node_key_pem
from wardround.common.flower.places import LinkPlace

_PATIENCE = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that may connect.

    Attributes:
        name: As it was registered.
        public_key: One OpenSSH line without a comment.
        number: Flower's.
        status: `registered` (never seen), `online` or `offline`.
    """

    name: str
    public_key: str
    number: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What `synchronise` did.

    Attributes:
        added: Names whose key may connect now.
        removed: Names of which a key may not connect any more.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]


def registered(place: LinkPlace) -> list[Node]:
    """Every node that may connect to the running SuperLink of a place, by name.

    Raises:
        StudyError: The SuperLink does not answer.
    """
    with _control(place) as control:
        return _nodes(control)


def register(place: LinkPlace, name: str, public_key: str) -> int:
    """Let the holder of a node key connect.

    Args:
        place: The SuperLink, running on this machine.
        name: The hospital's name.
        public_key: One OpenSSH line.

    Returns:
        Flower's number of the node; the same again if the key is there.

    Raises:
        StudyError: The SuperLink does not answer.
        TrustError: The line is not a node key.
    """
    line = check_node_key(public_key)
    with _control(place) as control:
        there = [node.number for node in _nodes(control) if node.public_key == line]
        return there[0] if there else enter(control, name, node_key_pem(line))


def unregister(place: LinkPlace, name: str) -> None:
    """Never again let a hospital's keys connect. Nothing happens where it has none.

    Raises:
        StudyError: The SuperLink does not answer.
    """
    with _control(place) as control:
        for node in _nodes(control):
            if node.name == name:
                strike(control, node.number)


def synchronise(place: LinkPlace, members: Mapping[str, str]) -> Changes:
    """Make Flower's list equal to the members: after the SuperLink has started and after every change of the roster.

    Args:
        place: The SuperLink, running on this machine.
        members: Name of each hospital and its node key, one OpenSSH line.

    Raises:
        StudyError: The SuperLink does not answer.
        TrustError: A line is not a node key.
    """
    wanted = {(name, check_node_key(line)) for name, line in members.items()}
    with _control(place) as control:
        nodes = {(node.name, node.public_key): node.number for node in _nodes(control)}
        removed, added = sorted(nodes.keys() - wanted), sorted(wanted - nodes.keys())
        for one in removed:
            strike(control, nodes[one])
        for name, line in added:
            enter(control, name, node_key_pem(line))
    return Changes(added=tuple(name for name, _ in added), removed=tuple(name for name, _ in removed))


def _nodes(control: ControlHttpClient) -> list[Node]:
    found = (
        Node(name=n.name, public_key=node_key_line(n.public_key), number=n.node_id, status=n.status)
        for n in listed(control)
    )
    return sorted(found, key=lambda node: (node.name, node.number))


@contextlib.contextmanager
def _control(place: LinkPlace) -> Iterator[ControlHttpClient]:
    patience = Patience(f"the SuperLink on {place.loopback}", limit=_PATIENCE)
    with control_client(place.loopback, place.ca, place.secret, patience) as control:
        yield control
