"""Envelopes in Flower's records: bytes in, the same bytes out, and nothing else is looked at."""

import gc
import pickle
import weakref

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError
from wardround.common.flower.internals import become_task, deliver, name_message
from wardround.common.flower.records import LARGEST_VALUE, pack, unpack

KEY = "envelope"
LARGE = bytes(LARGEST_VALUE + 1)


def sent(content: RecordDict) -> RecordDict:
    """What arrives at the other end of Flower."""
    become_task()
    message = Message(content, 11, "train")
    name_message(message)
    return deliver(message).content


@given(st.binary(max_size=400))
def test_an_envelope_comes_back_byte_for_byte(envelope: bytes) -> None:
    assert unpack(pack(envelope)) == envelope
    assert unpack(sent(pack(envelope))) == envelope


@pytest.mark.parametrize("size", [LARGEST_VALUE, LARGEST_VALUE + 1, 20_000_000])
def test_a_large_envelope_comes_back_too(size: int) -> None:
    envelope = np.random.default_rng(0).bytes(size)
    assert unpack(sent(pack(envelope))) == envelope


def test_what_fits_in_one_piece_takes_one_record_and_no_array() -> None:
    assert list(pack(bytes(LARGEST_VALUE)).config_records) == [KEY]
    assert list(pack(LARGE).array_records) == [KEY]


def test_a_read_message_is_freed_at_once() -> None:
    gc.disable()  # updates of many sites must not wait in memory for it
    try:
        content = sent(pack(b"the envelope"))
        assert unpack(content) == b"the envelope"
        left = weakref.ref(content)
        del content
        assert left() is None
    finally:
        gc.enable()


def test_whatever_else_a_message_carries_is_not_looked_at() -> None:
    content = pack(b"the envelope")
    content["metrics"] = MetricRecord({"num-examples": 10**9, "loss": float("nan")})
    content["config"] = ConfigRecord({"round": 99, "trust-me": True})
    content["arrays"] = ArrayRecord({"w": Array(np.full(3, np.nan, np.float32))})
    content.config_records[KEY]["second"] = b"another"
    assert unpack(sent(content)) == b"the envelope"
    large = pack(LARGE)
    large.array_records[KEY]["second"] = Array(np.zeros(3, np.uint8))
    assert unpack(sent(large)) == LARGE


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"config": pack(b"x").config_records[KEY]}),
        RecordDict({"arrays": pack(LARGE).array_records[KEY]}),
        RecordDict({KEY: ArrayRecord()}),
        RecordDict({KEY: ArrayRecord({"other": Array(np.zeros(3, np.uint8))})}),
        RecordDict({KEY: MetricRecord({KEY: 1})}),
        RecordDict({KEY: ConfigRecord({KEY: "text in a configuration"})}),
        RecordDict({KEY: ConfigRecord({KEY: [b"bytes", b"in a list"]})}),
        RecordDict({KEY: ConfigRecord({"other": b"bytes under another name"})}),
        RecordDict({"metrics": MetricRecord({"num-examples": 12})}),
    ],
    ids=[
        *("empty", "other name", "other array name", "no array", "other array", "metric"),
        *("text", "list", "other value", "metrics only"),
    ],
)
def test_a_message_without_an_envelope_is_refused(content: RecordDict) -> None:
    with pytest.raises(TrustError, match="expected one envelope"):
        unpack(sent(content))


class Bomb:
    """Unpickling it would be seen."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize(
    "array",
    [
        Array(np.zeros(3, np.float32)),
        Array(np.zeros(0, np.uint8)),
        Array(dtype="uint8", shape=(3,), stype="numpy.ndarray", data=b"no numpy file"),
        Array(dtype="O", shape=(1,), stype="numpy.ndarray", data=pickle.dumps(Bomb())),
        Array(dtype="uint8", shape=(3,), stype="", data=b"abc"),
    ],
    ids=["floats", "no bytes", "not what it says", "a pickle", "nameless"],
)
def test_another_serialisation_is_refused_without_reading_it(array: Array) -> None:
    with pytest.raises(TrustError):
        unpack(sent(RecordDict({KEY: ArrayRecord({KEY: array})})))


def test_a_lie_about_shape_and_type_changes_nothing() -> None:
    honest = pack(LARGE).array_records[KEY][KEY]
    lying = Array(dtype="float64", shape=(10**9, 10**9), stype=honest.stype, data=honest.data)
    assert unpack(sent(RecordDict({KEY: ArrayRecord({KEY: lying})}))) == LARGE
