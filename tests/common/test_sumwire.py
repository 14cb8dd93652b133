"""Bodies of a secure sum: what is packed is unpacked, and nothing else is accepted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError
from wardround.common.formats import canonical, digest
from wardround.common.trust.sumwire import Masked, labelled, pack_messages, read_labelled, unpack_messages


@given(st.lists(st.binary(max_size=30), max_size=6), st.binary(max_size=30))
def test_messages_and_what_follows_them_come_back(messages: list[bytes], rest: bytes) -> None:
    assert unpack_messages(pack_messages(messages) + rest) == (messages, rest)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=4), st.data())
def test_a_body_that_is_cut_short_is_refused(messages: list[bytes], data: st.DataObject) -> None:
    packed = pack_messages(messages)
    with pytest.raises(TrustError, match="cut short"):
        unpack_messages(packed[: data.draw(st.integers(0, len(packed) - 1))])


def test_a_count_of_four_billion_messages_is_refused_at_once() -> None:
    with pytest.raises(TrustError, match="cut short"):
        unpack_messages(b"\xff" * 4 + bytes(400))


@given(st.binary(max_size=100))
def test_arbitrary_bodies_give_values_or_a_refusal(data: bytes) -> None:
    for read in (unpack_messages, lambda body: Masked.unpack(body, 3)):
        try:
            read(data)
        except TrustError:
            continue


@given(st.binary(max_size=50), st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_a_masked_vector_comes_back_with_its_receipt(receipt: bytes, values: list[int]) -> None:
    packed = Masked(receipt=receipt, transcript=digest(b"t"), values=np.array(values, np.uint32)).pack()
    assert len(packed) == 36 + len(receipt) + 4 * len(values)
    found = Masked.unpack(packed, len(values))
    assert (found.receipt, found.transcript, found.values.tolist()) == (receipt, digest(b"t"), values)


def test_numbers_are_little_endian_on_the_wire() -> None:
    packed = Masked(receipt=b"ab", transcript="11" * 32, values=np.array([1, 2**31], np.uint32)).pack()
    assert packed.hex() == "00000002" + "6162" + "11" * 32 + "01000000" + "00000080"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (labelled("other", a=1), "expected secsum/v1 'part'"),
        (canonical({"format": "secsum/v2", "part": "part", "a": 1}), "expected secsum/v1 'part'"),
        (labelled("part", a=1, b=2), "unknown key 'b'"),
        (labelled("part"), "expected key 'a'"),
        (b'{"part":"part","a":1,"format":"secsum/v1"}', "another spelling"),
        (b"[]", "another spelling"),
        (b"\xff", "canonical JSON"),
    ],
)
def test_json_of_another_version_part_or_spelling_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(TrustError, match=why):
        read_labelled(data, "part", {"a"}, "a test")


def test_labelled_json_comes_back() -> None:
    assert read_labelled(labelled("part", a=[1]), "part", {"a"}, "a test")["a"] == [1]
