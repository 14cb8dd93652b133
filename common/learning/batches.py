"""Patients as tensors: one entry per patient, so that a patient's gradient is one thing to clip.

Patients with one row each give inputs (n, d). Otherwise rows are padded with zeros to (n, K, d) and a mask
tells rows from padding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wardround.common.learning.data import PatientRows


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorBatch:
    """Some patients.

    Attributes:
        inputs: Shape (n, d), or (n, K, d) where any patient has several rows; float32.
        mask: Shape (n, K), True for a row, False for padding; None for inputs (n, d).
        value: Shape (n,), float32; see `Targets.value`.
        event: Shape (n,), bool; None unless survival.
        weight: Shape (n,), float64, at most 1; None where all patients count alike.
    """

    inputs: Tensor
    mask: Tensor | None
    value: Tensor
    event: Tensor | None
    weight: Tensor | None = None

    @classmethod
    def of(cls, rows: PatientRows) -> "TensorBatch":
        """All patients of a site, in order."""
        inputs, mask = _padded(rows)
        event = rows.targets.event
        return cls(
            inputs=_tensor(inputs),
            mask=None if mask is None else _tensor(mask),
            value=_tensor(rows.targets.value.astype(np.float32)),
            event=None if event is None else _tensor(event),
            weight=None if rows.weight is None else _tensor(rows.weight),
        )

    def __len__(self) -> int:
        return len(self.value)

    def take(self, index: Tensor) -> "TensorBatch":
        """The patients at `index`, shape (m,), integers; m may be 0."""
        return TensorBatch(
            inputs=self.inputs.index_select(0, index),
            mask=None if self.mask is None else self.mask.index_select(0, index),
            value=self.value.index_select(0, index),
            event=None if self.event is None else self.event.index_select(0, index),
            weight=None if self.weight is None else self.weight.index_select(0, index),
        )

    def per_row(self, values: Tensor) -> Tensor:
        """Values (n,) of patients, repeated for their rows: (n,) or (n, K)."""
        return values if self.mask is None else values.unsqueeze(1).expand(self.mask.shape)

    def per_patient(self, values: Tensor) -> Tensor:
        """Values (n,) or (n, K) of rows, averaged over each patient's rows: (n,)."""
        if self.mask is None:
            return values
        return torch.where(self.mask, values, 0.0).sum(dim=1) / self.mask.sum(dim=1)


def _padded(rows: PatientRows) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    counts = np.bincount(rows.patient, minlength=rows.n_patients)
    widest = int(counts.max(initial=0))
    if widest <= 1:
        return rows.inputs, None
    place = np.arange(len(rows.patient)) - np.repeat(np.cumsum(counts) - counts, counts)
    inputs = np.zeros((rows.n_patients, widest, rows.inputs.shape[1]), np.float32)
    inputs[rows.patient, place] = rows.inputs
    return inputs, np.arange(widest) < counts[:, None]


def _tensor(array: NDArray[np.generic]) -> Tensor:
    """Shares memory where torch can; copies an array that is read-only or strided."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))
