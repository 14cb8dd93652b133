"""The rows and targets of one site's patients, in numpy.

A patient is the privacy unit and may have several rows (samples). Rows of one patient stand together, and
patients are numbered from 0 in the order of their rows. Private: an argument or a local value only.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.study.outcomes import Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientRows:
    """Model inputs and targets of n patients.

    Attributes:
        inputs: Shape (rows, d), float32, finite, as the public feature path gives them.
        patient: Shape (rows,), int64. The patient of each row: starts at 0, never decreases, skips nobody.
        targets: The outcomes of the n patients.
        weight: Shape (n,), what each counts in training, above 0 and at most 1; None where all count alike.

    Example:
        >>> rows = PatientRows(
        ...     inputs=np.array([[1.0], [2.0], [3.0]], np.float32),
        ...     patient=np.array([0, 0, 1]),
        ...     targets=Targets(value=np.array([0.0, 1.0])),
        ... )
        >>> rows.take(np.array([1, 0])).inputs.ravel().tolist()
        [3.0, 1.0, 2.0]
    """

    inputs: NDArray[np.float32] = field(repr=False)
    patient: NDArray[np.int64] = field(repr=False)
    targets: Targets = field(repr=False)
    weight: NDArray[np.float64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together.

        Raises:
            UsageError: A shape, type, order or non-finite value, never showing a value.
        """
        if self.inputs.ndim != 2 or self.inputs.dtype != np.float32:
            raise UsageError(
                f"expected float32 inputs of shape (rows, d), found {self.inputs.dtype} {self.inputs.shape}"
            )
        if self.patient.shape != (len(self.inputs),) or self.patient.dtype != np.int64:
            raise UsageError(
                f"expected int64 patient numbers of shape ({len(self.inputs)},), "
                f"found {self.patient.dtype} {self.patient.shape}"
            )
        if not np.isfinite(self.inputs).all():
            raise UsageError("expected finite inputs, found NaN or infinity")
        self._check_order()
        self._check_targets()

    def _check_order(self) -> None:
        expected_last = len(self.targets) - 1
        ends = (0, -1) if not len(self.patient) else (int(self.patient[0]), int(self.patient[-1]))
        steps = np.diff(self.patient)
        if ends != (0, expected_last) or not np.isin(steps, (0, 1)).all():
            raise UsageError(
                f"expected patient numbers 0 to {expected_last} in order, each with at least one row",
                advice="sort the rows by patient, then number the patients from 0",
            )

    def _check_targets(self) -> None:
        value, event = self.targets.value, self.targets.event
        if value.ndim != 1 or not np.isfinite(value).all():
            raise UsageError("expected finite targets of shape (patients,)")
        if event is not None and (event.shape != value.shape or event.dtype != np.bool_):
            raise UsageError("expected boolean events, one per patient")

        weight = self.weight
        if weight is not None and (weight.shape != value.shape or not ((weight > 0) & (weight <= 1)).all()):
            raise UsageError("expected weights above 0 and at most 1, one per patient")

    @property
    def n_patients(self) -> int:
        """How many patients there are; private."""
        return len(self.targets)

    def take(self, patients: NDArray[np.int64]) -> "PatientRows":
        """The rows of some patients in the given order, renumbered from 0. A patient may be named twice."""
        if len(patients) == self.n_patients and (patients == np.arange(len(patients))).all():
            return self
        starts = np.searchsorted(self.patient, patients, side="left")
        counts = np.searchsorted(self.patient, patients, side="right") - starts
        patient = np.repeat(np.arange(len(patients), dtype=np.int64), counts)
        within = np.arange(len(patient)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.repeat(starts, counts) + within
        return PatientRows(
            inputs=self.inputs[rows],
            patient=patient,
            targets=self.targets.take(patients),
            weight=None if self.weight is None else self.weight[patients],
        )
