"""Sums of clipped per-patient gradients, by Opacus' ghost clipping.

The privacy unit is the patient: all rows of a patient form one loss and one gradient. Ghost clipping reads the
norm of each patient's gradient from the activations and output gradients of each `Linear` in a backward pass; no
per-patient gradient is ever stored. Opacus carries the hooks; what they do here differs from Opacus in two points,
because weights can be crafted (alike rows in one layer, small inputs to a LayerNorm) that raise rounding errors
above everything else:

- The clipped sum is made of the very output gradients whose norms were taken, scaled per patient. A second backward
  pass over scaled losses rounds otherwise: it was seen to give a patient 577 C.
- All of it is computed in float64. In float32 a matrix product rounds a patient's row differently when another
  patient joins, and the sum over the others was seen to move by 27 C.

Assumes a model whose output for a patient depends on that patient only, which is checked by an allow-list of
layers, and parameters that passed `common.learning.parameters.check_like`.

Sources: Abadi et al. (2016), "Deep learning with differential privacy"; Li et al. (2022), "Large language models
can be strong differentially private learners" (ghost clipping); Bu et al. (2023), "Differentially private
optimization on large model at small cost" (book-keeping: no second pass); Yousefpour et al. (2021), "Opacus".
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from wardround.common.checks import positive
from wardround.common.errors import PrivacyError
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.losses import patient_losses
from wardround.common.study.outcomes import Outcome

if TYPE_CHECKING:
    from opacus.grad_sample import GradSampleHooksFastGradientClipping

_ROWWISE: Final = (nn.Sequential, nn.Linear, nn.LayerNorm, nn.ReLU)
_CANCELLATION: Final = 2.0**-20


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch warns that no input needs a gradient; none is used."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        yield


class PatientClipper:
    """Clipped gradient sums of one model.

    Args:
        module: Maps (..., d) to (..., width); its trainable parameters all belong to `Linear` layers.
        outcome: Fixes the per-patient loss.
        clipping_norm: C > 0.

    Raises:
        PrivacyError: A layer could couple patients, keeps statistics of them, or has no exact norm here.
    """

    def __init__(self, module: nn.Module, outcome: Outcome, clipping_norm: float) -> None:
        positive(clipping_norm=clipping_norm)
        _check_layers(module)
        self._source = module
        self._module = copy.deepcopy(module).double().train()
        self._outcome = outcome
        self._clipping_norm = clipping_norm
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        # The pass serves the hooks only: asking for biases spares it the product for the large weights.
        layers = (layer for layer in self._module.modules() if isinstance(layer, nn.Linear))
        owned = ([p for p in layer.parameters() if p.requires_grad] for layer in layers)
        self._probes = [min(parameters, key=Tensor.numel) for parameters in owned if parameters]

    @_quiet()
    def sum(self, batch: TensorBatch) -> list[Tensor]:
        """Sum over patients of gradient * min(1, C / norm of the gradient).

        Guarantees:
            Each patient contributes a vector of norm at most C (1 + 2^-20), and what the others contribute does
            not depend on this patient: up to float64 rounding, and the rounding of the result to float32.
            A patient whose gradient is not finite, or overflows float32 on the way to its norm, contributes
            exactly nothing: the result is, bit for bit, that of `batch.take` of the others.
            An empty batch gives zeros.

        Args:
            batch: Some patients; may be empty.

        Returns:
            One float32 tensor per trainable parameter, in module order.
        """
        self._take_over()
        batch = batch.in_float64()
        while len(batch):
            seen, norms = self._seen_and_norms(batch)
            usable = torch.isfinite(norms)
            if bool(usable.all()):
                scales = self._clipping_norm / norms.clamp(min=self._clipping_norm)
                sums = seen.weighted(scales.double())
                return [sums[parameter].float() for parameter in self._parameters]
            # Weight zero would not do: zero times infinity is NaN, for everybody.
            batch = batch.take(usable.nonzero().squeeze(1))
        return [torch.zeros_like(parameter, dtype=torch.float32) for parameter in self._parameters]

    def _take_over(self) -> None:
        """The values of the given module as they are now."""
        with torch.no_grad():
            for own, given in zip(self._module.parameters(), self._source.parameters(), strict=True):
                own.copy_(given)

    def _seen_and_norms(self, batch: TensorBatch) -> "tuple[_Seen, Tensor]":
        seen = _Seen()
        with _ghost_hooks(self._module, seen) as hooks:
            losses = patient_losses(self._module(batch.inputs), batch, self._outcome)
            torch.autograd.grad(losses.sum(), self._probes)
            norms: Tensor = hooks.get_norm_sample().float()
        return seen, norms


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a backward pass showed: of each layer its inputs and output gradients, (n, d) and (n, m) or by rows."""

    layers: list[tuple[nn.Linear, Tensor, Tensor]] = field(default_factory=list, repr=False)

    def norms(self, layer: nn.Linear, activations: list[Tensor], backprops: Tensor) -> dict[Tensor, Tensor]:
        """Opacus' hook: keep both, and give the norms."""
        self.layers.append((layer, activations[0], backprops))
        return _linear_norms(layer, activations, backprops)

    def weighted(self, scales: Tensor) -> dict[Tensor, Tensor]:
        """Of each trainable parameter the sum over patients of scale * gradient; scales (n,)."""
        sums: dict[Tensor, Tensor] = {}
        for layer, inputs, outputs in self.layers:
            scaled = (_by_row(outputs) * scales[:, None, None]).flatten(0, 1)
            if layer.weight.requires_grad:
                sums[layer.weight] = scaled.T @ inputs.flatten(0, -2)
            if layer.bias is not None and layer.bias.requires_grad:
                sums[layer.bias] = scaled.sum(dim=0)
        return sums


@contextmanager
def _ghost_hooks(module: nn.Module, seen: _Seen) -> Iterator["GradSampleHooksFastGradientClipping"]:
    """Opacus' hooks for one pass. Afterwards, also after an error, neither they nor activations are left."""
    from opacus.grad_sample import (
        GradSampleHooksFastGradientClipping,
    )  # on first private use: it takes seconds

    hooks = GradSampleHooksFastGradientClipping(module, loss_reduction="sum")
    hooks.NORM_SAMPLERS = {nn.Linear: seen.norms}
    try:
        yield hooks
    finally:
        hooks.cleanup()
        for layer in module.modules():
            vars(layer).pop("activations", None)
            vars(layer).pop("max_batch_len", None)


def _linear_norms(layer: nn.Linear, activations: list[Tensor], backprops: Tensor) -> dict[Tensor, Tensor]:
    """Norm of each patient's gradient of a `Linear`, shape (n,).

    With rows k of one patient, input a_k and output gradient g_k, the weight's gradient is sum g_k a_k^T and its
    squared norm is sum_kl (g_k.g_l)(a_k.a_l). Where rows cancel, rounding makes the root of that as wrong as 2^-26 of
    sum |g_k||a_k|; the norm is therefore never taken smaller than 2^-20 of that sum.

    Args:
        layer: The layer.
        activations: Its one input, (n, d) or (n, K, d).
        backprops: Gradient of the summed loss with respect to its output, (n, m) or (n, K, m).
    """
    inputs, outputs = _by_row(activations[0]), _by_row(backprops)
    norms: dict[Tensor, Tensor] = {}
    if layer.weight.requires_grad:
        norms[layer.weight] = _weight_norms(inputs, outputs)
    if layer.bias is not None and layer.bias.requires_grad:
        norms[layer.bias] = _bias_norms(outputs)
    return norms


def _by_row(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(1) if tensor.dim() == 2 else tensor


def _weight_norms(a: Tensor, g: Tensor) -> Tensor:
    mass = (_lengths(a) * _lengths(g)).sum(dim=1)
    if a.shape[1] == 1:
        return mass
    squared = (_gram(a) * _gram(g)).sum(dim=(1, 2)).clamp(min=0)
    return torch.maximum(squared.sqrt(), _CANCELLATION * mass)


def _bias_norms(g: Tensor) -> Tensor:
    mass = _lengths(g).sum(dim=1)
    total: Tensor = torch.linalg.vector_norm(g.sum(dim=1), dim=-1)
    return torch.maximum(total, _CANCELLATION * mass)


def _lengths(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=-1)
    return lengths


def _gram(rows: Tensor) -> Tensor:
    """Products of each patient's rows with each other: (n, K, d) to (n, K, K)."""
    return torch.bmm(rows, rows.transpose(1, 2))


def _check_layers(module: nn.Module) -> None:
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
    owned = [p for layer in module.modules() for p in layer.parameters(recurse=False)]
    if len({id(p) for p in owned}) != len(owned):
        raise PrivacyError("two layers share a parameter; their clipped norms would be wrong")
