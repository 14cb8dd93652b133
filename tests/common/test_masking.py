"""Masks vanish from the sum exactly, and look like nothing before."""

from collections.abc import Sequence

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.trust.masking import add_masks, ring_sum

KEYS = [bytes([number]) * 32 for number in range(4)]
WORDS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40)


def words(values: Sequence[int]) -> NDArray[np.uint32]:
    return np.array(values, np.uint32)


def by_hand(key: bytes, count: int) -> list[int]:
    """Counter mode written out: the cipher on 0, 1, 2, ..."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    data = b"".join(block.update(number.to_bytes(16, "big")) for number in range(count // 4 + 1))
    return [int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(count)]


@given(WORDS)
def test_a_mask_is_the_counter_mode_of_the_cipher_modulo_2_to_the_32(values: list[int]) -> None:
    stream = by_hand(KEYS[1], len(values))
    plus = [(value + mask) % 2**32 for value, mask in zip(values, stream, strict=True)]
    minus = [(value - mask) % 2**32 for value, mask in zip(values, stream, strict=True)]
    assert add_masks(words(values), plus=[KEYS[1]], minus=[]).tolist() == plus
    assert add_masks(words(values), plus=[], minus=[KEYS[1]]).tolist() == minus


def test_the_stream_goes_on_from_piece_to_piece() -> None:
    # Longer than one piece of 1 MiB, and no whole number of blocks.
    count = (1 << 18) + 7
    masked = add_masks(np.zeros(count, np.uint32), plus=[KEYS[2]], minus=[])
    cipher = Cipher(algorithms.AES(KEYS[2]), modes.CTR(bytes(16))).encryptor()
    assert masked.tobytes() == cipher.update(bytes(4 * count))


@given(WORDS)
def test_what_is_added_is_taken_away(values: list[int]) -> None:
    masked = add_masks(words(values), plus=KEYS[:2], minus=KEYS[2:])
    assert add_masks(masked, plus=KEYS[2:], minus=KEYS[:2]).tolist() == values


def test_the_callers_vector_is_left_alone() -> None:
    values = words([1, 2, 3])
    add_masks(values, plus=KEYS[:1], minus=[])
    assert values.tolist() == [1, 2, 3]


def test_an_empty_vector_stays_empty() -> None:
    assert add_masks(words([]), plus=KEYS, minus=[]).tolist() == []


@given(
    st.integers(1, 30).flatmap(
        lambda d: st.lists(
            st.lists(st.integers(0, 2**32 - 1), min_size=d, max_size=d), min_size=1, max_size=8
        )
    )
)
def test_the_sum_is_exact_modulo_2_to_the_32(rows: list[list[int]]) -> None:
    expected = [sum(column) % 2**32 for column in zip(*rows, strict=True)]
    assert ring_sum(words(row) for row in rows).tolist() == expected


def test_the_sum_does_not_write_into_a_summand() -> None:
    first = words([1])
    ring_sum([first, first])
    assert first.tolist() == [1]


@pytest.mark.parametrize(
    "values",
    [np.zeros(2, np.int32), np.zeros(2, np.uint64), np.zeros(2, np.float32), np.zeros((1, 2), np.uint32)],
    ids=str,
)
def test_anything_but_a_vector_of_words_is_refused(values: NDArray[np.uint32]) -> None:
    with pytest.raises(UsageError, match="vector of uint32"):
        add_masks(values, plus=[], minus=[])
    with pytest.raises(UsageError, match="vector of uint32"):
        ring_sum([values])


def test_vectors_of_two_lengths_have_no_sum() -> None:
    with pytest.raises(UsageError, match="length 2, found one of length 1"):
        ring_sum([words([1, 2]), words([1])])
    with pytest.raises(UsageError, match="at least one vector"):
        ring_sum([])


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"key of 32 bytes, found {size}"):
        add_masks(words([1]), plus=[], minus=[bytes(size)])
