"""Rows of patients, and batches of them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.data import PatientRows
from wardround.common.study.outcomes import Targets


def rows(patient: list[int], patients: int, event: NDArray[np.bool_] | None = None) -> PatientRows:
    inputs = np.arange(2 * len(patient), dtype=np.float32).reshape(-1, 2)
    targets = Targets(value=np.arange(patients, dtype=np.float64), event=event)
    return PatientRows(inputs=inputs, patient=np.asarray(patient, np.int64), targets=targets)


def test_patients_are_taken_with_all_their_rows_in_the_order_asked() -> None:
    taken = rows([0, 0, 1, 2, 2, 2], 3).take(np.array([2, 0, 2]))
    assert taken.inputs[:, 0].tolist() == [6, 8, 10, 0, 2, 6, 8, 10]
    assert taken.patient.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert taken.targets.value.tolist() == [2, 0, 2]


def test_no_patients_are_a_cohort_too() -> None:
    nobody = rows([0, 1], 2).take(np.array([], np.int64))
    assert nobody.n_patients == 0
    assert nobody.inputs.shape == (0, 2)
    assert len(TensorBatch.of(nobody)) == 0


@pytest.mark.parametrize(
    ("patient", "patients"),
    [([1, 2], 3), ([0, 2], 3), ([1, 0], 2), ([0, 0], 2), ([0, 1, 1], 1), ([0], 0), ([], 1)],
)
def test_patient_numbers_that_skip_or_go_back_are_refused(patient: list[int], patients: int) -> None:
    with pytest.raises(UsageError, match="in order"):
        rows(patient, patients)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused_without_showing_them(bad: float) -> None:
    inputs = np.array([[bad]], np.float32)
    with pytest.raises(UsageError, match="finite inputs"):
        PatientRows(inputs=inputs, patient=np.array([0]), targets=Targets(value=np.zeros(1)))


def test_inputs_of_another_type_or_shape_are_refused() -> None:
    targets = Targets(value=np.zeros(1))
    with pytest.raises(UsageError, match="float32 inputs"):
        PatientRows(inputs=np.zeros((1, 2)), patient=np.array([0]), targets=targets)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="int64 patient numbers"):
        PatientRows(inputs=np.zeros((1, 2), np.float32), patient=np.array([0, 0]), targets=targets)


def test_targets_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="finite targets"):
        PatientRows(
            inputs=np.zeros((1, 1), np.float32),
            patient=np.array([0]),
            targets=Targets(value=np.array([np.nan])),
        )
    with pytest.raises(UsageError, match="boolean events"):
        rows([0, 1], 2, event=np.array([True]))


def test_one_row_each_stays_flat() -> None:
    batch = TensorBatch.of(rows([0, 1, 2], 3))
    assert batch.mask is None
    assert batch.inputs.shape == (3, 2)
    assert batch.take(torch.tensor([2])).inputs.tolist() == [[4.0, 5.0]]


def test_several_rows_are_padded_and_masked() -> None:
    batch = TensorBatch.of(rows([0, 0, 1], 2, event=np.array([True, False])))
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, True], [True, False]]
    assert batch.inputs[1].tolist() == [[4.0, 5.0], [0.0, 0.0]]
    taken = batch.take(torch.tensor([1, 0]))
    assert taken.event is not None
    assert taken.event.tolist() == [False, True]
    assert taken.mask is not None
    assert taken.mask[0].tolist() == [True, False]


def test_padding_does_not_count_in_a_patients_mean() -> None:
    batch = TensorBatch.of(rows([0, 0, 1], 2))
    values = torch.tensor([[1.0, 3.0], [5.0, float("inf")]])
    assert batch.per_patient(values).tolist() == [2.0, 5.0]
    assert batch.per_row(torch.tensor([1.0, 2.0])).tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_read_only_inputs_are_accepted() -> None:
    inputs = np.ones((1, 2), np.float32)
    inputs.flags.writeable = False
    patients = PatientRows(inputs=inputs, patient=np.array([0]), targets=Targets(value=np.zeros(1)))
    assert TensorBatch.of(patients).inputs.sum().item() == 2.0
