"""Models and patients for the tests of clipping, and gradients taken one patient at a time in float64."""

import copy
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

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
