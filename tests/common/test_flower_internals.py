"""A contract with Flower: every private name we use behaves as we rely on, or an upgrade fails here, loudly."""

import ast
import logging
import os
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.serde import message_to_proto
from flwr.supercore import telemetry
from flwr.supercore.task_identity import TaskIdentity

from wardround.common.flower import internals
from wardround.common.flower.internals import (
    NodeInfo,
    Run,
    become_task,
    deliver,
    name_message,
    quieten,
    secagg_masked,
)

PUBLIC = ("flwr.app", "flwr.serverapp", "flwr.clientapp", "flwr.simulation")
TESTED = {
    "flwr.common.secure_aggregation.ndarrays_arithmetic.parameters_addition",
    "flwr.common.secure_aggregation.ndarrays_arithmetic.parameters_mod",
    "flwr.common.secure_aggregation.secaggplus_utils.pseudo_rand_gen",
    "flwr.common.serde.message_from_proto",
    "flwr.common.serde.message_to_proto",
    "flwr.proto.message_pb2.Message",
    "flwr.proto.node_pb2.NodeInfo",
    "flwr.supercore.run.Run",
    "flwr.supercore.task_identity.TaskIdentity",
    "flwr.supercore.telemetry",
}


def a_message() -> Message:
    become_task()
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(np.arange(6, dtype=np.float32).reshape(2, 3))}),
            "metrics": MetricRecord({"loss": 0.5}),
        }
    )
    message = Message(content, 11, "train")
    name_message(message)
    return message


def test_this_is_the_flower_that_was_read() -> None:
    assert version("flwr").startswith("1.41.")


def test_no_private_name_is_used_without_a_test_here() -> None:
    tree = ast.parse(Path(internals.__file__).read_text(encoding="utf-8"))
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("flwr")
        for alias in node.names
        if node.module not in PUBLIC
    }
    assert imported == TESTED


def test_a_message_needs_an_identity_and_become_task_gives_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, None)
    with pytest.raises(RuntimeError, match="not set"):
        Message(RecordDict(), 11, "train")
    become_task()
    metadata = Message(RecordDict(), 11, "train").metadata
    assert (metadata.run_id, metadata.src_node_id, metadata.dst_node_id) == (1, 1, 11)


def test_each_message_gets_a_name_of_its_own() -> None:
    become_task()
    message = Message(RecordDict(), 11, "train")
    assert message.metadata.message_id == ""
    first = name_message(message)
    assert message.metadata.message_id == first
    assert name_message(message) != first


def test_a_delivered_message_says_the_same_and_shares_no_object() -> None:
    sent = a_message()
    arrived = deliver(sent)
    assert arrived is not sent
    assert arrived.metadata is not sent.metadata
    assert arrived.content is not sent.content
    assert arrived.metadata.message_id == sent.metadata.message_id
    assert arrived.metadata.dst_node_id == 11
    assert arrived.metadata.message_type == "train"
    here, there = sent.content.array_records["arrays"], arrived.content.array_records["arrays"]
    assert there["w"] is not here["w"]
    assert there["w"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    there["w"] = Array(np.zeros(1, np.float32))
    assert here["w"].numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert dict(arrived.content.metric_records["metrics"]) == {"loss": 0.5}


def test_the_data_of_arrays_crosses_uncopied_and_a_mutable_one_does_not_cross() -> None:
    sent = a_message()
    here = sent.content.array_records["arrays"]["w"]
    assert deliver(sent).content.array_records["arrays"]["w"].data is here.data
    whole, arrived = (message_to_proto(message).content for message in (sent, deliver(sent)))
    assert arrived == whole
    here.data = bytearray(here.data)  # type: ignore[assignment]  # what a careless sender could do
    there = deliver(sent).content.array_records["arrays"]["w"].data
    assert there == here.data
    here.data[0] ^= 1  # type: ignore[index]
    assert there != here.data


def test_a_reply_names_the_message_that_it_answers_also_as_an_error() -> None:
    asked = deliver(a_message())
    answer = deliver(Message(RecordDict(), reply_to=asked))
    assert answer.metadata.reply_to_message_id == asked.metadata.message_id
    assert (answer.metadata.src_node_id, answer.metadata.dst_node_id) == (11, 1)
    failed = deliver(Message(Error(code=2, reason="SiteFailed"), reply_to=asked))
    assert failed.has_error()
    assert (failed.error.code, failed.error.reason) == (2, "SiteFailed")
    assert failed.metadata.reply_to_message_id == asked.metadata.message_id


def test_a_node_is_described_by_its_number_and_a_run_can_be_empty() -> None:
    assert NodeInfo(node_id=7).node_id == 7
    assert Run.create_empty(run_id=3).run_id == 3


def test_flower_reports_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *given, **named: called.append(given))
    assert telemetry.FLWR_TELEMETRY_ENABLED == "0"
    event = telemetry.EventType.PYTHON_API_RUN_SIMULATION_ENTER
    assert telemetry.create_event(event, {"backend": "ray"}) == "disabled"
    assert called == []


def test_flower_reports_to_nobody_whoever_imported_it_first_and_whatever_is_set() -> None:
    script = (
        "import flwr.supercore.telemetry as t, os\n"
        "assert t.FLWR_TELEMETRY_ENABLED == '1'\n"
        "import wardround.common.flower.internals\n"
        "print(t.FLWR_TELEMETRY_ENABLED, os.environ['FLWR_TELEMETRY_ENABLED'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FLWR_TELEMETRY_ENABLED": "1"},
    )
    assert done.stdout == "0 0\n"


def test_flowers_log_lines_stay_off_the_terminal() -> None:
    logger = logging.getLogger("flwr")
    assert logger.handlers  # Flower prints through this one
    before = logger.level
    try:
        quieten()
        assert not logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.ERROR)
    finally:
        logger.setLevel(before)


def test_flowers_masks_have_32_bit_seeds_and_are_added_one_by_one() -> None:
    values = np.arange(1000, dtype=np.int64)
    seed = bytes([1, 2, 3, 4])
    masked = secagg_masked(values, [seed])
    mask = np.random.RandomState(int.from_bytes(seed, "little")).randint(0, 2**32 - 1, 1000, dtype=np.int64)
    assert masked.tolist() == ((values + mask) % 2**32).tolist()
    # Why it is measured here and used nowhere: 32 bytes of key are folded into the same 32 bits.
    assert secagg_masked(values, [seed + bytes(28)]).tolist() == masked.tolist()
    assert secagg_masked(values, [seed, seed]).tolist() == ((values + 2 * mask) % 2**32).tolist()
