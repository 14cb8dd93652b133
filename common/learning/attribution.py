"""Which inputs move a released model's answer for one patient: integrated gradients, and what it would say otherwise.

Contributions are counted from the public reference: a patient at the study's reference means, where every input is 0.
Their sum is the difference between the model's output for the patient and for the reference (completeness), which is
checked for every patient; what is missing of it is reported. Missing values sit at the reference and contribute 0.

They describe the model and not the disease: correlated features share their effect as the model happened to split it.
Only the model and public constants are used; no other patient is looked at or shown. Beside a contribution stands the
range of answers over that feature alone (see `counterfactual`).

What is explained: the log-odds of the class (binary: of `positive`; several: of the class that is likeliest for this
patient), the risk score of survival, the number of a continuous outcome. A patient's samples are averaged.

Sources: Sundararajan, Taly and Yan (2017), "Axiomatic attribution for deep networks"; computed by Captum, Kokhlikyan
et al. (2020), by the midpoint rule, which kinks of ReLU hurt less than they hurt Gauss-Legendre.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from wardround.common.learning.counterfactual import FeatureRange, reaches
from wardround.common.learning.features import FeaturePath, Standardised
from wardround.common.learning.predictions import scoring_module
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

TOLERANCE: Final = 0.01
"""Share of a difference in output that contributions may miss, and the size below which a difference counts as this."""
SHOWN: Final = 5
"""Features that are shown for a patient."""

_FIRST_STEPS: Final = 32
_MOST_STEPS: Final = 8192
_AT_ONCE: Final = 1 << 14  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One feature of one patient.

    Attributes:
        feature: Its name.
        contribution: In the explained output's own unit.
        low, high: The range of the answer (a probability, a risk score, a number) over the plausible range of this
            feature alone.
    """

    feature: str
    contribution: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanations:
    """Why a model answers as it does for n patients. Private, as its patients are.

    Attributes:
        subject: Per patient what is explained, e.g. `log-odds of responder`.
        output, reference: Shape (n,), the explained output for the patient and for the public reference.
        modalities: Modality -> shape (n,), the sum of its features' contributions.
        features: Per patient the features that contribute most, the largest first.
        unexplained: Shape (n,), the difference in output minus all contributions.
    """

    subject: tuple[str, ...]
    output: Floats = field(repr=False)
    reference: Floats = field(repr=False)
    modalities: Mapping[str, Floats] = field(repr=False)
    features: tuple[tuple[Moved, ...], ...] = field(repr=False)
    unexplained: Floats = field(repr=False)

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Whose contributions add up within `TOLERANCE`."""
        return np.asarray(np.abs(self.unexplained) <= _allowed(self.output - self.reference))


def explain(model: ReleasedModel, rows: Standardised, patient: Places) -> Explanations:
    """Explain a model's answers.

    Args:
        model: A released model.
        rows: Its patients' rows, from `model.path.standardised`.
        patient: Shape (rows,): the patient of each row, numbered from 0 without gaps, in any order.
    """
    explained = _Explained(model)
    inputs = torch.tensor(model.path.inputs_of(rows))
    counts = np.bincount(patient).astype(np.float64)
    target = explained.targets(inputs, patient, counts)
    slopes, output, reference, left = _integrated(explained, inputs, torch.tensor(target[patient]))
    parts = _mean(shares(model.path, rows, slopes), patient, counts)
    features = _by_feature(model.path, parts)
    return Explanations(
        subject=tuple(explained.subject(int(place)) for place in target),
        output=_mean(output, patient, counts),
        reference=_mean(reference, patient, counts),
        modalities=_by_modality(model.path, parts),
        features=_moved(explained, rows, patient, counts, features, target),
        unexplained=_mean(left, patient, counts),
    )


class _Explained:
    """A model's output as one number per row, and its answer in the outcome's own terms."""

    def __init__(self, model: ReleasedModel) -> None:
        self.path = model.path
        self.outcome: Outcome = model.protocol.outcome
        self._module = scoring_module(model.protocol, model.parameters, model.path.width)

    def __call__(self, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._module(inputs)
        match self.outcome:
            case ClassOutcome():
                own = out.gather(1, target[:, None])
                others = out.scatter(1, target[:, None], -torch.inf)
                return own[:, 0] - torch.logsumexp(others, dim=1)
            case ContinuousOutcome():
                return out[:, 0] * self.outcome.sd + self.outcome.mean
            case _:
                return out[:, 0]

    def answer(self, inputs: NDArray[np.float32], target: int) -> Floats:
        """Probability, risk score or number of each row."""
        with torch.inference_mode():
            out = self(torch.tensor(inputs), torch.full((len(inputs),), target, dtype=torch.int64))
            if isinstance(self.outcome, BinaryOutcome | ClassOutcome):
                out = torch.sigmoid(out)
        return out.numpy().astype(np.float64)

    def targets(self, inputs: torch.Tensor, patient: Places, counts: Floats) -> Places:
        """The likeliest class of each patient; 0 where there is one question."""
        if not isinstance(self.outcome, ClassOutcome):
            return np.zeros(len(counts), np.int64)
        with torch.inference_mode():
            chances = torch.softmax(self._module(inputs), dim=1).numpy().astype(np.float64)
        return np.asarray(_mean(chances, patient, counts).argmax(axis=1), np.int64)

    def subject(self, target: int) -> str:
        """What is explained."""
        match self.outcome:
            case BinaryOutcome(positive=positive):
                return f"log-odds of {positive[0]}"
            case ClassOutcome(classes=classes):
                return f"log-odds of {classes[target]}"
            case ContinuousOutcome(column=column, unit=unit):
                return f"{column} in {unit}"
            case SurvivalOutcome():
                return "risk score"


def _allowed(difference: Floats) -> Floats:
    return np.asarray(TOLERANCE * np.maximum(np.abs(difference), TOLERANCE))


def _integrated(
    explained: _Explained, inputs: torch.Tensor, target: torch.Tensor
) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean slopes from the reference to each row, both outputs, and what the slopes leave unexplained."""
    with torch.inference_mode():
        output = explained(inputs, target).numpy().astype(np.float64)
        reference = explained(torch.zeros_like(inputs), target).numpy().astype(np.float64)
    slopes = np.zeros(inputs.shape)
    left, steps = np.full(len(inputs), np.inf), _FIRST_STEPS
    while len(todo := np.flatnonzero(np.abs(left) > _allowed(output - reference))) and steps <= _MOST_STEPS:
        slopes[todo] = _slopes(explained, inputs[todo], target[todo], steps)
        left[todo] = (output - reference - (slopes * inputs.numpy()).sum(axis=1))[todo]
        steps *= 4
    return slopes, output, reference, left


def _slopes(explained: _Explained, inputs: torch.Tensor, target: torch.Tensor, steps: int) -> Floats:
    from captum.attr import IntegratedGradients

    gradients = IntegratedGradients(explained, multiply_by_inputs=False)
    found: torch.Tensor = gradients.attribute(
        inputs,
        additional_forward_args=target,
        n_steps=steps,
        method="riemann_middle",
        internal_batch_size=max(_AT_ONCE, len(inputs)),
    )
    return found.detach().numpy().astype(np.float64)


def shares(path: FeaturePath, rows: Standardised, slopes: Floats) -> Floats:
    """What columns, then optional modalities, contribute to inputs that count by `slopes`.

    Components are handed back to their features; unit length divides all of a row alike.

    Args:
        path: The study's feature path.
        rows: Before loadings and scaling.
        slopes: Shape (rows, width), one weight per input.

    Returns:
        Shape (rows, columns + modalities); a row sums to slopes times inputs.
    """
    names = [column.name for column in path.columns]
    loaded = [] if path.loadings is None else [names.index(name) for name in path.loadings.features]
    kept = np.setdiff1d(np.arange(len(names)), loaded)
    last = path.width - len(path.optional_modalities)
    own = np.zeros((len(slopes), len(names)))
    own[:, kept] = slopes[:, : len(kept)]
    if path.loadings is not None:
        own[:, loaded] = slopes[:, len(kept) : last] @ path.loadings.matrix.T
    parts = np.concatenate([own * rows.values, slopes[:, last:] * rows.present], axis=1)
    return np.asarray(parts / _lengths(path, rows))


def _lengths(path: FeaturePath, rows: Standardised) -> Floats:
    """By what each row was divided: shape (rows, 1)."""
    if path.inputs.norm == "none":
        return np.ones((len(rows.values), 1))
    free = replace(path, inputs=replace(path.inputs, norm="none")).inputs_of(rows)
    lengths = np.linalg.norm(free.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(np.where(lengths == 0.0, 1.0, lengths))


def _mean(values: Floats, patient: Places, counts: Floats) -> Floats:
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, patient, values)
    return np.asarray((sums.T / counts).T)


def _by_feature(path: FeaturePath, shares: Floats) -> Floats:
    """Contributions of features, each the sum over its columns: shape (n, features)."""
    place = {feature.name: number for number, feature in enumerate(path.features)}
    own = np.zeros((len(shares), len(path.features)))
    for number, column in enumerate(path.columns):
        own[:, place[column.feature]] += shares[:, number]
    return own


def _by_modality(path: FeaturePath, shares: Floats) -> dict[str, Floats]:
    names = [column.modality for column in path.columns] + list(path.optional_modalities)
    return {
        name: shares[:, [place for place, own in enumerate(names) if own == name]].sum(axis=1)
        for name in dict.fromkeys(names)
    }


def _moved(
    explained: _Explained,
    rows: Standardised,
    patient: Places,
    counts: Floats,
    features: Floats,
    target: Places,
) -> tuple[tuple[Moved, ...], ...]:
    order = np.argsort(-np.abs(features), axis=1, kind="stable")[:, :SHOWN]
    ranges = {place: FeatureRange(explained.path, int(place)) for place in np.unique(order)}
    own = np.argsort(patient, kind="stable")
    ends = np.cumsum(counts).astype(np.int64)
    found = []
    for number, (end, top) in enumerate(zip(ends, order, strict=True)):
        mine = own[end - int(counts[number]) : end]
        some = Standardised(rows.values[mine], rows.present[mine])
        answer = partial(explained.answer, target=int(target[number]))
        reach = reaches(explained.path, answer, some, [ranges[place] for place in top])
        found.append(
            tuple(
                Moved(
                    feature=explained.path.features[place].name,
                    contribution=float(features[number, place]),
                    low=low,
                    high=high,
                )
                for place, (low, high) in zip(top, reach, strict=True)
                if features[number, place] != 0.0
            )
        )
    return tuple(found)
