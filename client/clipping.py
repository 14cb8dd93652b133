"""Sums of clipped per-patient gradients, exact and in one pass.

The privacy unit is the patient: all rows of a patient form one loss and one gradient. One forward and one backward
pass give each `Linear`'s inputs a and output gradients g; a patient's gradient is sum_k w_k g_k a_k^T over the
patient's rows, its norm follows from products of those, and the clipped sum is one matrix product per layer. No
per-patient gradient, and no gradient of the first inputs, is ever formed.

What one patient changes, with u = 2^-53, n patients, R rows, at most K per patient, layers of d inputs and m outputs:

1. `rowwise` computes (a, g) of a patient from that patient alone, bit for bit, whatever the weights. That assumes of
   the installed torch and BLAS what it says there, and asks of BLAS what can be asked. The rest is proven, for any
   weights, from the bound on sums of k products in any order: |error| <= k u sum |products|.
2. The gradient is what those float32 numbers say exactly. With its mass M = sum_k w_k |g_k| |(a_k, 1)|, the squared
   norm is wrong by at most (d + m + K^2 + 8) u M^2, and for several rows never taken below (M / 8)^2. So the norm is
   at most e = (d + m + K^2 + 8) u too small, relatively, for one row and 32 e for several: below 2^-20 while
   d + m + K^2 < 2^28. The clipped contribution has norm at most C (1 + 2^-20).
3. The others' clipping factors may be rounded otherwise, by 2 e (64 e) of C each, and so may their float64 sum, by
   2 (R + 2) u of C each (16 (R + 2) u, since a clipped mass is at most 8 C). One patient more or less moves the result
   by at most C (1 + 2^-20 + 2 n (e + (R + 2) u)): an excess below 2^-19 C for 20,000 inputs and 10,000 patients of
   one row, or 2,000 patients with 10,000 rows, whose terms are 32 e and 8 (R + 2) u.

Where a patient's rows cancel to less than 1/8 of their mass, and that is above C, the patient contributes less than C.

Sources: Abadi et al. (2016), "Deep learning with differential privacy"; Goodfellow (2015), "Efficient per-example
gradient computations" (norms); Bu et al. (2023), "Differentially private optimization on large model at small cost"
(one pass); Higham (2002), "Accuracy and stability of numerical algorithms", section 3.1 (sums in any order).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from wardround.client.rowwise import LinearRows, RowwiseStack
from wardround.common.checks import positive
from wardround.common.learning.batches import TensorBatch
from wardround.common.study.outcomes import Outcome

_CANCELLATION: Final = 2.0**-3
_STRIP: Final = 3 << 16  # values in float64 at a time: 1.5 MiB stay in the processor's cache
_COLUMNS: Final = 192  # a multiple of every BLAS's tile: no strip but the last ends in a slow remainder
_MANY: Final = 16  # columns for each row of a patient: products then take an eighth of the inputs' memory
_FLOAT32: Final = torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBatch(TensorBatch):
    """Some patients, and what of their norms no model changes. The inputs must stay as they were measured.

    Attributes:
        products: Of each patient's rows of inputs with each other, (n, K, K), float64; (n,) without a mask.
    """

    products: Tensor

    def take(self, index: Tensor) -> "MeasuredBatch":
        """As of a `TensorBatch`."""
        some = TensorBatch.take(self, index)
        return MeasuredBatch(
            inputs=some.inputs,
            mask=some.mask,
            value=some.value,
            event=some.event,
            weight=some.weight,
            products=self.products.index_select(0, index),
        )


def measured(batch: TensorBatch) -> TensorBatch:
    """The batch with its products, which spare each step their computation; as it is where they are many."""
    if batch.mask is not None and _MANY * batch.mask.shape[1] > batch.inputs.shape[2]:
        return batch
    return MeasuredBatch(
        inputs=batch.inputs,
        mask=batch.mask,
        value=batch.value,
        event=batch.event,
        weight=batch.weight,
        products=_products(batch.inputs.flatten(0, -2).float(), batch.mask),
    )


class PatientClipper:
    """Clipped gradient sums of one model. It reads the model's weights at each call and leaves nothing on it.

    Args:
        module: Maps (..., d) to (..., width); a stack of `Linear`, `ReLU` and `LayerNorm` without affine.
        outcome: Fixes the per-patient loss.
        clipping_norm: C > 0.

    Raises:
        PrivacyError: A layer could couple patients, keeps statistics of them, or has no exact norm here.
    """

    def __init__(self, module: nn.Module, outcome: Outcome, clipping_norm: float) -> None:
        positive(clipping_norm=clipping_norm)
        self._stack = RowwiseStack(module, outcome)
        self._clipping_norm = clipping_norm
        self._parameters: list[Tensor] = [p for p in module.parameters() if p.requires_grad]

    def sum(self, batch: TensorBatch, *, into: list[Tensor] | None = None) -> list[Tensor]:
        """Sum over patients of gradient * min(1, C / norm of the gradient) * the patient's weight, if any.

        Guarantees:
            Each patient contributes a vector of norm at most C (1 + 2^-20), and what the others contribute does
            not depend on this patient, up to the float64 rounding of their sum: see the module for the bound.
            A patient whose gradient is not finite, or has a norm beyond float32, contributes exactly nothing: the
            result is, bit for bit, that of `batch.take` of the others.
            An empty batch gives zeros.

        Args:
            batch: Some patients; may be empty.
            into: An earlier result of this clipper to overwrite, which spares fresh memory.

        Returns:
            One float64 tensor per trainable parameter, in module order.
        """
        layers = self._stack.backward(batch)
        norms = self._norms(layers, batch)
        weights = self._clipping_norm / norms.clamp(min=self._clipping_norm)
        if batch.weight is not None:
            # After clipping, and never longer: C still bounds it.
            weights = weights * batch.weight.clamp(max=1.0)
        kept = norms <= _FLOAT32
        if batch.mask is not None:
            weights = (weights.unsqueeze(1) * _shares(batch.mask)).flatten()
            kept = (kept.unsqueeze(1) & batch.mask).flatten()
        # Weight zero would not do: zero times infinity is NaN, for everybody.
        rows = None if bool(kept.all()) else kept.nonzero().squeeze(1)
        total = into or [torch.empty(p.shape, dtype=torch.float64) for p in self._parameters]
        places = dict(zip(self._parameters, total, strict=True))
        for layer in layers:
            _add_up(layer, weights, rows, places)
        return total

    def _norms(self, layers: list[LinearRows], batch: TensorBatch) -> Tensor:
        """Norm of each patient's gradient, shape (n,)."""
        shares = None if batch.mask is None else _shares(batch.mask)
        total = torch.zeros(len(batch), dtype=torch.float64)
        for rows in layers:
            inputs = batch.products if isinstance(batch, MeasuredBatch) else None
            if inputs is None or rows.layer is not self._stack.first:
                inputs = _products(rows.inputs, batch.mask)
            total += _squared_norms(rows, inputs, shares)
        return total.sqrt_()


def _shares(mask: Tensor) -> Tensor:
    """Weight of each row in its patient's mean loss, (n, K), float64; zero for padding."""
    return mask.double() / mask.sum(dim=1, keepdim=True)


def _squared_norms(rows: LinearRows, inputs: Tensor, shares: Tensor | None) -> Tensor:
    """Squared norm of each patient's gradient of what is trainable in a `Linear`, shape (n,).

    It is sum_kl w_k w_l (g_k.g_l)(a_k.a_l + 1), the 1 for the bias. Where rows cancel, rounding replaces it: it is
    never taken smaller than the square of _CANCELLATION * sum_k w_k |g_k| |(a_k, 1)|.
    """
    layer = rows.layer
    if not layer.weight.requires_grad:
        inputs = torch.zeros_like(inputs)
    if layer.bias is not None and layer.bias.requires_grad:
        inputs = inputs + 1.0
    if shares is None:
        return _products(rows.outputs, None).mul_(inputs)
    products = _products(rows.outputs, shares).mul_(inputs)
    products *= shares.unsqueeze(1) * shares.unsqueeze(2)
    mass = products.diagonal(dim1=1, dim2=2).sqrt().sum(dim=1)
    return torch.maximum(products.sum(dim=(1, 2)), (_CANCELLATION * mass).square())


def _products(rows: Tensor, mask: Tensor | None) -> Tensor:
    """Products of each patient's rows with each other in float64: (R, d) to (n, K, K), without a mask to (n,)."""
    if mask is not None:
        total = torch.zeros(*mask.shape, mask.shape[1], dtype=torch.float64)
        for _, strip in _strips(rows):
            part = strip.view(*mask.shape, strip.shape[1])
            total += torch.bmm(part, part.transpose(1, 2))
        return total
    if rows.dtype == torch.float64:
        lengths: Tensor = torch.linalg.vector_norm(rows, dim=1)
        return lengths.square_()
    some = max(1, _STRIP // (8 * rows.shape[1]))
    parts = [rows[begin : begin + some] for begin in range(0, max(len(rows), 1), some)]
    lengths = torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in parts])
    return lengths.square_()


def _add_up(rows: LinearRows, weights: Tensor, kept: Tensor | None, places: dict[Tensor, Tensor]) -> None:
    """Write, for each trainable parameter of a layer, the sum of weight * gradient over the kept rows."""
    layer = rows.layer
    weighted = rows.outputs.mul_(weights.unsqueeze(1))
    weighted = weighted if kept is None else weighted[kept]
    if layer.bias is not None and layer.bias.requires_grad:
        torch.sum(weighted, dim=0, out=places[layer.bias])
    if layer.weight.requires_grad:
        for columns, strip in _strips(rows.inputs, kept):
            torch.mm(weighted.T, strip, out=places[layer.weight][:, columns])


def _strips(rows: Tensor, kept: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Some columns at a time of the kept rows in float64, where they must be widened in the memory of the last."""
    if kept is None and rows.dtype == torch.float64:
        yield slice(None), rows
        return
    n = len(rows) if kept is None else len(kept)
    width = min(rows.shape[1], max(1, _STRIP // _COLUMNS // max(n, 1)) * _COLUMNS)
    memory = torch.empty(n, width, dtype=torch.float64)
    for begin in range(0, rows.shape[1], width):
        columns = slice(begin, begin + width)
        part = rows[:, columns] if kept is None else rows[:, columns][kept]
        yield columns, memory[:, : part.shape[1]].copy_(part)
