"""A model's parameters as named float32 arrays, and their bytes.

Numpy only: the trust layer and the server's aggregation need no torch.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wardround.common.errors import TrustError
from wardround.common.formats import digest

Parameters = dict[str, NDArray[np.float32]]
"""Name to array. The order of names is the model's own and is the same at every party."""

LARGEST: Final = 1e4
"""No honest weight of a standardised model comes near this; larger ones are refused (see `check_like`)."""


def to_bytes(parameters: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Safetensors bytes; equal parameters give equal bytes."""
    return save({name: np.ascontiguousarray(array) for name, array in sorted(parameters.items())})


def from_bytes(data: bytes) -> Parameters:
    """Read what `to_bytes` wrote.

    Raises:
        TrustError: The bytes are not safetensors of float32.
    """
    try:
        found = load(data)
    except (SafetensorError, KeyError):  # KeyError: a type that numpy has not
        raise TrustError("expected safetensors bytes for model parameters, found something else") from None
    if any(array.dtype != np.float32 for array in found.values()):
        raise TrustError("expected float32 model parameters, found another type")
    return found


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
