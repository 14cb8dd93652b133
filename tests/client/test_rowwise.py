"""Rows computed in company are, bit for bit, rows computed in any other company."""

import pytest
import torch
import torch.nn.functional as F
from tests.clipping_cases import MODELS, N_INPUTS, OUTCOMES, a_model, patients
from torch import Tensor, nn

from wardround.client.rowwise import RowwiseStack, rows_alike
from wardround.common.learning.batches import TensorBatch
from wardround.common.study.outcomes import Outcome

ODD = (3, 7, 10, 30, 100)


def stacked(stack: RowwiseStack, batch: TensorBatch) -> list[Tensor]:
    """What every layer showed, (n, ...) per tensor."""
    n = len(batch)
    parts = [part for rows in stack.backward(batch) for part in (rows.inputs, rows.outputs)]
    return [part.view(n, -1, part.shape[1]) for part in parts]


@pytest.mark.parametrize("sizes", [(), (64,), (1,)], ids=["default", "one-size", "alone"])
@pytest.mark.parametrize("most_rows", [1, 3])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_patients_rows_depend_on_nobody_else(
    kind: str, model: str, most_rows: int, sizes: tuple[int, ...]
) -> None:
    outcome = OUTCOMES[kind]
    stack = RowwiseStack(a_model(outcome, MODELS[model]), outcome, sizes=sizes)
    batch = patients(outcome, n=270, most_rows=most_rows)
    everybody = stacked(stack, batch)
    for chosen in (torch.arange(1, 270), torch.arange(269, 100, -1), torch.tensor([5]), torch.arange(3, 67)):
        some = stacked(stack, batch.take(chosen))
        assert all(torch.equal(part[chosen], found) for part, found in zip(everybody, some, strict=True))


def test_rows_that_are_not_finite_leave_the_rows_of_their_block_alone() -> None:
    outcome = OUTCOMES["survival"]
    batch = patients(outcome, n=70)
    stack = RowwiseStack(a_model(outcome, MODELS["deep"]), outcome)
    others = [i for i in range(70) if i not in (4, 66)]
    before = [part[others] for part in stacked(stack, batch)]
    batch.inputs[4], batch.inputs[66] = float("nan"), float("inf")
    after = [part[others] for part in stacked(stack, batch)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_a_wider_batch_left_behind_touches_no_later_one() -> None:
    outcome = OUTCOMES["continuous"]
    stack, batch = RowwiseStack(a_model(outcome), outcome), patients(outcome)
    before = stacked(stack, batch)
    wide = torch.full((len(batch), N_INPUTS + 2), float("nan"))
    stack.backward(TensorBatch(inputs=wide, mask=None, value=batch.value, event=None))
    assert all(torch.equal(a, b) for a, b in zip(stacked(stack, batch), before, strict=True))


@pytest.mark.parametrize("width", [1, 2, 5, 16, 31, 48, 129])
@pytest.mark.parametrize("kind", OUTCOMES)
def test_one_row_at_every_place_of_a_block_comes_out_as_one_row(kind: str, width: int) -> None:
    # Everything between the products too: normalisation, activation, loss.
    outcome: Outcome = OUTCOMES[kind]
    one = patients(outcome, n=1)
    outputs = {"class": 3, "survival": 3}.get(kind, 1)
    middle = (nn.LayerNorm(width, elementwise_affine=False), nn.ReLU())
    stack = RowwiseStack(
        nn.Sequential(nn.Linear(N_INPUTS, width), *middle, nn.Linear(width, outputs)), outcome
    )
    for part in stacked(stack, one.take(torch.zeros(330, dtype=torch.int64))):
        assert torch.equal(part, part[:1].expand(part.shape))


@pytest.mark.parametrize("outputs", ODD)
@pytest.mark.parametrize("inputs", ODD)
def test_where_blas_is_said_to_round_rows_alike_their_company_does_not_matter(
    inputs: int, outputs: int
) -> None:
    # At odd widths the answer is often no; `RowwiseStack` never asks for them.
    generator = torch.Generator().manual_seed(inputs * outputs)
    weight = torch.randn(outputs, inputs, generator=generator)
    row, gradient = torch.randn(inputs, generator=generator), torch.randn(outputs, generator=generator)
    alike = rows_alike(inputs, outputs, (16,), torch.get_num_threads())
    found = []
    for place in range(16):
        company = torch.randn(16, inputs, generator=generator)
        behind = torch.randn(16, outputs, generator=generator)
        company[place], behind[place] = row, gradient
        found.append((F.linear(company, weight)[place], (behind @ weight)[place]))
    same = all(torch.equal(a, found[0][0]) and torch.equal(b, found[0][1]) for a, b in found)
    assert same or not alike


@pytest.mark.parametrize("inputs", [1, 7, 30, 333, 20_001])
@pytest.mark.parametrize("outputs", [1, 3, 33, 128])
def test_no_width_makes_each_row_a_block_of_its_own_here(inputs: int, outputs: int) -> None:
    # Not needed for soundness: where this fails, training is slow.
    assert RowwiseStack(nn.Linear(inputs, outputs), OUTCOMES["class"]).sizes[0] == 64
