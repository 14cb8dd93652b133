"""The in-process grid behaves as Flower's own do: wire bytes between the parties, one reply per question."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from wardround.simulations.grid import InlineGrid

Answer = Callable[[Message, Context], Message]


def app_of(answer: Answer) -> ClientApp:
    """A ClientApp that answers training messages."""
    app = ClientApp()
    app.train()(answer)
    return app


def content(*values: float) -> RecordDict:
    return RecordDict({"a": ArrayRecord({"x": Array(np.array(values))})})


def values(message: Message) -> list[float]:
    found: list[float] = message.content.array_records["a"]["x"].numpy().tolist()
    return found


def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


def test_sites_and_server_share_no_object() -> None:
    arrived: list[RecordDict] = []
    replied: list[RecordDict] = []

    def keep(message: Message, context: Context) -> Message:
        arrived.append(message.content)
        replied.append(content(7.0))
        return Message(replied[0], reply_to=message)

    grid = InlineGrid(app_of(keep), ["north"])
    sent = content(1.0, 2.0)
    (reply,) = grid.send_and_receive([Message(sent, 10, "train")])
    assert arrived[0] is not sent
    assert reply.content is not replied[0]
    arrived[0].array_records["a"]["x"] = Array(np.array([9.0]))
    replied[0].array_records["a"]["x"] = Array(np.array([9.0]))
    assert sent.array_records["a"]["x"].numpy().tolist() == [1.0, 2.0]
    assert values(reply) == [7.0]


def test_each_site_gets_its_own_message_and_its_own_context() -> None:
    seen: list[tuple[int, object, object]] = []

    def note(message: Message, context: Context) -> Message:
        seen.append((context.node_id, context.node_config["site"], context.node_config["partition-id"]))
        return Message(content(float(context.node_id)), reply_to=message)

    grid = InlineGrid(app_of(note), ["north", "south"])
    nodes = list(grid.get_node_ids())
    assert nodes == [node.node_id for node in grid.get_nodes()]
    asked = [Message(content(0.0), node, "train") for node in reversed(nodes)]
    replies = list(grid.send_and_receive(asked))
    assert seen == [(11, "south", 1), (10, "north", 0)]
    assert [(reply.metadata.src_node_id, values(reply)) for reply in replies] == [(11, [11.0]), (10, [10.0])]


@pytest.mark.parametrize("error", [LookupError("patient 7"), ValueError(), SystemError("disk")])
def test_an_exception_becomes_an_error_reply_that_says_nothing_but_its_kind(error: Exception) -> None:
    def fail(message: Message, context: Context) -> Message:
        raise error

    grid = InlineGrid(app_of(fail), ["north"])
    (reply,) = grid.send_and_receive([Message(content(1.0), 10, "train")])
    assert reply.has_error()
    assert (reply.error.code, reply.error.reason) == (2, type(error).__name__)


def test_a_message_of_a_kind_that_nobody_handles_becomes_an_error_reply() -> None:
    grid = InlineGrid(app_of(echo), ["north"])
    (reply,) = grid.send_and_receive([Message(content(1.0), 10, "evaluate")])
    assert reply.has_error()


def test_control_c_at_a_site_is_not_swallowed() -> None:
    def interrupted(message: Message, context: Context) -> Message:
        raise KeyboardInterrupt

    grid = InlineGrid(app_of(interrupted), ["north"])
    with pytest.raises(KeyboardInterrupt):
        list(grid.send_and_receive([Message(content(1.0), 10, "train")]))


def test_a_site_works_when_its_reply_is_asked_for_and_in_the_order_of_sending() -> None:
    worked: list[float] = []

    def work(message: Message, context: Context) -> Message:
        worked.extend(values(message))
        return Message(message.content, reply_to=message)

    grid = InlineGrid(app_of(work), ["north", "south"])
    sent = list(grid.push_messages([Message(content(n), 10, "train") for n in (1.0, 2.0, 3.0)]))
    assert worked == []
    replies = iter(grid.pull_messages({*sent[1:]}))
    assert values(next(replies)) == [2.0]
    assert worked == [2.0]
    assert [values(reply) for reply in replies] == [[3.0]]
    assert [values(reply) for reply in grid.pull_messages(sent)] == [[1.0]]


def test_a_reply_is_given_out_once_and_only_to_who_names_it() -> None:
    grid = InlineGrid(app_of(echo), ["north"])
    first, second = grid.push_messages([Message(content(n), 10, "train") for n in (1.0, 2.0)])
    assert first != second
    assert list(grid.pull_messages(["somebody else's"])) == []
    (reply,) = grid.pull_messages([second, "somebody else's"])
    assert (reply.metadata.reply_to_message_id, values(reply)) == (second, [2.0])
    assert list(grid.pull_messages([second])) == []
    assert [values(reply) for reply in grid.pull_messages([first, second])] == [[1.0]]


def test_its_own_way_to_make_messages_is_flowers() -> None:
    grid = InlineGrid(app_of(echo), ["north"])
    message = grid.create_message(content(3.0), "train", 10, "1")
    assert (message.metadata.dst_node_id, message.metadata.message_type) == (10, "train")
    assert [values(reply) for reply in grid.send_and_receive([message])] == [[3.0]]
