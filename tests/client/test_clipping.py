"""Clipped sums against gradients taken patient by patient in float64, and what one bad patient can do: nothing."""

import copy
from typing import Final

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wardround.client.clipping import PatientClipper
from wardround.common.errors import PrivacyError, UsageError
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.data import PatientRows
from wardround.common.learning.losses import patient_losses
from wardround.common.learning.models import build, initial, load_into
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
    Targets,
)
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, ModelTerms, StudyTerms

N_INPUTS: Final = 30
OUTCOMES: Final[dict[str, Outcome]] = {
    "binary": BinaryOutcome(column="y", positive=("yes",), negative=("no",), source="test"),
    "class": ClassOutcome(column="y", classes=("a", "b", "c"), source="test"),
    "continuous": ContinuousOutcome(column="y", unit="1", low=-3, high=3, mean=0, sd=1, source="test"),
    "survival": SurvivalOutcome(
        time_column="t",
        event_column="e",
        event_values=("1",),
        censored_values=("0",),
        unit="months",
        high=100,
        cut_points=(10.0, 20.0, 40.0),
        source="test",
    ),
}
MODELS: Final = {
    "linear": ModelTerms(),
    "mlp": ModelTerms(kind="mlp", hidden=(16,)),
    "deep": ModelTerms(kind="mlp", hidden=(16, 8)),
}


def a_model(outcome: Outcome, terms: ModelTerms = MODELS["linear"], *, seed: int = 3) -> nn.Module:
    """A module away from its start, so that no gradient is zero by symmetry."""
    protocol = StudyProtocol(
        study=StudyTerms(name="clip", question="?", purpose="test"),
        outcome=outcome,
        features=(Feature(name="x", kind="continuous", low=-9, high=9, source="test"),),
        cohort=CohortTerms(patient_column="patient"),
        privacy=PrivacyTerms(mechanism="site-noise", noise_multiplier=1.0),
        model=terms,
    )
    generator = np.random.default_rng(seed)
    module = build(protocol, N_INPUTS)
    start = initial(protocol, N_INPUTS)
    load_into(module, {k: v + generator.normal(0, 0.2, v.shape).astype(np.float32) for k, v in start.items()})
    return module


def patients(outcome: Outcome, *, n: int = 40, most_rows: int = 1, seed: int = 7) -> TensorBatch:
    """Some patients with one to `most_rows` rows."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, most_rows + 1, n)
    patient = np.repeat(np.arange(n), counts)
    event = None
    match outcome:
        case BinaryOutcome():
            value = generator.integers(0, 2, n).astype(float)
        case ClassOutcome():
            value = generator.integers(0, 3, n).astype(float)
        case ContinuousOutcome():
            value = generator.normal(size=n)
        case SurvivalOutcome():
            value, event = generator.uniform(1, 60, n), generator.random(n) < 0.5
    inputs = generator.normal(size=(len(patient), N_INPUTS)).astype(np.float32)
    return TensorBatch.of(
        PatientRows(inputs=inputs, patient=patient, targets=Targets(value=value, event=event))
    )


def in_float64(batch: TensorBatch) -> TensorBatch:
    return TensorBatch(
        inputs=batch.inputs.double(), mask=batch.mask, value=batch.value.double(), event=batch.event
    )


def one_by_one(module: nn.Module, outcome: Outcome, batch: TensorBatch) -> Tensor:
    """Every patient's gradient in float64, by ordinary autograd on that patient alone: shape (n, parameters)."""
    module = copy.deepcopy(module).double()
    parameters = [p for p in module.parameters() if p.requires_grad]
    gradients = []
    for i in range(len(batch)):
        one = in_float64(batch.take(torch.tensor([i])))
        loss = patient_losses(module(one.inputs), one, outcome).sum()
        gradients.append(flat(list(torch.autograd.grad(loss, parameters))))
    return torch.stack(gradients)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.double().reshape(-1) for tensor in tensors])


def clipped(gradients: Tensor, clipping_norm: float) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    scales: Tensor = (clipping_norm / norms).clamp(max=1.0)
    return gradients * scales


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
        assert float((found - expected).norm() / expected.norm()) < 1e-5


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
    assert float((found - expected).norm() / expected.norm()) < 1e-5


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
        assert float(flat(clipper.sum(batch.take(torch.tensor([i])))).norm()) <= 0.5 * (1 + 1e-4)


def test_the_frozen_layer_of_a_hazard_head_gets_no_gradient_and_its_baselines_do() -> None:
    outcome = OUTCOMES["survival"]
    module = a_model(outcome)
    shapes = [tuple(part.shape) for part in PatientClipper(module, outcome, 1.0).sum(patients(outcome))]
    assert shapes == [(1, N_INPUTS), (3,)]
    assert torch.equal(dict(module.named_parameters())["hazard.weight"], torch.ones(3, 1))


@pytest.mark.parametrize("bad", [float("inf"), float("nan"), 3e38])
@pytest.mark.parametrize("most_rows", [1, 3])
@pytest.mark.parametrize("model", MODELS)
def test_a_patient_whose_gradient_is_not_finite_leaves_no_trace(
    model: str, most_rows: int, bad: float
) -> None:
    outcome = OUTCOMES["continuous"]
    module, batch = a_model(outcome, MODELS[model]), patients(outcome, most_rows=most_rows)
    clipper = PatientClipper(module, outcome, 1.0)
    others = torch.cat([torch.arange(5), torch.arange(6, len(batch))])
    without = clipper.sum(batch.take(others))
    batch.value[5] = bad
    found = clipper.sum(batch)
    assert all(torch.isfinite(part).all() for part in found)
    assert all(torch.equal(a, b) for a, b in zip(found, without, strict=True))


def test_crafted_weights_that_overflow_for_one_patient_leave_no_trace() -> None:
    # The attack: a weight that only one patient's attribute meets, on a path that overflows float32.
    outcome = OUTCOMES["continuous"]
    module, batch = a_model(outcome), patients(outcome)
    batch.inputs[:, 0] = 0.0
    batch.inputs[5, 0] = 5.0
    with torch.no_grad():
        next(module.parameters())[0, 0] = 3e38
    clipper = PatientClipper(module, outcome, 1.0)
    found = clipper.sum(batch)
    without = clipper.sum(batch.take(torch.cat([torch.arange(5), torch.arange(6, len(batch))])))
    assert all(torch.isfinite(part).all() for part in found)
    assert all(torch.equal(a, b) for a, b in zip(found, without, strict=True))


def test_a_gradient_whose_square_overflows_is_bounded_like_any_other() -> None:
    outcome = OUTCOMES["continuous"]
    module, batch = a_model(outcome), patients(outcome)
    batch.value[5] = 1e30  # the residual is 1e30, its square is not a float32
    clipper = PatientClipper(module, outcome, 1.0)
    others = torch.cat([torch.arange(5), torch.arange(6, len(batch))])
    found, without = clipper.sum(batch), clipper.sum(batch.take(others))
    difference = float((flat(found) - flat(without)).norm())
    assert difference <= 1.0 + 1e-5
    assert all(torch.isfinite(part).all() for part in found)


def test_only_bad_patients_give_zeros() -> None:
    outcome = OUTCOMES["continuous"]
    batch = patients(outcome)
    batch.value[:] = float("nan")
    assert not flat(PatientClipper(a_model(outcome), outcome, 1.0).sum(batch)).any()


@pytest.mark.parametrize("most_rows", [1, 3])
@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_empty_sample_gives_zeros_of_the_right_shapes(kind: str, most_rows: int) -> None:
    outcome = OUTCOMES[kind]
    module = a_model(outcome)
    clipper = PatientClipper(module, outcome, 1.0)
    batch = patients(outcome, most_rows=most_rows)
    empty = clipper.sum(batch.take(torch.tensor([], dtype=torch.int64)))
    assert [part.shape for part in empty] == [part.shape for part in clipper.sum(batch)]
    assert not flat(empty).any()


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
    assert found <= 1.01


@pytest.mark.parametrize("width", [1e-2, 1e-3, 1e-4])
def test_rounding_of_rows_that_cancel_beyond_float32_stays_below_the_clipping_norm(width: float) -> None:
    module, batch = almost_cancelling(width)
    clipping_norm = float(one_by_one(module, OUTCOMES["continuous"], batch).norm()) / 2
    found = flat(PatientClipper(module, OUTCOMES["continuous"], clipping_norm).sum(batch))
    assert float(found.norm()) <= clipping_norm * 1.01


def test_nothing_of_a_patient_stays_on_the_model() -> None:
    outcome = OUTCOMES["class"]
    module, batch = a_model(outcome, MODELS["mlp"]), patients(outcome)
    before = {name: set(vars(layer)) for name, layer in module.named_modules()}
    PatientClipper(module, outcome, 1.0).sum(batch)
    assert {name: set(vars(layer)) for name, layer in module.named_modules()} == before
    assert all(not layer._forward_hooks and not layer._backward_hooks for layer in module.modules())
    assert all(p.grad is None and not hasattr(p, "_norm_sample") for p in module.parameters())


def test_nothing_stays_on_the_model_after_an_error_either() -> None:
    outcome = OUTCOMES["survival"]
    module, batch = a_model(outcome), patients(outcome)
    before = {name: set(vars(layer)) for name, layer in module.named_modules()}
    broken = TensorBatch(inputs=batch.inputs, mask=None, value=batch.value, event=None)
    clipper = PatientClipper(module, outcome, 1.0)
    with pytest.raises(UsageError):
        clipper.sum(broken)
    assert {name: set(vars(layer)) for name, layer in module.named_modules()} == before
    assert all(torch.isfinite(part).all() for part in clipper.sum(batch))


def tied() -> nn.Module:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    return nn.Sequential(first, second)


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
        nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False, track_running_stats=False)),
        nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
        nn.Sequential(nn.Linear(4, 4), nn.LayerNorm((9, 4), elementwise_affine=False)),
        nn.Sequential(nn.Linear(4, 4), nn.Dropout()),
        nn.Sequential(nn.Conv1d(4, 4, 1)),
        nn.Sequential(nn.Embedding(4, 4)),
        tied(),
    ],
    ids=[
        "batch-norm",
        "frozen-batch-norm",
        "affine",
        "over-patients",
        "dropout",
        "conv",
        "embedding",
        "tied",
    ],
)
def test_a_layer_that_could_couple_patients_is_refused(module: nn.Module) -> None:
    with pytest.raises(PrivacyError):
        PatientClipper(module, OUTCOMES["continuous"], 1.0)


def test_a_running_buffer_is_refused_even_on_an_ordinary_layer() -> None:
    layer = nn.Linear(4, 1)
    layer.register_buffer("seen", torch.zeros(4))
    with pytest.raises(PrivacyError, match="statistics"):
        PatientClipper(nn.Sequential(layer), OUTCOMES["continuous"], 1.0)


@pytest.mark.parametrize("clipping_norm", [0.0, -1.0, float("inf"), float("nan")])
def test_a_clipping_norm_that_bounds_nothing_is_refused(clipping_norm: float) -> None:
    with pytest.raises(UsageError, match="clipping_norm"):
        PatientClipper(a_model(OUTCOMES["binary"]), OUTCOMES["binary"], clipping_norm)
