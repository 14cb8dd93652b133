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
The way back is written out: autograd's own steps for these layers, without a graph for every block.

Source: He et al. (2025), "Defeating nondeterminism in LLM inference" (batch-invariant kernels).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wardround.client.rowlayers import layers_in_order
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.losses import loss_gradients
from wardround.common.study.outcomes import Outcome

_Weights = dict[nn.Linear, tuple[Tensor, Tensor | None]]

BLOCK: Final = 64
"""Rows of a block; four times as many where rows are short."""
_LARGEST: Final = 5 << 19  # values in a block: 10 MiB
_WIDTH: Final = 16
_PROBED: Final = 1 << 17
_norm_back: Final = torch.ops.aten.native_layer_norm_backward
_relu_back: Final = torch.ops.aten.threshold_backward


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearRows:
    """One `Linear` as the rows of a batch met it.

    Attributes:
        layer: The layer; something in it is trainable.
        inputs: What it was given, (R, d): the batch's own inputs, or float32 numbers widened to float64.
        outputs: Gradient of each row's own loss with respect to its output, (R, m), widened to float64.
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
        first: The layer that meets the batch's own inputs; None where another kind of layer does.

    Raises:
        PrivacyError: A layer could couple patients, keeps statistics of them, or has no exact norm here.
    """

    def __init__(self, module: nn.Module, outcome: Outcome, *, sizes: tuple[int, ...] = ()) -> None:
        self._layers = layers_in_order(module)
        self._outcome = outcome
        self._linear = [layer for layer in self._layers if isinstance(layer, nn.Linear)]
        self.first = next((layer for layer in self._linear if layer is self._layers[0]), None)
        self._buffer, self._written = torch.zeros(0, 0), 0  # and how many of its columns
        self._filled: dict[Tensor, Tensor] = {}
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
        weights = {layer: self._weights(layer) for layer in self._linear}
        for places, block, n in self._blocks(batch, flat):
            result, kept = self._forwards(block.inputs, weights)
            gradient = loss_gradients(result, block, self._outcome)
            for rows, (inputs, outputs) in zip(seen, self._backwards(gradient, kept, weights), strict=True):
                _put(outputs[:n], rows.outputs, places)
                if rows.inputs is not flat:
                    _put(inputs[:n], rows.inputs, places)
        return seen

    def _room(self, flat: Tensor) -> list[LinearRows]:
        room = partial(torch.zeros, dtype=torch.float64)
        return [
            LinearRows(
                layer=layer,
                inputs=flat if layer is self.first else room(len(flat), layer.in_features),
                outputs=room(len(flat), layer.out_features),
            )
            for layer in self._linear
            if _trainable(layer)
        ]

    def _blocks(self, batch: TensorBatch, flat: Tensor) -> Iterator[tuple[slice | Tensor, TensorBatch, int]]:
        """Where the rows of each block stand, the block itself, always in the same memory, and its true rows."""
        plan = list(self._places(batch))
        buffer = self._room_for(max((size for *_, size in plan), default=0), flat.shape[1])
        for places, patients, size in plan:
            value = batch.value[patients]
            event = None if batch.event is None else batch.event[patients]
            n = len(value)
            buffer[:n] = flat[places]
            if n < size:
                buffer[n:size] = 0.0
                value = F.pad(value, (0, size - n))
                event = None if event is None else F.pad(event, (0, size - n))
            block = self._buffer[:size]
            yield places, TensorBatch(inputs=block, mask=None, value=value, event=event), n

    def _room_for(self, rows: int, width: int) -> Tensor:
        """The columns of the buffer that are written; behind them zeros. It is kept for the next batch."""
        if len(self._buffer) < rows or self._written != width:
            self._buffer, self._written = torch.zeros(rows, _wide(width)), width
        return self._buffer[:, :width]

    def _weights(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """As they are now, widths filled up."""
        return self._fill(layer.weight), None if layer.bias is None else self._fill(layer.bias)

    def _fill(self, parameter: Tensor) -> Tensor:
        """Zeros behind, in memory that is kept for the next batch; the parameter itself where it needs none."""
        now = parameter.detach().float()
        shape = tuple(_wide(width) for width in now.shape)
        if now.shape == shape:
            return now
        if parameter not in self._filled:
            self._filled[parameter] = torch.zeros(shape)
        filled = self._filled[parameter]
        filled[tuple(slice(width) for width in now.shape)] = now
        return filled

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

    def _forwards(self, hidden: Tensor, weights: _Weights) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """The outputs, and what each layer keeps for the way back: its inputs, a `ReLU` its outputs."""
        kept: list[tuple[Tensor, ...]] = []
        for layer in self._layers:
            if isinstance(layer, nn.Linear):
                given = _filled_up(hidden)
                kept.append((given,))
                hidden = _cut(F.linear(given, *weights[layer]), layer.out_features)
            elif isinstance(layer, nn.LayerNorm):
                normal = torch.native_layer_norm(hidden, layer.normalized_shape, None, None, layer.eps)
                kept.append((hidden, *normal[1:]))
                hidden = normal[0]
            else:
                hidden = F.relu(hidden)
                kept.append((hidden,))
        return hidden, kept

    def _backwards(
        self, gradient: Tensor, kept: list[tuple[Tensor, ...]], weights: _Weights
    ) -> list[tuple[Tensor, Tensor]]:
        """Inputs and output gradients, widths filled up, of each layer that has something to train; in order."""
        left = sum(map(_trainable, self._linear))
        found: list[tuple[Tensor, Tensor]] = []
        for layer, (given, *moments) in reversed(list(zip(self._layers, kept, strict=True))):
            if isinstance(layer, nn.Linear):
                behind = _filled_up(gradient)
                if _trainable(layer):
                    found.append((given, behind))
                if len(found) == left:
                    break  # nobody needs the gradient of what comes before
                gradient = _cut(behind @ weights[layer][0], layer.in_features)
            elif isinstance(layer, nn.LayerNorm):
                shape, wanted = layer.normalized_shape, (True, False, False)
                gradient = _norm_back(gradient, given, shape, *moments, None, None, wanted)[0]
            else:
                gradient = _relu_back(gradient, given, 0)
        return found[::-1]


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


def _put(found: Tensor, rows: Tensor, places: slice | Tensor) -> None:
    found = found[:, : rows.shape[1]]
    rows[places] = found if isinstance(places, slice) else found.double()  # a slice widens as it copies


def _cut(rows: Tensor, width: int) -> Tensor:
    return rows[:, :width].contiguous() if rows.shape[1] > width else rows


def _filled_up(rows: Tensor) -> Tensor:
    """Zeros behind each row, up to the next width; the rows themselves where they have one."""
    missing = _wide(rows.shape[1]) - rows.shape[1]
    return F.pad(rows, (0, missing)) if missing else rows


def _trainable(layer: nn.Linear) -> bool:
    return layer.weight.requires_grad or (layer.bias is not None and layer.bias.requires_grad)
