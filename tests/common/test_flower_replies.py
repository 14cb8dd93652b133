"""A hospital's SuperNode that lies about its reply: it harms its own reply and nobody else's."""

import json
import tracemalloc
from pathlib import Path

import httpx
import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_to_proto
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree, PushObjectRequest
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_id, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import ObjectPullError, ObjectUnavailableError
from tests.flowerline import line, until
from tests.rawnode import RawNode, forged, raw_node

from wardround.common.flower.internals import become_task, name_message
from wardround.common.flower.internals_link import MOST_OBJECTS
from wardround.common.flower.internals_pull import Parcel
from wardround.common.flower.records import pack, unpack
from wardround.common.flower.tally import LARGEST_REPLY

ASKED = "the message that is answered"


def part(kind: str, children: list[str], body: bytes) -> bytes:
    """An object as Flower stores it, with any content."""
    return f"{kind} {','.join(children)} {len(body)}".encode() + b"\x00" + body


def reply_of(content: RecordDict) -> dict[str, bytes]:
    """The objects of a reply by name, the reply itself first."""
    become_task()
    asked = Message(RecordDict(), 7, "train")
    name_message(asked)
    asked.metadata.__dict__["_message_id"] = ASKED
    reply = Message(content, reply_to=asked)
    name = reply.object_id
    found = {key: value.deflate() for key, value in get_all_nested_objects(reply).items()}
    return {name: found.pop(name), **found}


def parcel(objects: dict[str, bytes], *, answers: str = ASKED) -> Parcel:
    """A reply that was announced with these objects."""
    root, *others = objects
    announced = ProtoMessage()
    announced.metadata.message_id = root
    announced.metadata.reply_to_message_id = answers
    tree = ObjectTree(object_id=root, children=[ObjectTree(object_id=one) for one in others])
    return Parcel.of(announced, tree)


def named(*contents: bytes) -> dict[str, bytes]:
    return {get_object_id(content): content for content in contents}


def test_a_whole_reply_is_opened() -> None:
    for envelope in (b"small", b"large" * 2_000_000):
        objects = reply_of(pack(envelope))
        found = parcel(objects).look(objects.__getitem__)
        assert found is not None
        assert unpack(found.content) == envelope


def test_a_reply_on_its_way_is_looked_at_again_and_what_came_is_not_asked_for_twice() -> None:
    objects, pulled = reply_of(pack(b"x" * 9_000_000)), []
    late = next(iter(objects))

    def pull(name: str) -> bytes:
        pulled.append(name)
        if name == late and pulled.count(name) < 3:
            raise ObjectUnavailableError(name)
        return objects[name]

    one = parcel(objects)
    assert one.look(pull) is None
    assert one.look(pull) is None
    found = one.look(pull)
    assert found is not None
    assert unpack(found.content) == b"x" * 9_000_000
    assert sorted(pulled) == sorted([*objects, late, late])


def test_a_reply_that_nobody_asks_for_is_not_kept_in_memory() -> None:
    objects = reply_of(pack(b"x" * 9_000_000))
    one = parcel(objects)
    late = one.wanted[0]

    def without_one(name: str) -> bytes:
        if name == late:
            raise ObjectUnavailableError(name)
        return objects[name]

    assert one.look(without_one) is None
    assert len(one.contents) == len(objects) - 1
    one.put_back()
    assert not one.contents
    found = one.look(objects.__getitem__)
    assert found is not None
    assert unpack(found.content) == b"x" * 9_000_000


def bomb() -> dict[str, bytes]:
    """A reply of 2 MB that would be 2 TB once it is opened."""
    piece = part("ArrayChunk", [], b"x" * 2**20)
    about = {"dtype": "uint8", "shape": [1], "stype": "wardround.bytes", "arraychunk_ids": [0] * 2_000_000}
    array = part("Array", list(named(piece)), json.dumps(about, separators=(",", ":")).encode())
    objects = reply_of(RecordDict())
    return {**objects, **named(array, piece)}


@pytest.mark.parametrize(
    "objects",
    [
        named(b""),
        named(b"\xff"),
        named(part("Message", [], b"\xff" * 9)),
        named(part("Unheard", [], b"")),
        named(part("Message", ["0" * 64], b"")),
        named(part("RecordDict", [], b"{}")),
        reply_of(RecordDict({str(one): ConfigRecord({"a": one}) for one in range(2)})),
        bomb(),
        {**reply_of(RecordDict()), **named(part("ConfigRecord", [], b"\x00" * (10 * 2**20)))},
    ],
    ids=["nothing", "noise", "body", "kind", "child", "type", "records", "bomb", "swollen"],
)
def test_what_is_no_reply_is_an_error_of_the_node_that_sent_it(objects: dict[str, bytes]) -> None:
    tracemalloc.start()
    found = parcel(objects).look(objects.__getitem__)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found is not None
    assert found.error.code == 3
    assert found.metadata.reply_to_message_id == ASKED
    assert peak < 200 * 2**20


def test_a_reply_that_is_gone_or_too_large_or_names_another_message_is_an_error() -> None:
    objects = reply_of(pack(b"mine"))

    def gone(name: str) -> bytes:
        raise ObjectPullError(name, "gone")

    for one, pull in (
        (parcel(objects), gone),
        (parcel(objects, answers="another's"), objects.__getitem__),
        (parcel({str(one): b"" for one in range(40)}), lambda _, piece=b"x" * (LARGEST_REPLY // 32): piece),
    ):
        found = one.look(pull)
        assert found is not None
        assert found.has_error()
        assert not one.contents


def test_one_lying_hospital_neither_ends_nor_holds_up_a_study(tmp_path: Path) -> None:
    with line(tmp_path) as own:
        own.link()
        broken, silent, honest = (raw_node(own, name) for name in ("broken", "silent", "honest"))
        seen: dict[int, Message] = {}

        def app(grid: Grid, context: Context) -> None:
            nodes = [silent.number, broken.number, honest.number]
            asked = dict(
                zip(
                    grid.push_messages([Message(pack(b"hello"), n, "train") for n in nodes]),
                    nodes,
                    strict=True,
                )
            )
            announce(silent)
            upload(broken)
            answer(honest)

            def both() -> bool:
                for reply in grid.pull_messages(list(asked)):
                    seen[asked[reply.metadata.reply_to_message_id]] = reply
                return len(seen) == 2

            until(both)

        own.serve(app)
        for node in (broken, silent, honest):
            node.leave()
        assert set(seen) == {broken.number, honest.number}
        assert seen[broken.number].has_error()
        assert unpack(seen[honest.number].content) == b"here"


def waiting(node: RawNode) -> Message:
    found: list[Message] = []

    def there() -> bool:
        found.extend(node.pull())
        return bool(found)

    until(there)
    return forged(found[0], sender=node.number, receiver=1, reply=True)


def announce(node: RawNode) -> None:
    """A reply of too many parts, which is refused; then one that is never uploaded."""
    reply = waiting(node)
    tree = get_object_tree(reply)
    tree.children.extend(ObjectTree(object_id=f"{one:064x}") for one in range(MOST_OBJECTS))
    with pytest.raises(httpx.HTTPStatusError):
        _announce(node, reply, tree)
    _announce(node, reply, get_object_tree(reply))


def upload(node: RawNode) -> None:
    """A reply whose bytes are none."""
    content = part("Message", [], b"\xff" * 9)
    _send(node, waiting(node), named(content))


def answer(node: RawNode) -> None:
    """An honest reply."""
    reply = waiting(node)
    reply.content = pack(b"here")
    objects = {key: value.deflate() for key, value in get_all_nested_objects(reply).items()}
    _send(node, reply, {reply.object_id: objects.pop(reply.object_id), **objects})


def _send(node: RawNode, reply: Message, objects: dict[str, bytes]) -> None:
    root, *others = objects
    whole = get_object_tree(reply)
    tree = whole if whole.object_id == root else ObjectTree(object_id=root)
    session = _announce(node, reply, tree)
    for name in (root, *others):
        node.client.PushObject(
            PushObjectRequest(
                node=node.node,
                run_id=reply.metadata.run_id,
                session_id=session,
                object_id=name,
                object_content=objects[name],
            )
        )


def _announce(node: RawNode, reply: Message, tree: ObjectTree) -> str:
    proto = message_to_proto(remove_content_from_message(reply))
    proto.metadata.message_id = tree.object_id
    told = node.client.PushMessages(
        PushMessagesRequest(node=node.node, messages_list=[proto], message_object_trees=[tree])
    )
    return str(told.session_id)
