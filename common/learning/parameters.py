"""A model's parameters as named float32 arrays, and their bytes.

Numpy only: the trust layer and the server's aggregation need no torch.
"""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import digest

Parameters = dict[str, NDArray[np.float32]]
"""Name to array. The order of names is the model's own and is the same at every party."""

LARGEST: Final = 1e4
"""No honest weight of a standardised model comes near this; larger ones are refused (see `check_like`)."""

_LENGTH = 8  # bytes of the head's length, little-endian
_LONGEST_HEAD: Final = 1 << 16  # bytes; a model has tens of layers


def to_bytes(parameters: Mapping[str, NDArray[np.float32]], *, before: bytes = b"") -> bytes:
    """Safetensors bytes; equal parameters give equal bytes.

    Args:
        parameters: The values.
        before: What else stands in front of them.

    Raises:
        UsageError: A value is not float32.
    """
    arrays = {name: np.asarray(parameters[name], order="C") for name in sorted(parameters)}
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise UsageError("expected float32 model parameters, found another type")
    head = _head(tuple((name, array.shape) for name, array in arrays.items()))
    return b"".join([before, head, *(array.reshape(-1).data for array in arrays.values())])


def from_bytes(data: bytes) -> Parameters:
    """Read what `to_bytes` wrote: arrays that cannot be written to, over the memory of `data`.

    Raises:
        TrustError: The bytes are not safetensors of float32.
    """
    stop = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    if stop > min(len(data), _LONGEST_HEAD):
        raise TrustError("expected safetensors bytes for model parameters, found something else")
    try:
        return {
            name: np.frombuffer(data, np.float32, math.prod(shape), stop + start).reshape(shape)
            for name, shape, start in _layout(data[:stop], len(data))
        }
    except ValueError:  # a shape without elements may name sizes that no array has
        raise TrustError("expected the shapes of a model in safetensors bytes, found others") from None


@lru_cache(maxsize=8)
def _head(shapes: tuple[tuple[str, tuple[int, ...]], ...]) -> bytes:
    """What safetensors writes in front of the values: a round's messages all share it."""
    written = save({name: np.zeros(shape, np.float32) for name, shape in shapes})
    return written[: _LENGTH + int.from_bytes(written[:_LENGTH], "little")]


@lru_cache(maxsize=8)
def _layout(head: bytes, size: int) -> tuple[tuple[str, tuple[int, ...], int], ...]:
    """Name, shape and place of each array, as safetensors' own reader accepts them in a file of this size.

    Which files it accepts depends on head and size only, so its word on a file of zeros holds for all.
    """
    try:
        found = deserialize(head.ljust(size, b"\0"))  # type: ignore[no-untyped-call]  # it has no stubs
        places = json.loads(head[_LENGTH:])
    except (SafetensorError, ValueError):
        raise TrustError("expected safetensors bytes for model parameters, found something else") from None
    if any(array["dtype"] != "F32" for _, array in found):
        raise TrustError("expected float32 model parameters, found another type")
    return tuple((name, tuple(array["shape"]), places[name]["data_offsets"][0]) for name, array in found)


def parameters_digest(parameters: Mapping[str, NDArray[np.float32]]) -> str:
    """The name of a model: SHA-256 of its bytes."""
    return digest(to_bytes(parameters))


def check_like(
    found: Mapping[str, NDArray[np.float32]], expected: Mapping[str, NDArray[np.float32]]
) -> Parameters:
    """Refuse parameters that are not finite numbers of ordinary size in the expected names and shapes.

    Guarantees:
        The result has exactly the names, order and shapes of `expected`, and every value v has |v| <= LARGEST:
        crafted weights cannot overflow one patient's gradient, which clipping would not catch.

    Raises:
        TrustError: Naming the layer; never showing values.
    """
    if set(found) != set(expected):
        raise TrustError(f"expected layers {sorted(expected)}, found {sorted(found)!s:.300}")
    for name, like in expected.items():
        array = found[name]
        if array.shape != like.shape:
            raise TrustError(f"layer {name!r}: expected shape {like.shape}, found {array.shape}")
        if array.size and not (array.min() >= -LARGEST and array.max() <= LARGEST):  # NaN fails both
            raise TrustError(f"layer {name!r}: a value is not finite or exceeds {LARGEST:g}")
    return {name: found[name] for name in expected}


def check_update(
    update: Mapping[str, NDArray[np.float32]], base: Mapping[str, NDArray[np.float32]]
) -> Parameters:
    """Refuse an update after which its own site would refuse the model.

    Guarantees:
        What `check_like` guarantees, of the update and of `base + update`: no mean of admitted updates drives the
        model to where every site declines it, so one member cannot stall a study unnamed.

    Raises:
        TrustError: Naming the layer; never showing values.
    """
    found = check_like(update, base)
    check_like({name: base[name] + array for name, array in found.items()}, base)
    return found


def to_vector(
    parameters: Mapping[str, NDArray[np.float32]], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """All values in one row, in the order of names; written into `out`, float32 of that length, if given."""
    if not parameters:
        return np.empty(0, np.float32)
    return np.concatenate([array.ravel() for array in parameters.values()], out=out)


def from_vector(vector: NDArray[np.floating], like: Mapping[str, NDArray[np.float32]]) -> Parameters:
    """The inverse of `to_vector`, with the names and shapes of `like`."""
    result: Parameters = {}
    start = 0
    for name, array in like.items():
        stop = start + array.size
        result[name] = vector[start:stop].astype(np.float32).reshape(array.shape)
        start = stop
    return result
