"""Per-patient losses against formulas, and that they do not couple patients."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lifelines import CoxPHFitter
from pandas import DataFrame

from wardround.common.errors import UsageError
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.losses import (
    cox_loss,
    hazard_targets,
    loss_gradients,
    mean_loss,
    patient_losses,
)
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
    output_width,
)

CUTS = (2.0, 4.0, 8.0)
BINARY = BinaryOutcome(column="y", positive=("1",), negative=("0",), source="s")
CLASSES = ClassOutcome(column="y", classes=("a", "b", "c"), source="s")
NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=9, mean=4, sd=2, source="s")
SURVIVAL = SurvivalOutcome(
    time_column="t",
    event_column="e",
    event_values=("1",),
    censored_values=("0",),
    unit="years",
    high=30,
    cut_points=CUTS,
    source="s",
)
OUTCOMES: tuple[Outcome, ...] = (BINARY, CLASSES, NUMBER, SURVIVAL)


def batch(
    value: list[float], event: list[bool] | None = None, mask: list[list[bool]] | None = None
) -> TensorBatch:
    return TensorBatch(
        inputs=torch.zeros(len(value), 1),
        mask=None if mask is None else torch.tensor(mask),
        value=torch.tensor(value),
        event=None if event is None else torch.tensor(event),
    )


def random_patients(outcome: Outcome, n: int, seed: int) -> tuple[torch.Tensor, TensorBatch]:
    rng = np.random.default_rng(seed)
    top = {BINARY: 2, CLASSES: 3}.get(outcome, 12)
    value = [float(v) + (0.5 if outcome in (NUMBER, SURVIVAL) else 0.0) for v in rng.integers(0, top, n)]
    counts = rng.integers(1, 4, n)
    found = batch(value, (rng.random(n) < 0.5).tolist(), [[k < c for k in range(3)] for c in counts])
    outputs = torch.tensor(rng.normal(size=(n, 3, output_width(outcome))), dtype=torch.float32)
    return outputs, found


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
@pytest.mark.parametrize("rows", ["one each", "several"])
def test_the_mean_loss_has_the_gradients_of_the_mean_of_the_losses_bit_for_bit(
    outcome: Outcome, rows: str
) -> None:
    for n in range(1, 70):
        outputs, patients = random_patients(outcome, n, seed=n)
        if rows == "one each":
            outputs, patients = outputs[:, 0].contiguous(), replace(patients, mask=None)
        outputs.requires_grad_()
        losses, mean = patient_losses(outputs, patients, outcome), mean_loss(outputs, patients, outcome)
        assert mean.item() == pytest.approx(losses.mean().item(), rel=1e-6)
        (expected,), (found,) = (torch.autograd.grad(loss, [outputs]) for loss in (losses.mean(), mean))
        assert torch.equal(found, expected)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_the_closed_form_is_the_gradient_of_each_patients_loss(outcome: Outcome) -> None:
    for n in (1, 2, 69):
        outputs, patients = random_patients(outcome, n, seed=n)
        outputs, patients = outputs[:, 0].contiguous(), replace(patients, mask=None)
        wide = outputs.double().requires_grad_()
        exact = replace(patients, value=patients.value.double())
        (expected,) = torch.autograd.grad(patient_losses(wide, exact, outcome).sum(), [wide])
        found = loss_gradients(outputs, patients, outcome)
        assert torch.allclose(found.double(), expected, rtol=1e-6, atol=3e-7)


def test_binary_loss_is_minus_the_log_of_the_probability_given_to_the_truth() -> None:
    losses = patient_losses(torch.tensor([[math.log(3)], [math.log(3)]]), batch([1.0, 0.0]), BINARY)
    assert losses.tolist() == pytest.approx([-math.log(0.75), -math.log(0.25)])


def test_class_loss_is_minus_the_log_of_the_probability_given_to_the_truth() -> None:
    logits = torch.tensor([[math.log(1), math.log(2), math.log(5)]]).repeat(3, 1)
    losses = patient_losses(logits, batch([0.0, 1.0, 2.0]), CLASSES)
    assert losses.tolist() == pytest.approx([-math.log(1 / 8), -math.log(2 / 8), -math.log(5 / 8)])


def test_continuous_loss_is_half_the_squared_standardised_error() -> None:
    losses = patient_losses(torch.tensor([[1.5], [-1.0]]), batch([0.5, 1.0]), NUMBER)
    assert losses.tolist() == [0.5, 2.0]


@pytest.mark.parametrize(
    ("time", "event", "survived", "died"),
    [
        (1.0, True, [0, 0, 0], [1, 0, 0]),
        (2.0, True, [0, 0, 0], [1, 0, 0]),
        (2.1, True, [1, 0, 0], [0, 1, 0]),
        (8.0, True, [1, 1, 0], [0, 0, 1]),
        (8.1, True, [1, 1, 1], [0, 0, 0]),
        (1.9, False, [0, 0, 0], [0, 0, 0]),
        (2.0, False, [1, 0, 0], [0, 0, 0]),
        (7.9, False, [1, 1, 0], [0, 0, 0]),
        (8.0, False, [1, 1, 1], [0, 0, 0]),
        (99.0, False, [1, 1, 1], [0, 0, 0]),
    ],
)
def test_a_patient_counts_in_completed_intervals_and_where_the_event_fell(
    time: float, event: bool, survived: list[int], died: list[int]
) -> None:
    found = hazard_targets(torch.tensor([time]), torch.tensor([event]), CUTS)
    assert [found[0].tolist()[0], found[1].tolist()[0]] == [survived, died]


def test_hazard_loss_is_minus_the_log_likelihood_of_the_observed_course() -> None:
    hazard = np.array([0.1, 0.2, 0.4])
    logits = torch.tensor(np.log(hazard / (1 - hazard)), dtype=torch.float32).repeat(3, 1)
    losses = patient_losses(logits, batch([3.0, 5.0, 9.0], [True, False, True]), SURVIVAL)
    expected = [-math.log(0.9 * 0.2), -math.log(0.9 * 0.8), -math.log(0.9 * 0.8 * 0.6)]
    assert losses.tolist() == pytest.approx(expected)


def test_survival_without_events_is_refused() -> None:
    with pytest.raises(UsageError, match="events beside the times"):
        patient_losses(torch.zeros(1, 3), batch([1.0]), SURVIVAL)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: type(o).__name__)
def test_several_rows_of_a_patient_weigh_as_one_patient(outcome: Outcome) -> None:
    outputs, patients = random_patients(outcome, 20, seed=1)
    assert patients.mask is not None
    found = patient_losses(outputs, patients, outcome)
    for i in range(20):
        rows = outputs[i][patients.mask[i]]
        event = None if patients.event is None else [bool(patients.event[i])] * len(rows)
        alone = patient_losses(rows, batch([float(patients.value[i])] * len(rows), event), outcome)
        assert found[i].item() == pytest.approx(alone.mean().item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: type(o).__name__)
def test_an_extreme_prediction_gives_a_finite_loss_and_gradient(outcome: Outcome) -> None:
    for extreme in (1e4, -1e4):
        outputs = torch.full((2, output_width(outcome)), extreme, requires_grad=True)
        losses = patient_losses(outputs, batch([0.0, 1.0], [True, False]), outcome)
        gradient = torch.autograd.grad(losses.sum(), outputs)[0]
        assert torch.isfinite(losses).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: type(o).__name__)
@given(n=st.integers(2, 12), seed=st.integers(0, 10_000))
def test_one_patients_loss_does_not_change_when_others_join(outcome: Outcome, n: int, seed: int) -> None:
    outputs, patients = random_patients(outcome, n, seed)
    together = patient_losses(outputs, patients, outcome)
    index = torch.arange(n // 2)
    apart = patient_losses(outputs[: n // 2], patients.take(index), outcome)
    assert torch.allclose(together[: n // 2], apart, atol=1e-6)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: type(o).__name__)
def test_one_patients_loss_has_no_gradient_in_another_patients_outputs(outcome: Outcome) -> None:
    outputs, patients = random_patients(outcome, 5, seed=3)
    outputs.requires_grad_(True)
    gradient = torch.autograd.grad(patient_losses(outputs, patients, outcome)[2], outputs)[0]
    touched = gradient.abs().sum(dim=(1, 2)) > 0
    assert not touched[[0, 1, 3, 4]].any()


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda o: type(o).__name__)
def test_padding_gets_no_gradient(outcome: Outcome) -> None:
    outputs, patients = random_patients(outcome, 8, seed=4)
    outputs.requires_grad_(True)
    gradient = torch.autograd.grad(patient_losses(outputs, patients, outcome).sum(), outputs)[0]
    assert patients.mask is not None
    assert not gradient[~patients.mask].any()


def test_cox_loss_is_the_partial_likelihood_divided_by_the_patients() -> None:
    rng = np.random.default_rng(5)
    n = 40
    frame = DataFrame({"x": rng.normal(size=n), "t": rng.permutation(n) + 1.0, "e": rng.random(n) < 0.6})
    fitted = CoxPHFitter().fit(frame, "t", "e")
    risk = torch.tensor(frame["x"].to_numpy() * fitted.params_["x"])
    loss = cox_loss(risk, torch.tensor(frame["t"].to_numpy()), torch.tensor(frame["e"].to_numpy()))
    assert loss.item() * n == pytest.approx(-fitted.log_likelihood_, rel=1e-9)


def test_cox_loss_of_tied_times_takes_patients_in_the_order_given() -> None:
    risk, time = torch.tensor([0.0, math.log(3.0)]), torch.tensor([1.0, 1.0])
    both = cox_loss(risk, time, torch.tensor([True, True]))
    assert both.item() == pytest.approx((0 + math.log(4.0 / 3.0)) / 2)


def test_cox_loss_without_events_is_zero_with_zero_gradient() -> None:
    risk = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = cox_loss(risk, torch.tensor([1.0, 2.0]), torch.tensor([False, False]))
    assert loss.item() == 0.0
    assert not torch.autograd.grad(loss, risk)[0].any()


def test_cox_loss_of_extreme_scores_is_finite() -> None:
    risk = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    loss = cox_loss(risk, torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, True, True]))
    gradient = torch.autograd.grad(loss, risk)[0]
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()
