"""The SuperLink as a real process: who reaches what, which nodes may connect, what a node may send; and `serve`."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, Message
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    RegisterNodeFleetRequest,
)
from flwr.serverapp import Grid
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from tests.flowerline import Line, ask, certificates, free_port, line
from tests.rawnode import RawNode, forged, raw_node

from wardround.common.errors import StudyError, TrustError
from wardround.common.flower.internals_calls import LOCAL_HEADER, healthy, local_secret
from wardround.common.flower.internals_link import LARGEST_BODY, OPEN_PATHS
from wardround.common.flower.nodekeys import new_node_key
from wardround.common.flower.nodes import Changes, register, registered, synchronise, unregister
from wardround.common.flower.places import LinkPlace
from wardround.common.flower.records import pack
from wardround.common.flower.supernode import check_promising

CLOSED = (
    "/v1/runtime/acquire-task",
    "/v1/control/start-run",
    "/v1/control/register-node",
    "/docs",
    "/",
    "/v1/fleet/",
)


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A running SuperLink."""
    with line(tmp_path_factory.mktemp("link")) as made:
        made.link()
        yield made


def call(link: Line, path: str, **named: object) -> int:
    """Status of a bare request."""
    with httpx.Client(verify=ssl.create_default_context(cafile=link.place.ca), trust_env=False) as client:
        return client.post(f"https://{link.place.loopback}{path}", **named).status_code  # type: ignore[arg-type]


@pytest.fixture
def pair(link: Line) -> Iterator[tuple[RawNode, RawNode]]:
    """Two registered nodes."""
    first, second = raw_node(link, "first"), raw_node(link, "second")
    yield first, second
    for one in (first, second):
        one.leave()


def test_hospitals_reach_the_fleet_and_the_health_check_and_nothing_else(link: Line) -> None:
    for path in CLOSED:
        assert call(link, path) == 403, path
        assert call(link, path, headers={LOCAL_HEADER: "0" * 64}) == 403, path
    assert call(link, "/v1/fleet/register-node") == 403
    assert call(link, "/health") == 405  # reached, but it wants GET
    assert healthy(link.place.loopback, link.place.ca)
    for path in OPEN_PATHS - {"/health"}:
        assert call(link, path) not in (200, 403, 404), path


def test_this_machines_secret_opens_the_rest_but_not_by_a_claim_to_come_from_elsewhere(link: Line) -> None:
    shown = {LOCAL_HEADER: local_secret(link.place.secret)}
    assert call(link, "/v1/control/list-runs", headers=shown) != 403
    assert call(link, "/v1/control/list-runs", headers={"X-Forwarded-For": "127.0.0.1"}) == 403


def test_a_body_without_a_length_or_beyond_the_limit_is_refused_unread(link: Line) -> None:
    assert call(link, "/v1/fleet/pull-messages", content=iter([b"a"])) == 413
    host, port = link.place.loopback.split(":")
    trusted = ssl.create_default_context(cafile=link.place.ca)
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        trusted.wrap_socket(plain, server_hostname=host) as secure,
    ):
        head = (
            f"POST /v1/fleet/pull-messages HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGEST_BODY + 1}\r\n\r\n"
        )
        secure.sendall(head.encode())
        assert secure.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_key_that_nobody_enrolled_cannot_connect(link: Line, tmp_path: Path) -> None:
    new_node_key(tmp_path / "key")
    key = load_ssh_private_key((tmp_path / "key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    client = FleetHttpClient.from_server_address(
        link.place.loopback,
        False,
        link.place.ca.read_bytes(),
        interceptors=[NodeAuthHttpInterceptor(key, key.public_key())],
    )
    public = public_key_to_bytes(key.public_key())
    with pytest.raises(httpx.HTTPStatusError):
        client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=30))
    with pytest.raises(httpx.HTTPStatusError):
        client.RegisterNode(RegisterNodeFleetRequest(public_key=public))
    client.close()


def test_a_node_can_answer_for_itself_only(link: Line, pair: tuple[RawNode, RawNode]) -> None:
    first, second = pair

    def app(grid: Grid, context: Context) -> None:
        (identifier,) = grid.push_messages([Message(pack(b"for the second"), second.number, "train")])
        (asked,) = second.pull()
        lies = [
            forged(asked, sender=first.number, receiver=second.number, reply=False),  # a task from the first
            forged(asked, sender=1, receiver=second.number, reply=False),  # a task in the server's name
            forged(asked, sender=second.number, receiver=1, reply=True),  # a reply in the second's name
            forged(asked, sender=first.number, receiver=second.number, reply=True),
        ]
        for lie in lies:
            with pytest.raises(httpx.HTTPStatusError) as refused:
                first.push(lie)
            assert refused.value.response.status_code == 403
        assert second.pull() == []
        assert list(grid.pull_messages([identifier])) == []
        second.push(forged(asked, sender=second.number, receiver=1, reply=True))

    link.serve(app)
    assert "in another node's name" in link.said("superlink")
    assert "that is no reply" in link.said("superlink")


def test_nodes_are_registered_listed_struck_and_made_equal_to_the_roster(link: Line, tmp_path: Path) -> None:
    keys = {name: new_node_key(tmp_path / name) for name in ("east", "west", "west again")}
    number = register(link.place, "east", keys["east"])
    assert register(link.place, "east", keys["east"] + " a comment") == number
    (east,) = [node for node in registered(link.place) if node.name == "east"]
    assert (east.public_key, east.number, east.status) == (keys["east"], number, "registered")
    before = {node.name: node.public_key for node in registered(link.place) if node.name != "east"}
    members = {**before, "west": keys["west"]}
    assert synchronise(link.place, members) == Changes(added=("west",), removed=("east",))
    assert synchronise(link.place, members) == Changes(added=(), removed=())
    rotated = {**members, "west": keys["west again"]}
    assert synchronise(link.place, rotated) == Changes(added=("west",), removed=("west",))
    unregister(link.place, "west")
    unregister(link.place, "nobody")
    assert {node.name for node in registered(link.place)} == set(before)


def test_a_proxy_of_the_environment_does_not_stand_between_processes_of_one_machine(
    link: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    ran: list[int] = []
    link.serve(lambda grid, context: ran.append(len(list(grid.get_node_ids()))))
    assert len(ran) == 1
    assert healthy(link.place.loopback, link.place.ca)
    registered(link.place)


def test_a_message_to_a_removed_node_is_answered_by_an_error_at_once(link: Line) -> None:
    gone = raw_node(link, "gone")
    answers: list[Message] = []

    def app(grid: Grid, context: Context) -> None:
        unregister(link.place, "gone")
        answers.append(ask(grid, gone.number, b"are you there"))

    link.serve(app)
    gone.client.close()
    assert answers[0].error.code == 5


def test_what_the_app_raises_passes_through_and_flower_hears_no_text(link: Line) -> None:
    def app(grid: Grid, context: Context) -> None:
        raise StudyError("the quorum was not reached in Freiburg")

    with pytest.raises(StudyError, match="Freiburg"):
        link.serve(app)

    def interrupted(grid: Grid, context: Context) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        link.serve(interrupted)
    assert "Freiburg" not in link.said("superlink")
    assert b"Freiburg" not in b"".join(
        path.read_bytes() for path in link.place.home.rglob("*") if path.is_file()
    )


def test_a_new_start_ends_what_a_dead_process_left(link: Line) -> None:
    seen: list[int] = []

    def outer(grid: Grid, context: Context) -> None:
        link.serve(lambda grid, context: seen.append(context.run_id))
        if len(seen) < 2:
            list(grid.get_node_ids())  # this run was ended by the other one: begin again
        seen.append(0)

    lines: list[str] = []
    link.serve(outer, say=lines.append)
    assert len(set(seen)) == 3
    assert lines == ["the SuperLink ended the run: beginning another one, from the last checkpoint"]


def test_a_stranger_on_the_port_is_not_talked_to(link: Line, tmp_path: Path) -> None:
    ca, _, _ = certificates(tmp_path / "other")
    was = link.place
    other = LinkPlace(
        host=was.host, port=was.port, ca=ca, certificate=was.certificate, key=was.key, home=was.home
    )
    assert not healthy(other.loopback, ca)
    with pytest.raises(TrustError, match="certificate"):
        registered(other)


@pytest.mark.parametrize(
    ("off", "named"),
    [
        (timedelta(hours=1), r"clock is 3[56]\d\d s ahead"),
        (timedelta(hours=-1), r"clock is 3[56]\d\d s behind the coordinator's"),
        (timedelta(days=3), "expired at"),
    ],
)
def test_a_supernode_says_what_of_clock_or_certificate_is_wrong(
    link: Line, off: timedelta, named: str
) -> None:
    with pytest.raises(TrustError, match=named):
        check_promising(link.node_place("clock"), now=lambda: datetime.now(UTC) + off)


def test_a_supernode_goes_on_where_both_are_right_or_nobody_is_there_to_ask(
    link: Line, tmp_path: Path
) -> None:
    place = link.node_place("clock")
    check_promising(place)
    check_promising(replace(place, superlink=f"127.0.0.1:{free_port()}"))
