"""Sufficient statistics of a cohort: one bounded vector per patient, summed once.

With z the scaled inputs of a row, z~ = (z, c) for a public constant c, and y the coded outcome, a patient's vector
holds z~ z~^T and z~ y^T, averaged over the patient's rows; for survival also the patient's exit. Of the symmetric
part only the upper triangle is kept, off-diagonal entries times sqrt(2): its length is then the Frobenius norm,
and an off-diagonal entry gets half the noise variance of a diagonal one. The vector is scaled such that a row of
the expected length gives norm C, and clipped to C. A clipped patient keeps the shape of its statistics and only
counts with a smaller weight, as in weighted least squares.

All that a linear model needs at any penalty follows from the sum, see `oneshot`. Nothing is ever divided by a
number of patients: the sum itself holds it.

Sources: Dwork et al. (2014), "Analyze Gauss"; Foulds et al. (2016) and Wang (2018), "Revisiting differentially
private linear regression", for sufficient statistics with noise.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import positive
from wardround.common.errors import StudyError, UsageError
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
    Targets,
)
from wardround.common.study.protocol import StudyProtocol

if TYPE_CHECKING:
    from wardround.common.learning.data import PatientRows

Numbers = NDArray[np.float64]

INTERCEPT: Final = 0.5
"""c, relative to the expected length of a row. A larger one counts patients better and leaves less for the rest."""

CROSS: Final = 1.0
"""Weight of z~ y^T against z~ z~^T."""

CROSS_OF_CLASSES: Final = 1.5
"""The same for binary and class outcomes; these weights were chosen on synthetic data."""

EXIT: Final = 0.5
"""Weight of a patient's exit (survival) against z~ z~^T."""

WIDEST_TARGET: Final = 2.0
"""Standard deviations of a continuous outcome up to which a patient is surely not clipped, unless its public range is
narrower. Beyond, a patient counts slightly less; noise is smaller for all."""

LARGEST_SIZE: Final = 1 << 21
"""Longest vector, 16 MiB: about 2,000 inputs. Few inputs are better: the noise grows with every one."""


class Statistics(NamedTuple):
    """The parts of a patient's vector, or of a sum of vectors.

    Attributes:
        gram: Shape (p + 1, p + 1), symmetric: z~ z~^T, the constant last.
        cross: Shape (p + 1, m): z~ y^T.
        exits: Shape (2 J,): patients by interval of exit, first with the event, then without. Empty unless survival.
    """

    gram: Numbers
    cross: Numbers
    exits: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the parts stand in a vector, and their public scales.

    Attributes:
        inputs: p, the width of the feature path.
        targets: m, the columns of y.
        exits: 2 J for a survival outcome with J intervals, else 0.
        cross: Weight of z~ y^T.
        length: Expected L2 norm of a row of inputs; z = inputs / length.
        unit: What a vector's values are multiplied with, so that an expected patient has norm C.
    """

    inputs: int
    targets: int
    exits: int
    cross: float
    length: float
    unit: float

    @classmethod
    def of(cls, protocol: StudyProtocol, n_inputs: int) -> "Layout":
        """The layout of a study whose feature path has `n_inputs` outputs.

        Raises:
            StudyError: The model is not linear, its loss is `cox`, or the vector would exceed `LARGEST_SIZE`.
        """
        positive(n_inputs=n_inputs)
        _check_model(protocol)
        outcome = protocol.outcome
        exits = 2 * len(outcome.cut_points) if isinstance(outcome, SurvivalOutcome) else 0
        cross = CROSS_OF_CLASSES if isinstance(outcome, BinaryOutcome | ClassOutcome) else CROSS
        row = 1 + INTERCEPT**2
        largest = math.sqrt(row**2 + cross**2 * row + (EXIT**2 if exits else 0.0))
        layout = cls(
            inputs=n_inputs,
            targets=_target_width(outcome),
            exits=exits,
            cross=cross,
            length=1.0 if protocol.inputs.norm == "unit" else math.sqrt(n_inputs),
            unit=protocol.privacy.clipping_norm / largest,
        )
        _check_size(layout)
        return layout

    @property
    def size(self) -> int:
        """Length of the vector."""
        wide = self.inputs + 1
        return wide * (wide + 1) // 2 + wide * self.targets + self.exits

    def norm(self, parts: Statistics) -> float:
        """L2 norm of `joined`, before its unit."""
        gram, cross, exits = (float(np.vdot(part, part)) for part in parts)
        return math.sqrt(gram + self.cross**2 * cross + EXIT**2 * exits)

    def joined(self, parts: Statistics) -> Numbers:
        """One vector, scaled; its L2 norm is that of the scaled parts. Shape (size,)."""
        upper = np.triu_indices(self.inputs + 1)
        weights = np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
        gram = parts.gram[upper] * weights
        return self.unit * np.concatenate([gram, self.cross * parts.cross.ravel(), EXIT * parts.exits])

    def split(self, vector: Numbers) -> Statistics:
        """The inverse of `joined`: the parts without scales."""
        wide = self.inputs + 1
        upper = np.triu_indices(wide)
        values, after = vector / self.unit, len(upper[0])
        gram = np.zeros((wide, wide))
        gram[upper] = values[:after] / np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
        gram += np.triu(gram, 1).T
        end = after + wide * self.targets
        cross = values[after:end].reshape(wide, self.targets) / self.cross
        return Statistics(gram, cross, values[end:] / EXIT)


def size(protocol: StudyProtocol, n_inputs: int) -> int:
    """Length of the vector: how many coordinates get noise. Public.

    Args:
        protocol: The study.
        n_inputs: Width of the feature path.

    Raises:
        StudyError: As `Layout.of`.
    """
    return Layout.of(protocol, n_inputs).size


def statistics_sum(protocol: StudyProtocol, rows: "PatientRows") -> Numbers:
    """Sum over patients of one vector each. Private: what may leave is this sum with noise.

    Guarantees:
        Each patient adds a vector of L2 norm at most C = `privacy.clipping_norm` (up to float64 rounding, 2^-40)
        whatever the inputs and outcomes, and what the others add does not depend on it. A patient whose vector
        overflows float64 adds exactly nothing. No patients give zeros. Scales are public terms.

    Args:
        protocol: The study.
        rows: Patients, with one or more rows each.

    Returns:
        Shape (size,), float64.

    Raises:
        StudyError: As `Layout.of`.
    """
    layout = Layout.of(protocol, rows.inputs.shape[1])
    limit = protocol.privacy.clipping_norm / layout.unit
    ends = np.searchsorted(rows.patient, np.arange(rows.n_patients + 1))
    total = layout.split(np.zeros(layout.size))
    with np.errstate(over="ignore", invalid="ignore"):  # such a patient is left out
        coded = _coded(protocol.outcome, rows.targets)
        for patient in range(rows.n_patients):
            own = rows.inputs[ends[patient] : ends[patient + 1]]
            parts = _of_patient(layout, own, coded.only(patient))
            length = layout.norm(parts)
            if math.isfinite(length):
                _add(total, parts, limit / max(limit, length))
    return layout.joined(total)


@dataclass(frozen=True, slots=True)
class _Coded:
    """Outcomes of n patients as numbers of bounded size.

    Attributes:
        y: Shape (n, m); of length at most 1 for the expected patient.
        share: Shape (n,), in [0, 1]: of all intervals those in which the patient was at risk; 1 unless survival.
        exits: Shape (n, 2 J), at most a single 1 per patient.
    """

    y: Numbers = field(repr=False)
    share: Numbers = field(repr=False)
    exits: Numbers = field(repr=False)

    def only(self, patient: int) -> "_Coded":
        """One patient's; without the first axis."""
        return _Coded(self.y[patient], self.share[patient], self.exits[patient])


def _of_patient(layout: Layout, inputs: NDArray[np.float32], coded: _Coded) -> Statistics:
    z = np.full((len(inputs), layout.inputs + 1), INTERCEPT)
    z[:, :-1] = inputs.astype(np.float64) / layout.length
    gram = z.T @ z * (coded.share / len(z))
    return Statistics(gram, np.outer(z.mean(axis=0), coded.y), coded.exits)


def _add(total: Statistics, parts: Statistics, weight: float) -> None:
    for own, part in zip(total, parts, strict=True):
        own += weight * part


def _target_width(outcome: Outcome) -> int:
    match outcome:
        case BinaryOutcome():
            return 2
        case ClassOutcome():
            return len(outcome.classes)
        case ContinuousOutcome() | SurvivalOutcome():
            return 1


def target_unit(outcome: Outcome) -> float:
    """How much of the outcome one unit of y is: for classes and survival see `_coded`."""
    match outcome:
        case BinaryOutcome() | ClassOutcome():
            return math.sqrt(1 - 1 / _target_width(outcome))
        case ContinuousOutcome():
            ends = (outcome.low - outcome.mean) / outcome.sd, (outcome.high - outcome.mean) / outcome.sd
            return min(WIDEST_TARGET, max(map(abs, ends)))
        case SurvivalOutcome():
            return 1.0


def _coded(outcome: Outcome, targets: Targets) -> _Coded:
    """Classes: 1 for the own class minus 1 / m everywhere, which is shorter. Survival: whether the event was seen."""
    n, unit = len(targets), target_unit(outcome)
    if isinstance(outcome, SurvivalOutcome):
        return _coded_survival(outcome, targets)
    if isinstance(outcome, ContinuousOutcome):
        y = targets.value[:, None] / unit
    else:
        m = _target_width(outcome)
        y = ((targets.value[:, None] == np.arange(m)) - 1 / m) / unit
    return _Coded(y, np.ones(n), np.zeros((n, 0)))


def _coded_survival(outcome: SurvivalOutcome, targets: Targets) -> _Coded:
    if targets.event is None:
        raise UsageError("expected events beside the times of a survival outcome, found none")
    import torch  # here: layouts and sums are read without it

    from wardround.common.learning.losses import hazard_targets

    time, event = torch.from_numpy(targets.value.astype(np.float32)), torch.tensor(targets.event)
    survived, died = (part.double().numpy() for part in hazard_targets(time, event, outcome.cut_points))
    last = survived - np.hstack([survived[:, 1:], np.zeros((len(survived), 1))])
    seen = died.sum(axis=1, keepdims=True)
    share = (survived + died).mean(axis=1)
    return _Coded(seen, share, np.hstack([died, last * (1 - seen)]))


def _check_model(protocol: StudyProtocol) -> None:
    model = protocol.model
    if model.kind != "linear" or model.loss != "default":
        raise StudyError(
            f"expected a linear model with the default loss for one-shot statistics, found {model.kind!r} "
            f"with loss {model.loss!r}",
            advice="train this model in rounds; no finite sum over patients determines it",
        )


def _check_size(layout: Layout) -> None:
    if layout.size > LARGEST_SIZE:
        raise StudyError(
            f"expected at most {LARGEST_SIZE} one-shot statistics, found {layout.size} for {layout.inputs} inputs",
            advice="compress the inputs by public loadings, or train in rounds",
        )
