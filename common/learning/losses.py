"""Losses of patients.

`patient_losses` gives one number per patient that depends on that patient only, so that clipping a patient's
gradient bounds the patient's influence. `cox_loss` couples patients and is allowed without privacy only.

Censoring convention of the discrete-time hazard: a patient counts as exposed in every interval they completed
event-free (its end <= time); an event additionally counts in the interval that contains it, (previous cut,
cut]. Follow-up beyond the last cut point, event or not, is censored there.

Sources: Gensheimer and Narasimhan (2019), "A scalable discrete-time survival model for neural networks";
Cox (1972); Ogier du Terrail et al. (2022), "FLamby", for the mini-batch form of the partial likelihood.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wardround.common.errors import UsageError
from wardround.common.learning.batches import TensorBatch
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)


def patient_losses(outputs: Tensor, batch: TensorBatch, outcome: Outcome) -> Tensor:
    """The loss of each patient, the mean over the patient's rows.

    Binary and class: cross-entropy. Continuous: half the squared error in public standard deviations.
    Survival: negative log-likelihood of the discrete-time hazard.

    Guarantees:
        Entry i depends on the outputs and targets of patient i only. Finite for any finite logits.

    Args:
        outputs: Shape (n, width) or (n, K, width) as the model gives them for `batch.inputs`.
        batch: The patients.
        outcome: The study's outcome.

    Returns:
        Shape (n,), >= 0.
    """
    match outcome:
        case BinaryOutcome():
            target = batch.per_row(batch.value)
            losses = F.binary_cross_entropy_with_logits(outputs.squeeze(-1), target, reduction="none")
        case ClassOutcome():
            target = batch.per_row(batch.value.long())
            flat = F.cross_entropy(outputs.flatten(0, -2), target.reshape(-1), reduction="none")
            losses = flat.view(target.shape)
        case ContinuousOutcome():
            losses = 0.5 * (outputs.squeeze(-1) - batch.per_row(batch.value)) ** 2
        case SurvivalOutcome():
            losses = _hazard_losses(outputs, batch, outcome)
    return batch.per_patient(losses)


def loss_gradients(outputs: Tensor, batch: TensorBatch, outcome: Outcome) -> Tensor:
    """Gradient of each patient's loss in `patient_losses` with respect to the patient's outputs, in closed form.

    Guarantees:
        Row i depends on the outputs and targets of patient i only.

    Args:
        outputs: Shape (n, width).
        batch: Patients of one row each.
        outcome: The study's outcome.

    Returns:
        Shape (n, width).
    """
    target = batch.value.unsqueeze(1)
    match outcome:
        case BinaryOutcome():
            return outputs.sigmoid() - target
        case ClassOutcome():
            return outputs.softmax(dim=1).scatter_add_(1, target.long(), torch.full_like(target, -1.0))
        case ContinuousOutcome():
            return outputs - target
        case SurvivalOutcome():
            survived, died = _observed(batch, outcome)
            return survived * outputs.sigmoid() - died * (-outputs).sigmoid()


def mean_loss(outputs: Tensor, batch: TensorBatch, outcome: Outcome) -> Tensor:
    """The mean of `patient_losses`, by weight: what a step without privacy follows. Its gradients have the same bits.

    Args:
        outputs: As for `patient_losses`.
        batch: The patients, at least one.
        outcome: The study's outcome.

    Returns:
        A scalar >= 0.
    """
    if batch.weight is not None:
        weight = batch.weight.to(outputs.dtype)
        return (patient_losses(outputs, batch, outcome) * weight).sum() / weight.sum()
    if isinstance(outcome, ClassOutcome) and batch.mask is None:
        return F.cross_entropy(outputs, batch.value.long())  # one pass over a small batch instead of four
    return patient_losses(outputs, batch, outcome).mean()


def _hazard_losses(outputs: Tensor, batch: TensorBatch, outcome: SurvivalOutcome) -> Tensor:
    survived, died = _observed(batch, outcome)
    if batch.mask is not None:
        survived, died = survived.unsqueeze(1), died.unsqueeze(1)
    return (survived * F.softplus(outputs) + died * F.softplus(-outputs)).sum(dim=-1)


def _observed(batch: TensorBatch, outcome: SurvivalOutcome) -> tuple[Tensor, Tensor]:
    if batch.event is None:
        raise UsageError("expected events beside the times of a survival outcome, found none")
    return hazard_targets(batch.value, batch.event, outcome.cut_points)


def hazard_targets(time: Tensor, event: Tensor, cut_points: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Which intervals each patient survived, and in which one the event fell.

    Args:
        time: Shape (n,), > 0, in the unit of the cut points.
        event: Shape (n,), bool, True where observed.
        cut_points: The J ends of the intervals, increasing.

    Returns:
        Two tensors of zeros and ones with shape (n, J).

    Example:
        >>> time, event = torch.tensor([3.0, 3.0, 9.0]), torch.tensor([True, False, True])
        >>> survived, died = hazard_targets(time, event, (2.0, 4.0, 6.0))
        >>> survived.tolist()
        [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
        >>> died.tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    cuts = torch.tensor(cut_points, dtype=time.dtype)
    starts = torch.cat([cuts.new_zeros(1), cuts[:-1]])
    at = time.unsqueeze(1)
    died = event.unsqueeze(1) & (starts < at) & (at <= cuts)
    survived = (cuts <= at) & ~died
    return survived.to(time.dtype), died.to(time.dtype)


def cox_loss(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Negative log partial likelihood of a mini-batch, divided by its patients (not by its events).

    Patients with equal times keep their given order; each risk set is what stands before in descending time.
    Couples patients: never under a privacy mechanism.

    Args:
        risk: Shape (n,); higher = worse prognosis.
        time: Shape (n,).
        event: Shape (n,), bool.

    Returns:
        A scalar >= 0; zero, with zero gradient, where no event was observed.

    Example:
        >>> risk, time = torch.zeros(2), torch.tensor([1.0, 2.0])
        >>> round(cox_loss(risk, time, torch.tensor([True, False])).item(), 4)  # log(2) / 2
        0.3466
    """
    order = torch.argsort(time, descending=True, stable=True)
    risk, event = risk[order], event[order]
    terms = torch.where(event, torch.logcumsumexp(risk, dim=0) - risk, 0.0)
    return terms.mean()
