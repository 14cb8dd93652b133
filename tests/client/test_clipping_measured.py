"""What is measured once per cohort, and memory that is kept from step to step, change no sum."""

import pytest
import torch
from tests.clipping_cases import N_INPUTS, OUTCOMES, clipped, flat, one_by_one, patients
from torch import nn

from wardround.client.clipping import MeasuredBatch, PatientClipper, measured
from wardround.common.learning.batches import TensorBatch

OUTCOME = OUTCOMES["class"]
WIDTH = 2 * N_INPUTS


def a_stack(*, seed: int = 1) -> nn.Module:
    norm = nn.LayerNorm(5, elementwise_affine=False)
    module = nn.Sequential(nn.Linear(WIDTH, 5), norm, nn.ReLU(), nn.Linear(5, 3))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
    return module


def a_cohort(most_rows: int) -> TensorBatch:
    """Patients whose inputs differ in length by up to a factor of 1,000."""
    narrow = patients(OUTCOME, n=30, most_rows=most_rows)
    inputs = torch.cat([narrow.inputs, narrow.inputs.flip(-1)], dim=-1)
    lengths = torch.logspace(-1, 2, len(narrow)).view(-1, *[1] * (inputs.ndim - 1))
    return TensorBatch(inputs=inputs * lengths, mask=narrow.mask, value=narrow.value, event=None)


@pytest.mark.parametrize("most_rows", [1, 3])
def test_measured_patients_give_the_sum_of_the_same_patients_unmeasured(most_rows: int) -> None:
    batch, clipper = a_cohort(most_rows), PatientClipper(a_stack(), OUTCOME, 1.0)
    known = measured(batch)
    assert isinstance(known, MeasuredBatch)
    assert torch.equal(flat(clipper.sum(known)), flat(clipper.sum(batch)))


@pytest.mark.parametrize("most_rows", [1, 3])
def test_a_sample_of_measured_patients_is_clipped_like_one_that_was_never_measured(most_rows: int) -> None:
    batch, module = a_cohort(most_rows), a_stack()
    sample = torch.tensor([29, 3, 17, 4])
    found = flat(PatientClipper(module, OUTCOME, 1.0).sum(measured(batch).take(sample)))
    expected = clipped(one_by_one(module, OUTCOME, batch.take(sample)), 1.0).sum(dim=0)
    assert float((found - expected).norm() / expected.norm()) < 1e-6


def test_patients_with_more_rows_than_a_sixteenth_of_their_columns_are_not_measured() -> None:
    # The products of a thousand rows each would take more memory than the rows.
    batch = patients(OUTCOME, most_rows=2)
    assert measured(batch) is batch


def test_each_sum_reads_the_weights_as_they_are_then() -> None:
    batch, module = a_cohort(1), a_stack()
    clipper = PatientClipper(module, OUTCOME, 1.0)
    clipper.sum(batch)
    module.load_state_dict(a_stack(seed=2).state_dict())
    assert torch.equal(
        flat(clipper.sum(batch)), flat(PatientClipper(a_stack(seed=2), OUTCOME, 1.0).sum(batch))
    )


def test_samples_of_any_size_come_out_of_kept_memory_as_out_of_fresh() -> None:
    batch, module = a_cohort(3), a_stack()
    clipper = PatientClipper(module, OUTCOME, 1.0)
    for size in (1, 30, 0, 7, 30):
        some = batch.take(torch.arange(size))
        assert torch.equal(flat(clipper.sum(some)), flat(PatientClipper(module, OUTCOME, 1.0).sum(some)))
