"""Layers of which it is known that they treat every row of a batch alone; any other is refused."""

from collections.abc import Iterator
from typing import Final

from torch import nn

from wardround.common.errors import PrivacyError

_ROWWISE: Final = (nn.Sequential, nn.Linear, nn.LayerNorm, nn.ReLU)


def layers_in_order(module: nn.Module) -> list[nn.Module]:
    """The layers as a row passes through them, one that is used twice twice.

    Args:
        module: `Linear`, `ReLU` and `LayerNorm` without affine, in a row.

    Raises:
        PrivacyError: A layer could couple patients, keeps statistics of them, or has no exact norm here.
    """
    for name, layer in module.named_modules():
        _check(name, layer)
    layers = list(_flattened(module))
    owned = [parameter for layer in layers for parameter in layer.parameters(recurse=False)]
    if len({id(p) for p in owned}) != len(owned):
        raise PrivacyError("two layers share a parameter; their clipped norms would be wrong")
    return layers


def _flattened(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is not nn.Sequential:
        yield module
        return
    for child in module:
        yield from _flattened(child)


def _check(name: str, layer: nn.Module) -> None:
    if type(layer) not in _ROWWISE or next(layer.buffers(recurse=False), None) is not None:
        raise PrivacyError(
            f"layer {name!r} ({type(layer).__name__}) could couple patients or keep statistics of them",
            advice="use Linear, ReLU and LayerNorm without affine; never batch normalisation",
        )
    if isinstance(layer, nn.LayerNorm) and (layer.elementwise_affine or len(layer.normalized_shape) != 1):
        raise PrivacyError(f"layer {name!r}: LayerNorm must be over the last dimension and without affine")
