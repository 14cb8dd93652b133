"""What a hospital's processes said on a tape (`tapped`), request by request, in a form in which two can be compared.

Every field of every request is kept: method, path, headers, each field of Flower's protocol buffers and of its objects,
and each byte of our envelopes. Replaced by a word are only the noised numbers, of which the length is kept, and what
`RANDOM` and `HEADERS` list with a reason, of which it is kept whether two are the same. What has a form that is not
known here raises, and so does a byte that no field holds.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import h11
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2, run_pb2, runtime_pb2
from flwr.proto.fab_pb2 import GetFabRequest
from flwr.proto.recorddict_pb2 import ConfigRecord
from google.protobuf.message import Message as Proto
from tests.deployment.sealed import envelope_of

HEADERS: Final[Mapping[str, str]] = {
    "host": "the port is drawn; on the executor's side that of loopback",
    "flwr-public-key": "names the hospital",
    "flwr-timestamp": "the clock",
    "flwr-signature": "over the clock",
    "flwr-task-token": "drawn by the SuperNode",
    "flwr-superexec-ts": "the clock",
    "flwr-superexec-nonce": "drawn",
    "flwr-superexec-signature": "over both",
}
CHECKED: Final[Mapping[str, Callable[[bytes], object]]] = {
    "content-length": len,
    "flwr-superexec-body-sha256": lambda body: hashlib.sha256(body).hexdigest(),
}
"""Headers that must be what the body, which is compared itself, makes them."""

RANDOM: Final[Mapping[str, str]] = {
    "flwr.proto.Node.node_id": "drawn by the SuperLink",
    "flwr.proto.DeactivateNodeRequest.node_id": "drawn by the SuperLink",
    "flwr.proto.ActivateNodeRequest.public_key": "names the hospital",
    "flwr.proto.Metadata.run_id": "drawn by the SuperLink",
    "flwr.proto.GetRunRequest.run_id": "drawn by the SuperLink",
    "flwr.proto.GetFabRequest.run_id": "drawn by the SuperLink",
    "flwr.proto.PushObjectRequest.run_id": "drawn by the SuperLink",
    "flwr.proto.PullObjectRequest.run_id": "drawn by the SuperLink",
    "flwr.proto.ConfirmMessageReceivedRequest.run_id": "drawn by the SuperLink",
    "flwr.proto.Metadata.src_node_id": "drawn by the SuperLink",
    "flwr.proto.Metadata.dst_task_id": "drawn by the SuperLink",
    "flwr.proto.PushObjectRequest.session_id": "drawn by the SuperNode",
    "flwr.proto.Metadata.message_id": "a hash over noised numbers",
    "flwr.proto.Metadata.reply_to_message_id": "a hash over a task that names the hospital",
    "flwr.proto.Metadata.created_at": "the coordinator's clock: that of the task",
    "flwr.proto.ObjectTree.object_id": "a hash over noised numbers",
    "flwr.proto.PushObjectRequest.object_id": "a hash over noised numbers",
    "flwr.proto.PullObjectRequest.object_id": "a hash over a task that names the hospital",
    "flwr.proto.ConfirmMessageReceivedRequest.message_object_id": "a hash over a task that names the hospital",
}
NODE: Final = "/v1/fleet/"
EXECUTOR: Final = "/v1/runtime/"
FORMS: Final[Mapping[str, type[Proto]]] = {
    NODE + "activate-node": fleet_pb2.ActivateNodeRequest,
    NODE + "deactivate-node": fleet_pb2.DeactivateNodeRequest,
    NODE + "send-node-heartbeat": heartbeat_pb2.SendNodeHeartbeatRequest,
    NODE + "pull-messages": fleet_pb2.PullMessagesRequest,
    NODE + "push-messages": fleet_pb2.PushMessagesRequest,
    NODE + "get-run": run_pb2.GetRunRequest,
    NODE + "get-fab": GetFabRequest,
    NODE + "push-object": message_pb2.PushObjectRequest,
    NODE + "pull-object": message_pb2.PullObjectRequest,
    NODE + "confirm-message-received": message_pb2.ConfirmMessageReceivedRequest,
    EXECUTOR + "acquire-task": runtime_pb2.AcquireTaskRequest,
    EXECUTOR + "pull-task-input": runtime_pb2.PullTaskInputRequest,
    EXECUTOR + "send-task-heartbeat": runtime_pb2.SendTaskHeartbeatRequest,
    EXECUTOR + "pull-messages": runtime_pb2.PullAppMessagesRequest,
    EXECUTOR + "push-messages": runtime_pb2.PushAppMessagesRequest,
    EXECUTOR + "push-object": message_pb2.PushObjectRequest,
    EXECUTOR + "pull-object": message_pb2.PullObjectRequest,
    EXECUTOR + "confirm-message-received": message_pb2.ConfirmMessageReceivedRequest,
    EXECUTOR + "push-task-output": runtime_pb2.PushTaskOutputRequest,
}
LISTENING: Final = ("acquire-task", "heartbeat", "pull-", "/health")
"""Requests that are repeated while time passes. They must all be alike; how many there are is a matter of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request as it left."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class Names:
    """Words for what is random: the same word for the same value, numbered as they come."""

    known: dict[tuple[str, object], str] = field(default_factory=dict)

    def word(self, kind: str, value: object) -> str:
        """The word for a value."""
        number = sum(one == kind for one, _ in self.known)
        return self.known.setdefault((kind, value), f"<{kind} {number + 1}>")


def read_tape(path: Path) -> tuple[list[Request], set[int]]:
    """All requests in their order, and the ports of every connection that was opened."""
    found, ports, talks = list[Request](), set[int](), dict[str, "_Talk"]()
    for text in path.read_text(encoding="ascii").splitlines():
        line = json.loads(text)
        if "connect" in line:
            assert line["connect"][0] == "127.0.0.1", line
            ports.add(line["connect"][1])
            continue
        talk = talks.setdefault(line["connection"], _Talk())
        found.extend(talk.hear(base64.b64decode(line["data"])))
        ports.add(line["peer"])
    return found, ports


class _Talk:
    """One connection, heard from the other side."""

    def __init__(self) -> None:
        self._wire = h11.Connection(h11.SERVER)
        self._asked: h11.Request | None = None
        self._body = b""

    def hear(self, data: bytes) -> Iterator[Request]:
        self._wire.receive_data(data)
        while (event := self._wire.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            match event:
                case h11.Request():
                    self._asked, self._body = event, b""
                case h11.Data():
                    self._body += bytes(event.data)
                case h11.EndOfMessage():
                    assert self._asked is not None
                    assert not event.headers
                    yield _request(self._asked, self._body)
                    if not self._next():
                        return

    def _next(self) -> bool:
        self._wire.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self._wire.send(h11.EndOfMessage())
        if self._wire.our_state is not h11.DONE:
            return False
        self._wire.start_next_cycle()
        return True


def _request(asked: h11.Request, body: bytes) -> Request:
    headers = tuple((bytes(name).decode(), bytes(value).decode()) for name, value in asked.headers)
    return Request(method=asked.method.decode(), path=asked.target.decode(), headers=headers, body=body)


def comparable(requests: Iterable[Request]) -> tuple[list[object], set[str]]:
    """What was said in order, and what was said again and again.

    Flower hands the parts of one message to two threads; so parts that follow each other are put in one order.
    """
    names, said, listening = Names(), list[object](), set[str]()
    for request in requests:
        if any(word in request.path for word in LISTENING):
            listening.add(repr(normal(request, Names())))
        else:
            said.append(normal(request, names))
    return _in_one_order(said), listening


def _in_one_order(said: Sequence[object]) -> list[object]:
    """Runs of parts, sorted by what they are (their kind comes first in `normal`)."""
    ordered, parts = list[object](), list[object]()
    for one in said:
        if "push-object" in repr(one)[:60]:
            parts.append(one)
            continue
        ordered += [*sorted(parts, key=_kind), one]
        parts = []
    return [*ordered, *sorted(parts, key=_kind)]


def _kind(part: object) -> str:
    return repr(part).rpartition("object_content")[2][:60]


def normal(request: Request, names: Names) -> tuple[object, ...]:
    """A request without what is random."""
    headers = tuple(_header(name, value, request.body) for name, value in request.headers)
    if request.path not in FORMS:
        assert (request.path, request.body) == ("/health", b""), request.path
        return request.method, request.path, headers
    fields = tuple(walk(_whole(FORMS[request.path], request.body), names))
    return request.method, request.path, fields, headers


def _whole(form: type[Proto], data: bytes) -> Proto:
    """Read a protocol buffer that holds nothing beyond the fields that its form has."""
    proto = form.FromString(data)
    proto.DiscardUnknownFields()
    assert proto.ByteSize() == len(data), form
    return proto


def _header(name: str, value: str, body: bytes) -> tuple[str, str]:
    if name in CHECKED:
        assert value == str(CHECKED[name](body)), name
        return name, "<as the body>"
    return name, f"<{name}>" if name in HEADERS else value


def walk(proto: Proto, names: Names) -> Iterator[tuple[str, object]]:
    """Every field that is there, by its full name; lengths of random text are kept."""
    for descriptor, value in proto.ListFields():
        where = descriptor.full_name
        for one in value if descriptor.is_repeated else [value]:
            if where in RANDOM:
                yield where, (names.word(RANDOM[where], one), len(one) if isinstance(one, str | bytes) else 8)
            elif where == "flwr.proto.PushObjectRequest.object_content":
                yield where, object_of(one, names)
            elif isinstance(one, Proto):
                yield where, tuple(walk(one, names))
            else:
                yield where, one


def object_of(content: bytes, names: Names) -> tuple[object, ...]:
    """One of Flower's objects: its kind, what it refers to, and what it holds."""
    head, _, body = content.partition(b"\0")
    kind, children, length = head.decode().split(" ")
    assert int(length) == len(body)
    links = tuple(names.word("a hash over noised numbers", one) for one in children.split(",") if one)
    match kind:
        case "Message":
            return kind, links, tuple(walk(_whole(message_pb2.Message, body), names))
        case "RecordDict":
            return kind, links, tuple(json.loads(body))
        case "ConfigRecord":
            record = _whole(ConfigRecord, body)
            assert isinstance(record, ConfigRecord)
            (item,) = record.items
            return kind, links, item.key, envelope_of(item.value.bytes)
    raise AssertionError(f"nothing is known of {kind}")
