"""What one bad patient, an empty sample or an unsuitable model can do to a clipped sum: nothing."""

import pytest
import torch
from tests.clipping_cases import MODELS, OUTCOMES, a_model, flat, patients
from torch import nn

from wardround.client.clipping import PatientClipper
from wardround.common.errors import PrivacyError, UsageError
from wardround.common.learning.batches import TensorBatch


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


def test_a_layer_that_is_used_twice_is_refused() -> None:
    layer = nn.Linear(4, 4)
    with pytest.raises(PrivacyError, match="share"):
        PatientClipper(nn.Sequential(layer, nn.ReLU(), layer), OUTCOMES["class"], 1.0)


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
