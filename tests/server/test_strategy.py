"""Hostile replies over Flower neither crash a study nor steer it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from tests.rogues import (
    HOSTILE,
    NAMES,
    PROTOCOL,
    Attack,
    Replies,
    Rogue,
    Update,
    attacked,
    carrying,
    federation,
    play,
    said_of_south,
    silent,
)
from tests.studies import roster_of

from wardround.client.app import client_app
from wardround.common.errors import StudyError
from wardround.common.flower.records import pack, unpack
from wardround.common.learning.exchange import DECLINED, FINISHED, PRESENT
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG
from wardround.server.strategy import WardroundStrategy
from wardround.simulations.federation import begin, by_name
from wardround.simulations.grid import InlineGrid


def error_from_the_server(rogue: Rogue, reply: Message) -> Replies:
    """What Flower's SuperLink says of a node that died: an error whose source is the SuperLink itself."""
    error = Message(Error(code=3, reason="node unavailable"), reply_to=reply)
    error.metadata.__dict__["_reply_to_message_id"] = reply.metadata.reply_to_message_id
    error.metadata.__dict__["_src_node_id"] = 1
    return [error]


def late(rogue: Rogue, reply: Message) -> Replies:
    """Keep the reply of round 1 back and send it in round 2."""
    earlier = [seen for seen in rogue.seen if seen.metadata.src_node_id == HOSTILE]
    return [carrying(reply, earlier[0].content)] if earlier else []


def put(update: Update, value: float) -> None:
    update["output.weight"][0, 1] = value


EXCLUDED: Mapping[str, Attack] = {
    "nan": lambda rogue, reply: [rogue.changed(reply, lambda update: put(update, np.nan))],
    "infinity": lambda rogue, reply: [rogue.changed(reply, lambda update: put(update, -np.inf))],
    "absurd": lambda rogue, reply: [rogue.changed(reply, lambda update: put(update, 1e30))],
    "shape": lambda rogue, reply: [
        rogue.changed(reply, lambda update: update.update({"output.weight": np.zeros((1, 9), np.float32)}))
    ],
    "layer missing": lambda rogue, reply: [rogue.changed(reply, lambda update: update.pop("output.bias"))],
    "layer more": lambda rogue, reply: [
        rogue.changed(reply, lambda update: update.update(extra=np.zeros(1, np.float32)))
    ],
    "empty body": lambda rogue, reply: [rogue.sealed(reply, body=b"")],
    "next round": lambda rogue, reply: [rogue.sealed(reply, round=7)],
    "another attempt": lambda rogue, reply: [rogue.sealed(reply, attempt=2)],
    "another base model": lambda rogue, reply: [rogue.sealed(reply, base_model="1" * 64)],
    "for somebody else": lambda rogue, reply: [rogue.sealed(reply, receiver="north")],
    "in another's name": lambda rogue, reply: [rogue.sealed(reply, sender="north")],
    "another kind": lambda rogue, reply: [rogue.sealed(reply, kind=FINISHED)],
    "a present": lambda rogue, reply: [rogue.sealed(reply, kind=PRESENT, body=b"")],
    "a talkative refusal": lambda rogue, reply: [
        rogue.sealed(reply, kind=DECLINED, body=b'{"code":"declined","reference":"x","n":61}')
    ],
    "a cheap receipt": lambda rogue, reply: [rogue.cheap(reply)],
    "another site's reply": lambda rogue, reply: [carrying(reply, rogue.seen[-1].content)],
    "a late reply": late,
    "noise": lambda rogue, reply: [carrying(reply, pack(b"\x00" * 500))],
    "no envelope": lambda rogue, reply: [
        carrying(reply, RecordDict({"metrics": MetricRecord({"num-examples": 10**9})}))
    ],
    "nothing in it": lambda rogue, reply: [carrying(reply, RecordDict())],
    "silence": lambda rogue, reply: [],
    "error of the server": error_from_the_server,
}


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("attack", EXCLUDED.values(), ids=EXCLUDED.keys())
def test_a_hostile_reply_ends_as_if_its_site_had_not_been_there(tmp_path: Path, attack: Attack) -> None:
    made = federation(tmp_path / "hostile")
    final = play(made, attacked(made, attack))
    assert final == play(federation(tmp_path / "without", names=NAMES[:2]))
    said = said_of_south(made)
    assert len(said) == PROTOCOL.federation.rounds
    assert all(isinstance(one, dict) and list(one) == ["refused"] for one in said)


def with_claims(rogue: Rogue, reply: Message) -> Replies:
    """The honest envelope among claims that other frameworks would believe."""
    content = pack(unpack(reply.content))
    content["metrics"] = MetricRecord({"num-examples": 10**9, "loss": float("nan")})
    content["arrays"] = ArrayRecord({"w": Array(np.full(4, np.nan, np.float32))})
    content["config"] = ConfigRecord({"weight": 1e9})
    return [carrying(reply, content)]


def from_another_node(rogue: Rogue, reply: Message) -> Replies:
    reply.metadata.__dict__["_src_node_id"] = 10
    return [reply]


def with_a_reply_to_nothing(rogue: Rogue, reply: Message) -> Replies:
    other = Message(pack(b"unasked"), reply_to=reply)
    return [other, reply]


COUNTED = (with_claims, from_another_node, with_a_reply_to_nothing)


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("attack", COUNTED, ids=lambda attack: attack.__name__)
def test_claims_beside_an_honest_envelope_change_nothing(tmp_path: Path, attack: Attack) -> None:
    made = federation(tmp_path / "claims")
    assert play(made, attacked(made, attack)) == play(federation(tmp_path / "honest"))
    assert all(isinstance(one, dict) and "update" in one for one in said_of_south(made))


@pytest.mark.usefixtures("quick_disk")
def test_swapped_nodes_are_both_refused_and_nobody_else_is_harmed(tmp_path: Path) -> None:
    def swapped(replies: Replies) -> Replies:
        by_node = {reply.metadata.src_node_id: reply for reply in replies}
        if len(replies) == len(NAMES) and replies[0].metadata.message_type == "train":
            one, other = by_node[10].content, by_node[11].content
            by_node[10].content, by_node[11].content = other, one
        return replies

    made = federation(tmp_path)
    play(made, swapped)
    (first, *_) = (entry for entry in read_log(made.folder / LOG, roster_of(made)) if entry.kind == "round")
    match first.data["sites"]:
        case {"east": {"refused": str(east)}, "north": {"refused": str(north)}, "south": {"update": _}}:
            assert "sender" in east
            assert "sender" in north
        case other:
            pytest.fail(f"the log says {other}")


@pytest.mark.usefixtures("quick_disk")
def test_a_site_that_does_not_confirm_the_end_is_not_listed(tmp_path: Path) -> None:
    made = federation(tmp_path)

    def mute_at_the_end(replies: Replies) -> Replies:
        done = (made.folder / LOG).read_bytes().count(b"\n") >= 2 + PROTOCOL.federation.rounds
        return silent(HOSTILE)(replies) if done else replies

    play(made, mute_at_the_end)
    assert read_log(made.folder / LOG, roster_of(made))[-1].data["confirmed"] == ["east", "north"]


def test_no_site_is_ever_asked_to_evaluate(tmp_path: Path) -> None:
    made = federation(tmp_path)
    coordinator, _ = begin(made)
    strategy = WardroundStrategy(coordinator)
    grid = InlineGrid(client_app(by_name({})), [])
    assert list(strategy.configure_evaluate(1, ArrayRecord(), ConfigRecord(), grid)) == []
    assert strategy.aggregate_evaluate(1, []) is None
    with pytest.raises(StudyError, match="no task was given"):
        strategy.aggregate_train(1, [])
