"""What a model says about patients, in the outcome's own terms. A patient's rows are averaged."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from wardround.common.errors import StudyError
from wardround.common.learning.censoring import survival_curves
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import build, load_into
from wardround.common.learning.parameters import Parameters
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)
from wardround.common.study.protocol import StudyProtocol


def predict(protocol: StudyProtocol, parameters: Parameters, rows: PatientRows) -> NDArray[np.float64]:
    """Predictions of a model for n patients.

    Returns:
        Binary: shape (n,), the probability of `positive`. Class: (n, classes), probabilities in the order of
        `classes`. Continuous: (n,), in the outcome's unit. Survival: (n,), a risk score, higher = worse.

    Raises:
        UsageError: The parameters do not belong to this protocol and width.
        StudyError: The model gives something that is not a number.
    """
    made = unchecked(protocol, parameters, rows)
    if not np.isfinite(made).all():
        raise StudyError(
            "the model gives predictions that are not finite",
            advice="training diverged: lower the learning rate, or scale the features publicly",
        )
    return made


def unchecked(protocol: StudyProtocol, parameters: Parameters, rows: PatientRows) -> NDArray[np.float64]:
    """As `predict`, and whatever a model gives, finite or not: to refuse would tell something of the patients."""
    module = scoring_module(protocol, parameters, rows.inputs.shape[1])
    with np.errstate(all="ignore"):
        return _per_patient(_interpreted(_outputs(module, rows.inputs), protocol.outcome), rows)


def scores(
    protocol: StudyProtocol, parameters: Parameters, inputs: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What a model gives before it becomes a probability, in float64: differences of it are what inputs bring.

    Args:
        protocol: The study.
        parameters: The model.
        inputs: Shape (rows, width of the feature path).

    Returns:
        Shape (rows, outputs). Binary: the log odds of `positive`. Class: log odds, centred over the classes.
        Continuous: in public standard deviations. Survival: the risk score, higher = worse.
    """
    return scorer(protocol, parameters, inputs.shape[1])(inputs)


def scorer(
    protocol: StudyProtocol, parameters: Parameters, n_inputs: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """`scores` of one model for many inputs: it is built once."""
    module = scoring_module(protocol, parameters, n_inputs)

    def scored(inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        found = _outputs(module, inputs)
        if isinstance(protocol.outcome, ClassOutcome):
            found -= found.mean(axis=1, keepdims=True)
        return found

    return scored


def survival_of(
    protocol: StudyProtocol, parameters: Parameters, risk: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The chance of no event up to each cut point, from the risk scores that `predict` gives.

    Returns:
        Shape (n, J); None where the outcome is not survival, and for the Cox loss, which has no baseline.
    """
    if not isinstance(protocol.outcome, SurvivalOutcome) or "hazard.bias" not in parameters:
        return None
    return survival_curves(risk, parameters["hazard.bias"].astype(np.float64))


def scoring_module(protocol: StudyProtocol, parameters: Parameters, n_inputs: int) -> nn.Sequential:
    """The part of a model that is evaluated: for survival the risk score, without the baseline hazards.

    Raises:
        UsageError: The parameters do not belong to this protocol and width.
    """
    module = build(protocol, n_inputs)
    load_into(module, parameters)
    return nn.Sequential(*(layer for name, layer in module.named_children() if name != "hazard"))


def _outputs(module: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.inference_mode():
        outputs: NDArray[np.float32] = module(torch.tensor(inputs)).numpy()
    return outputs.astype(np.float64)


def _interpreted(outputs: NDArray[np.float64], outcome: Outcome) -> NDArray[np.float64]:
    match outcome:
        case BinaryOutcome():
            return _softmax(np.concatenate([np.zeros_like(outputs), outputs], axis=1))[:, 1]
        case ClassOutcome():
            return _softmax(outputs)
        case ContinuousOutcome():
            return outputs[:, 0] * outcome.sd + outcome.mean
        case SurvivalOutcome():
            return outputs[:, 0]


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return result


def _per_patient(per_row: NDArray[np.float64], rows: PatientRows) -> NDArray[np.float64]:
    sums = np.zeros((rows.n_patients, *per_row.shape[1:]))
    np.add.at(sums, rows.patient, per_row)
    counts = np.bincount(rows.patient, minlength=rows.n_patients).astype(np.float64)
    means: NDArray[np.float64] = (sums.T / counts).T
    return means
