"""What each row of a batch does to every `Linear` of a stack, computed as if the row stood alone.

Clipping bounds what a patient adds, but only if the patient changes nothing else. Matrix products break that: BLAS
rounds a row by its place in the batch and by the number of rows, and crafted weights magnify a rounding error until
it is the gradient. That is no matter of precision. One hidden layer sufficed in float32 (27 C for one patient); in
float64 two do, whose LayerNorms meet weights of 1e4 that cancel (12.8 C). So rounding itself must not depend on
the company:

- Rows pass through one buffer in blocks of one or two fixed sizes; the last block is filled up with zeros.
- Every width is filled up with zeros to a multiple of 16: at odd widths BLAS treats the rows of a block unlike.
- `rows_alike` asks the installed BLAS whether it then rounds a row alike at every place of every block. Where it
  does not, each row has a block of its own: slow, and independent by construction.

Assumes that torch and BLAS choose their instructions by shapes, addresses and number of threads, never by the values
that they multiply, and repeat themselves. Other layers and losses work row by row; the tests check their places too.

Source: He et al. (2025), "Defeating nondeterminism in LLM inference" (batch-invariant kernels).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wardround.common.errors import PrivacyError
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.losses import patient_losses
from wardround.common.study.outcomes import Outcome

BLOCK: Final = 64
"""Rows of a block; four times as many where rows are short."""
_LARGEST: Final = 5 << 19  # values in a block: 10 MiB
_WIDTH: Final = 16
_PROBED: Final = 1 << 17
_ROWWISE: Final = (nn.Sequential, nn.Linear, nn.LayerNorm, nn.ReLU)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearRows:
    """One `Linear` as the rows of a batch met it.

    Attributes:
        layer: The layer; something in it is trainable.
        inputs: What it was given, (R, d), float32.
        outputs: Gradient of each row's own loss with respect to its output, (R, m), float32.
    """

    layer: nn.Linear
    inputs: Tensor
    outputs: Tensor


class RowwiseStack:
    """A model that treats every row like any other, whoever else is there. It reads the weights at each call.

    Args:
        module: `Linear`, `ReLU` and `LayerNorm` without affine, in a row.
        outcome: Fixes the loss of a row.
        sizes: Rows of the blocks to use where BLAS permits, one or two numbers; by default from the widths.

    Attributes:
        sizes: Rows of the blocks in use; (1,) where BLAS does not round all rows of a block alike.

    Raises:
        PrivacyError: A layer could couple patients, keeps statistics of them, or has no exact norm here.
    """

    def __init__(self, module: nn.Module, outcome: Outcome, *, sizes: tuple[int, ...] = ()) -> None:
        self._layers = list(_in_order(module))
        _check_layers(module, self._layers)
        self._outcome = outcome
        self._linear = [layer for layer in self._layers if isinstance(layer, nn.Linear)]
        shapes = {(_wide(layer.in_features), _wide(layer.out_features)) for layer in self._linear}
        sizes = sizes or _sizes(max((width for shape in shapes for width in shape), default=1))
        threads = torch.get_num_threads()
        self.sizes = sizes if all(rows_alike(*shape, sizes, threads) for shape in shapes) else (1,)

    def backward(self, batch: TensorBatch) -> list[LinearRows]:
        """Inputs and output gradients of each `Linear` that has something to train, in order.

        Guarantees:
            Row r of the result depends, bit for bit, on row r of the batch, its targets and the weights only;
            also where other rows are not finite.

        Args:
            batch: Inputs (n, d), R = n, or (n, K, d), R = n K. May be empty.

        Returns:
            Padding rows have gradient zero.
        """
        flat = batch.inputs.flatten(0, -2).float()
        seen = self._room(flat)
        weights = {layer: _padded(layer) for layer in self._linear}
        for places, block, n in self._blocks(batch, flat):
            for rows, (inputs, outputs) in zip(seen, self._one_block(block, weights), strict=True):
                rows.outputs[places] = outputs[:n, : rows.outputs.shape[1]]
                if rows.inputs is not flat:
                    rows.inputs[places] = inputs[:n, : rows.inputs.shape[1]]
        return seen

    def _room(self, flat: Tensor) -> list[LinearRows]:
        return [
            LinearRows(
                layer=layer,
                inputs=flat if layer is self._layers[0] else flat.new_zeros(len(flat), layer.in_features),
                outputs=flat.new_zeros(len(flat), layer.out_features),
            )
            for layer in self._linear
            if _trainable(layer)
        ]

    def _blocks(self, batch: TensorBatch, flat: Tensor) -> Iterator[tuple[slice | Tensor, TensorBatch, int]]:
        """Where the rows of each block stand, the block itself, always in the same memory, and its true rows."""
        width = flat.shape[1]
        plan = list(self._places(batch))
        buffer = flat.new_zeros(max((size for *_, size in plan), default=0), _wide(width))
        for places, patients, size in plan:
            value = batch.value[patients]
            n = len(value)
            buffer[:n, :width] = flat[places]
            buffer[n:size] = 0.0
            event = None if batch.event is None else F.pad(batch.event[patients], (0, size - n))
            value = F.pad(value, (0, size - n))
            yield places, TensorBatch(inputs=buffer[:size], mask=None, value=value, event=event), n

    def _places(self, batch: TensorBatch) -> Iterator[tuple[slice | Tensor, slice | Tensor, int]]:
        """Rows of each block, whose they are, and the block's size."""
        mask = batch.mask
        real = None if mask is None else mask.flatten().nonzero().squeeze(1)
        begin, end = 0, len(batch) if real is None else len(real)
        while begin < end:
            large = 4 * (end - begin) > 3 * self.sizes[-1]
            size = self.sizes[-1 if large else 0]
            part = slice(begin, min(begin + size, end))
            if real is None or mask is None:
                yield part, part, size
            else:
                yield real[part], real[part] // mask.shape[1], size
            begin += size

    def _one_block(
        self, block: TensorBatch, weights: dict[nn.Linear, tuple[Tensor, Tensor | None]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Inputs and output gradients, widths filled up; neither of weights nor of the first inputs."""
        hidden = block.inputs
        inputs, outputs = [], []
        for layer in self._layers:
            if not isinstance(layer, nn.Linear):
                hidden = layer(hidden)
                continue
            hidden = _fill(hidden, 1)
            result = F.linear(hidden, *weights[layer])
            if _trainable(layer):
                inputs.append(hidden.detach())
                outputs.append(result if result.requires_grad else result.requires_grad_())
            hidden = result[:, : layer.out_features].contiguous()
        losses = patient_losses(hidden, block, self._outcome)
        return list(zip(inputs, torch.autograd.grad(losses.sum(), outputs), strict=True))


@cache
def rows_alike(inputs: int, outputs: int, sizes: tuple[int, ...], threads: int) -> bool:
    """Whether BLAS rounds a row alike at every place of every block, forwards and backwards through a `Linear`.

    Asked once per shape, by experiment: irregular rows, one after the other, each at all places. Short sums show
    another order of summation seldom, so that narrow layers are asked more often: with some thousand numbers.

    Args:
        inputs: Width d.
        outputs: Width m.
        sizes: Rows of the blocks.
        threads: Of torch, as set now: with another number the answer may be another.
    """
    weight = _irregular(outputs, inputs)
    n = max(2, _PROBED // (inputs * outputs))
    probes = zip(_irregular(n, inputs), _irregular(n, outputs), strict=True)
    return all(_alike(row, gradient, weight, sizes) for row, gradient in probes)


def _alike(row: Tensor, gradient: Tensor, weight: Tensor, sizes: tuple[int, ...]) -> bool:
    forward = torch.cat([F.linear(row.repeat(size, 1), weight, gradient) for size in sizes])
    backward = torch.cat([gradient.repeat(size, 1) @ weight for size in sizes])
    return bool((forward == forward[0]).all()) and bool((backward == backward[0]).all())


def _sizes(width: int) -> tuple[int, ...]:
    return (BLOCK, BLOCK * min(4, max(1, _LARGEST // (BLOCK * width))))


def _irregular(rows: int, columns: int) -> Tensor:
    """Numbers in [-1, 1] with no pattern in their last bits, the same everywhere."""
    count = torch.arange(1, rows * columns + 1, dtype=torch.float64)
    return count.square_().mul_(0.7390851332).sin_().float().view(rows, columns)


def _wide(width: int) -> int:
    return -(-width // _WIDTH) * _WIDTH


def _fill(tensor: Tensor, dim: int) -> Tensor:
    """Zeros behind, up to the next width; the tensor itself where it has one."""
    missing = _wide(tensor.shape[dim]) - tensor.shape[dim]
    return F.pad(tensor, (0, 0) * (tensor.ndim - 1 - dim) + (0, missing)) if missing else tensor


def _padded(layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
    bias = None if layer.bias is None else _fill(layer.bias.detach().float(), 0)
    return _fill(_fill(layer.weight.detach().float(), 0), 1), bias


def _trainable(layer: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in layer.parameters(recurse=False))


def _in_order(module: nn.Module) -> Iterator[nn.Module]:
    """The layers as they are passed through, one that is used twice twice."""
    if type(module) is not nn.Sequential:
        yield module
        return
    for child in module:
        yield from _in_order(child)


def _check_layers(module: nn.Module, layers: list[nn.Module]) -> None:
    """Fail closed: only layers of which it is known that they treat every row alone."""
    for name, layer in module.named_modules():
        if type(layer) not in _ROWWISE or next(layer.buffers(recurse=False), None) is not None:
            raise PrivacyError(
                f"layer {name!r} ({type(layer).__name__}) could couple patients or keep statistics of them",
                advice="use Linear, ReLU and LayerNorm without affine; never batch normalisation",
            )
        if isinstance(layer, nn.LayerNorm) and (layer.elementwise_affine or len(layer.normalized_shape) != 1):
            raise PrivacyError(
                f"layer {name!r}: LayerNorm must be over the last dimension and without affine"
            )
    owned = [parameter for layer in layers for parameter in layer.parameters(recurse=False)]
    if len({id(p) for p in owned}) != len(owned):
        raise PrivacyError("two layers share a parameter; their clipped norms would be wrong")
