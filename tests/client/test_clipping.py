"""Clipped sums against gradients taken patient by patient in float64."""

import copy

import numpy as np
import pytest
import torch
from tests.clipping_cases import (
    MODELS,
    N_INPUTS,
    OUTCOMES,
    a_model,
    clipped,
    flat,
    in_float64,
    one_by_one,
    patients,
)
from torch import nn

from wardround.client.clipping import PatientClipper
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.losses import patient_losses
from wardround.common.study.outcomes import ClassOutcome


@pytest.mark.parametrize("most_rows", [1, 4])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", OUTCOMES)
def test_the_sum_is_that_of_gradients_clipped_one_by_one(kind: str, model: str, most_rows: int) -> None:
    outcome = OUTCOMES[kind]
    module, batch = a_model(outcome, MODELS[model]), patients(outcome, most_rows=most_rows)
    gradients = one_by_one(module, outcome, batch)
    middle = float(gradients.norm(dim=1).median())
    for clipping_norm in (0.01 * middle, middle, 100 * middle):  # all clipped, half of them, none
        expected = clipped(gradients, clipping_norm).sum(dim=0)
        found = flat(PatientClipper(module, outcome, clipping_norm).sum(batch))
        assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("kind", OUTCOMES)
def test_twenty_thousand_inputs_lose_no_accuracy(kind: str) -> None:
    outcome = OUTCOMES[kind]
    batch = patients(outcome, n=12, most_rows=2)
    wide = TensorBatch(
        inputs=batch.inputs.repeat(1, 1, 667), mask=batch.mask, value=batch.value, event=batch.event
    )
    module = a_model(outcome)
    first = next(layer for layer in module.modules() if isinstance(layer, nn.Linear))
    first.weight = nn.Parameter(first.weight.detach().repeat(1, 667) / 667)
    expected = clipped(one_by_one(module, outcome, wide), 1.0).sum(dim=0)
    found = flat(PatientClipper(module, outcome, 1.0).sum(wide))
    assert float((found - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("kind", ["class", "continuous"])
def test_the_sum_is_that_of_opacus(kind: str) -> None:
    from opacus.grad_sample import GradSampleModule

    outcome = OUTCOMES[kind]
    module, batch = a_model(outcome, MODELS["deep"]), patients(outcome)
    theirs = GradSampleModule(copy.deepcopy(module).double(), loss_reduction="sum")
    losses = patient_losses(theirs(batch.inputs.double()), in_float64(batch), outcome)
    torch.autograd.backward(losses.sum())
    gradients = torch.cat([p.grad_sample.flatten(1) for p in theirs.parameters()], dim=1)
    clipping_norm = float(gradients.norm(dim=1).median())
    expected = clipped(gradients, clipping_norm).sum(dim=0)
    found = flat(PatientClipper(module, outcome, clipping_norm).sum(batch))
    assert float((found - expected).norm() / expected.norm()) < 1e-6


def test_the_sum_is_in_float64_and_an_earlier_one_can_be_overwritten() -> None:
    outcome = OUTCOMES["survival"]
    clipper = PatientClipper(a_model(outcome, MODELS["mlp"]), outcome, 1.0)
    first, second = patients(outcome), patients(outcome, seed=8)
    fresh, kept = clipper.sum(second), clipper.sum(first)
    again = clipper.sum(second, into=kept)
    assert all(a is b and a.dtype == torch.float64 for a, b in zip(again, kept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(again, fresh, strict=True))


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("model", MODELS)
def test_no_patient_contributes_more_than_the_clipping_norm(model: str, scale: float) -> None:
    outcome = OUTCOMES["class"]
    module, batch = a_model(outcome, MODELS[model]), patients(outcome, most_rows=3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale)
    clipper = PatientClipper(module, outcome, 0.5)
    for i in range(len(batch)):
        assert float(flat(clipper.sum(batch.take(torch.tensor([i])))).norm()) <= 0.5 * (1 + 2**-20)


def test_the_frozen_layer_of_a_hazard_head_gets_no_gradient_and_its_baselines_do() -> None:
    outcome = OUTCOMES["survival"]
    module = a_model(outcome)
    shapes = [tuple(part.shape) for part in PatientClipper(module, outcome, 1.0).sum(patients(outcome))]
    assert shapes == [(1, N_INPUTS), (3,)]
    assert torch.equal(dict(module.named_parameters())["hazard.weight"], torch.ones(3, 1))


def almost_cancelling(
    width: float, *, n_rows: int = 5, n_inputs: int = 20_000
) -> tuple[nn.Module, TensorBatch]:
    """One patient whose samples differ by about `width` in the one input that crafted weights look at.

    The residuals add up to zero and so, nearly, do the gradients of the rows, each of them huge.
    """
    generator = np.random.default_rng(2)
    inputs = np.repeat(generator.uniform(-5, 5, (1, 1, n_inputs)), n_rows, axis=1).astype(np.float32)
    first = generator.normal(size=n_rows)
    inputs[0, :, 0] = width * (first - first.mean())
    layer = nn.Linear(n_inputs, 1)
    module = nn.Sequential(layer)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0] = 1e4
        layer.bias.zero_()
    batch = TensorBatch(
        inputs=torch.from_numpy(inputs),
        mask=torch.ones(1, n_rows, dtype=torch.bool),
        value=torch.zeros(1),
        event=None,
    )
    return module, batch


@pytest.mark.parametrize("width", [1.0, 0.3, 0.1, 0.03])
def test_a_gradient_left_over_where_rows_almost_cancel_is_still_clipped(width: float) -> None:
    # In float32 the squared norm is the difference of numbers 1e7 and more times larger: it reads as anything.
    module, batch = almost_cancelling(width)
    true = float(one_by_one(module, OUTCOMES["continuous"], batch).norm())
    assert true > 1.4
    found = float(flat(PatientClipper(module, OUTCOMES["continuous"], 1.0).sum(batch)).norm())
    assert found <= 1 + 2**-20


@pytest.mark.parametrize("width", [1e-2, 1e-4, 1e-6, 1e-7])
def test_rounding_of_rows_that_cancel_beyond_float32_stays_below_the_clipping_norm(width: float) -> None:
    module, batch = almost_cancelling(width)
    clipping_norm = float(one_by_one(module, OUTCOMES["continuous"], batch).norm()) / 2
    found = flat(PatientClipper(module, OUTCOMES["continuous"], clipping_norm).sum(batch))
    assert float(found.norm()) <= clipping_norm * (1 + 2**-20)


def one_loud_rounding(kind: str, *, n_inputs: int = 1000, hidden: int = 64) -> nn.Module:
    """Weights that raise rounding above the gradient: alike rows that a sum to zero meets, behind a LayerNorm.

    The true gradient of the first layer is next to nothing. What float32 leaves of `alike rows x (1 - 1)` is
    magnified by large weights and by the LayerNorm of small inputs, and is another number in every pass.
    """
    generator = np.random.default_rng(0)
    first, last = nn.Linear(n_inputs, hidden), nn.Linear(hidden, 4 if kind == "class" else 1)
    middle = [nn.Linear(hidden, hidden), nn.LayerNorm(hidden, elementwise_affine=False), nn.ReLU()]
    alike = last if kind == "class" else middle[0]
    module = nn.Sequential(
        first,
        nn.LayerNorm(hidden, elementwise_affine=False),
        nn.ReLU(),
        *(middle if kind == "deep" else []),
        last,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(generator.normal(size=parameter.shape)))
        first.weight.zero_()
        first.bias.mul_(1e-4)
        loud = torch.from_numpy(np.sign(generator.normal(size=hidden)) * 8192.0)
        assert isinstance(alike, nn.Linear)
        alike.weight.copy_(loud.float().expand(alike.weight.shape))
        last.bias.zero_()
    return module


@pytest.mark.parametrize("kind", ["class", "deep"])
def test_rounding_that_crafted_weights_magnify_is_clipped_with_the_rest(kind: str) -> None:
    outcome = ClassOutcome(column="y", classes=("a", "b", "c", "d"), source="test")
    chosen = outcome if kind == "class" else OUTCOMES["binary"]
    module = one_loud_rounding(kind)
    one = TensorBatch(inputs=torch.full((1, 1000), 5.0), mask=None, value=torch.zeros(1), event=None)
    for clipping_norm in np.geomspace(1e-3, 0.9, 15):
        total = flat(PatientClipper(module, chosen, float(clipping_norm)).sum(one))
        assert float(total.norm()) <= clipping_norm * (1 + 2**-20)


def test_another_patient_does_not_change_how_the_others_are_rounded() -> None:
    # Matrix products round a row by its place and by the number of rows; crafted weights magnify that.
    outcome = ClassOutcome(column="y", classes=("a", "b", "c", "d"), source="test")
    generator = np.random.default_rng(1)
    worst = 0.0
    for n_inputs, hidden, n in ((333, 33, 400), (1000, 33, 129), (3000, 33, 601), (100, 33, 21)):
        module = one_loud_rounding("class", n_inputs=n_inputs, hidden=hidden)
        with torch.no_grad():
            weights, *_, bias = module.parameters()
            weights.copy_(torch.from_numpy(generator.normal(0, 1e-4 / n_inputs**0.5, weights.shape)))
            bias.copy_(torch.from_numpy(generator.normal(size=bias.shape)))
        batch = TensorBatch(
            inputs=torch.from_numpy(generator.normal(0, 2, (n, n_inputs)).astype(np.float32)),
            mask=None,
            value=torch.from_numpy(generator.integers(0, 4, n).astype(np.float32)),
            event=None,
        )
        clipper = PatientClipper(module, outcome, 0.01)
        everybody = flat(clipper.sum(batch))
        for left_out in (0, n // 2, n - 1):
            others = torch.tensor([i for i in range(n) if i != left_out])
            worst = max(worst, float((everybody - flat(clipper.sum(batch.take(others)))).norm()))
    assert worst <= 0.01 * (1 + 2**-19)


def cancelling_weights(n_inputs: int, hidden: int) -> nn.Module:
    """Two hidden layers that magnify rounding errors of float64 above everything else.

    First-layer weights of up to 1e4 cancel exactly for whoever has equal inputs; what rounding leaves of the sum is
    all that the LayerNorm sees, and the next layer meets it with 1e4 again.
    """
    generator = np.random.default_rng(0)
    norm = [nn.LayerNorm(hidden, elementwise_affine=False), nn.ReLU()]
    first, second, last = nn.Linear(n_inputs, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 4)
    with torch.no_grad():
        first.weight.zero_()
        half = n_inputs // 2
        for row in first.weight:
            loud = torch.from_numpy(generator.uniform(-1e4, 1e4, half)).float()
            places = torch.from_numpy(generator.permutation(2 * half))
            row[places[:half]], row[places[half:]] = loud, -loud
        second.weight.copy_(torch.from_numpy(np.sign(generator.normal(size=(hidden, hidden))) * 1e4))
        last.weight.copy_(torch.from_numpy(generator.normal(0, 1e3, (4, hidden))))
        for layer in (first, second, last):
            layer.bias.zero_()
    return nn.Sequential(first, *norm, second, *norm, last)


@pytest.mark.parametrize(("n_inputs", "hidden", "n"), [(333, 33, 400), (1001, 32, 129), (100, 33, 21)])
def test_nor_do_two_hidden_layers_that_magnify_what_float64_rounds(
    n_inputs: int, hidden: int, n: int
) -> None:
    outcome = ClassOutcome(column="y", classes=("a", "b", "c", "d"), source="test")
    generator = np.random.default_rng(1)
    inputs = np.repeat(generator.normal(0, 2, (n, 1)), n_inputs, axis=1).astype(np.float32)
    value = torch.from_numpy(generator.integers(0, 4, n).astype(np.float32))
    batch = TensorBatch(inputs=torch.from_numpy(inputs), mask=None, value=value, event=None)
    clipper = PatientClipper(cancelling_weights(n_inputs, hidden), outcome, 0.01)
    everybody = flat(clipper.sum(batch))
    for left_out in (0, n // 2, n - 1):
        others = torch.tensor([i for i in range(n) if i != left_out])
        assert float((everybody - flat(clipper.sum(batch.take(others)))).norm()) <= 0.01 * (1 + 2**-19)
