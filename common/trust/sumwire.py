"""The bytes of a secure sum inside its envelopes: labelled JSON, several messages in one body, masked vectors.

Specified in docs/secure-sum.md. Whatever is hashed or sent names its protocol version and its part, so that bytes
made for one purpose never pass for another.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import TrustError
from wardround.common.formats import canonical
from wardround.common.trust.masking import WORD
from wardround.common.trust.signed import exact_keys, parse

SECSUM: Final = "secsum/v1"

_NUMBER: Final = 4  # bytes of a count or a length, big-endian
_DIGEST: Final = 32  # bytes


def labelled(part: str, **fields: object) -> bytes:
    """Canonical JSON that says for which part of the protocol it was made."""
    return canonical({"format": SECSUM, "part": part, **fields})


def read_labelled(data: bytes, part: str, names: set[str], where: str) -> dict[str, object]:
    """Read `labelled` back.

    Args:
        data: The bytes.
        part: What they must have been made for.
        names: The fields they must have, no more and no fewer.
        where: For messages.

    Raises:
        TrustError: Not canonical JSON, another version or part, or other fields.
    """
    found = parse(data, where=where)
    exact_keys(found, frozenset({"format", "part", *names}), where=where)
    if (found["format"], found["part"]) != (SECSUM, part):
        raise TrustError(
            f"expected {SECSUM} {part!r} in {where}, found something else",
            advice="all parties of a study install the same release",
        )
    return found


def pack_messages(messages: Sequence[bytes]) -> bytes:
    """Several messages in one body: their count, then each with its length in front.

    Example:
        >>> pack_messages([b"ab", b"c"]).hex(" ", -4)
        '00000002 00000002 61620000 000163'
    """
    parts = itertools.chain.from_iterable((_number(len(data)), data) for data in messages)
    return b"".join((_number(len(messages)), *parts))


def unpack_messages(body: bytes) -> tuple[list[bytes], bytes]:
    """Read `pack_messages` back.

    Returns:
        The messages, and whatever follows them.

    Raises:
        TrustError: The body is cut short.
    """
    count, at = _read_number(body, 0)
    messages = []
    for _ in range(count):
        data, at = _read_bytes(body, at)
        messages.append(data)
    return messages, body[at:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """The content of a masked upload.

    Attributes:
        receipt: Bytes that travel beside the vector under one signature; the sum gives them no meaning.
        transcript: Digest of what the site agreed to, in hexadecimal.
        values: Shape (d,), uint32; uniform to whoever lacks the site's keys.
    """

    receipt: bytes
    transcript: str
    values: NDArray[np.uint32] = field(repr=False)

    def pack(self) -> bytes:
        """The body of a `masked` message: 36 bytes, the receipt, and four bytes per value."""
        words = np.ascontiguousarray(self.values, WORD)
        head = (_number(len(self.receipt)), self.receipt, bytes.fromhex(self.transcript))
        return b"".join((*head, words.data))

    @classmethod
    def unpack(cls, body: bytes, length: int) -> "Masked":
        """Read `pack` back, with a vector of `length` values.

        Raises:
            TrustError: The body is cut short, or the vector has another length.
        """
        receipt, start = _read_bytes(body, 0)
        transcript = body[start : start + _DIGEST]
        size = len(body) - start - _DIGEST
        if size != length * WORD.itemsize:
            raise TrustError(f"expected {length * WORD.itemsize} bytes of masked values, found {size}")
        values = np.frombuffer(body, WORD, offset=start + _DIGEST)
        return cls(receipt=receipt, transcript=transcript.hex(), values=values)


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER, "big")


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    end = at + _NUMBER
    if end > len(data):
        raise TrustError("the body of a message of a secure sum is cut short")
    return int.from_bytes(data[at:end], "big"), end


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, start = _read_number(data, at)
    end = start + size
    if end > len(data):
        raise TrustError("the body of a message of a secure sum is cut short")
    return data[start:end], end
