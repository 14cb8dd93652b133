"""Synthetic patients whose contributions to a clipped sum are known in advance, and the studies that ask for them.

Each patient is alone in one column, so that a released sum says who was in it and how much came from each. Loud ones
have gradients far above the clipping norm, middle ones little above it and with a large part in the intercept, quiet
ones stay below it; some have several rows, of which one alone is loud. Silent columns are zero for everybody: the
gradient of their weights is exactly zero, and what is released there is noise alone. Of the zeros some are missing,
which a public mean fills. Two hospitals differ by one patient; a third one has two patients. Public constants differ
from every number that a wrong program could confuse them with.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, Outcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, ModelTerms, StudyTerms

WITHOUT: Final = "without"
WITH: Final = "with"
"""Two hospitals: `with` has one patient more."""

FEW: Final = "few"
"""A hospital with the first two patients alone."""

LOUD: Final = 60
MIDDLE: Final = 20
SEVERAL: Final = 19
QUIET: Final = 20
PATIENTS: Final = LOUD + MIDDLE + SEVERAL + QUIET
"""Patients of the hospital `without`, by kind: loud, middle, loud in one of several rows, quiet."""

SILENT: Final = 120
OVERFLOWING: Final = PATIENTS + 1
FIRST_SILENT: Final = PATIENTS + 2
WIDTH: Final = FIRST_SILENT + SILENT
"""Columns: one per patient of the larger hospital, one that only its last patient has, and the silent ones."""

CLIP: Final = 0.75
NOISE: Final = 1.25
CALM: Final = 2.0**-7
"""Noise multipliers: like a real study's, and one at which single patients are seen."""

RATE: Final = 0.25
REFERENCE: Final = 64
HONEST: Final = 2
_FEWEST: Final = 2
_LOUDNESS: Final = 64.0
_MIDDLE: Final = 2.0
_QUIETNESS: Final = 0.5
_OVERFLOWS: Final = 1e36
_SEVERAL_ROWS: Final = (64.0, 2.0, 0.0, -2.0)
_MEAN: Final = 3.0
_SD: Final = 2.0
_MISSING: Final = 7  # of the zeros every seventh
_SOURCE: Final = "invented for a conformance run"

RESPONSE: Final = BinaryOutcome(column="response", positive=("yes",), negative=("no",), source=_SOURCE)
SUBTYPE: Final = ClassOutcome(column="subtype", classes=("a", "b", "c"), source=_SOURCE)
GRADE: Final = ClassOutcome(
    column="subtype", classes=(*SUBTYPE.classes, *(f"grade {number}" for number in range(29))), source=_SOURCE
)
"""Many classes: many values in the last layer."""

Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a study of a conformance run asks for.

    Attributes:
        name: Of the study.
        mechanism: Of its privacy.
        noise: Noise multiplier.
        rate: Sample rate q.
        steps: Local steps.
        rounds: Rounds.
        attempts: Attempts per round.
        hidden: Width of the one hidden layer, or none.
        l2: Weight decay.
        first_round: What round 1 sums.
        outcome: What is predicted.
        clamp: Largest input.
        slowness: The step size is q times the reference number of patients, divided by this: 1 releases the noisy
            sum as it is, a large one leaves weights so near the base that several steps see the same gradients.
    """

    name: str
    mechanism: Literal["site-noise", "joint-noise"] = "site-noise"
    noise: float = NOISE
    rate: float = 1.0
    steps: int = 1
    rounds: int = 1
    attempts: int = 1
    hidden: tuple[int, ...] = ()
    l2: float = 0.0
    first_round: Literal["gradients", "statistics"] = "gradients"
    outcome: Outcome = RESPONSE
    clamp: float = _LOUDNESS
    slowness: float = 1.0

    @property
    def deviation(self) -> float:
        """Noise per coordinate of one step, in units of the gradient."""
        return self.noise * CLIP

    @property
    def step(self) -> float:
        """Of the public grid under site-noise: at most 2^-12 deviations."""
        return float(2.0 ** math.floor(math.log2(self.deviation * 2.0**-12)))

    @property
    def learning_rate(self) -> float:
        """Of the local steps."""
        return self.rate * REFERENCE / self.slowness

    def event(self) -> DpEvent:
        """What a release must be charged as, from what is asked and not from the protocol."""
        if self.mechanism == "joint-noise":
            return JointGaussianSteps(
                noise_multiplier=self.noise, honest=HONEST, coordinates=LARGEST_SUM, steps=1
            )
        return GaussianSteps(noise_multiplier=self.noise, sample_rate=self.rate, steps=self.steps)

    @property
    def releases(self) -> int:
        """How many the whole study reserves."""
        return self.rounds * self.attempts

    @cache  # noqa: B019  (a run has a dozen of them)
    def protocol(self) -> StudyProtocol:
        """The study's public terms."""
        joint = self.mechanism == "joint-noise"
        return StudyProtocol(
            study=StudyTerms(name=self.name, question="Does this installation conform?", purpose="audit"),
            outcome=self.outcome,
            features=_features(),
            cohort=CohortTerms(
                patient_column="patient", minimum_patients=1, minimum_per_class=0, test_fraction=0.0
            ),
            privacy=PrivacyTerms(
                mechanism=self.mechanism,
                clipping_norm=CLIP,
                noise_multiplier=self.noise,
                sample_rate=self.rate,
                reference_patients=REFERENCE,
                honest_sites=HONEST if joint else 0,
                most_patients=1024 if joint else 32768,
                source=_SOURCE,
            ),
            inputs=InputTerms(clamp=self.clamp, source=_SOURCE),
            model=ModelTerms(kind="mlp" if self.hidden else "linear", hidden=self.hidden, l2=self.l2),
            federation=FederationTerms(
                rounds=self.rounds,
                attempts=self.attempts,
                local_steps=self.steps,
                learning_rate=self.learning_rate,
                first_round=self.first_round,
            ),
        )

    def summed(self, update: NDArray[np.float32]) -> NDArray[np.float64]:
        """The noisy sum of gradients behind an update under site-noise, all steps together."""
        return -update.astype(np.float64) * self.slowness


def tables() -> Tables:
    """The hospitals, text cells."""
    rows = [row for patient in range(PATIENTS + 1) for row in _rows_of(patient)]
    everybody = pd.DataFrame(rows, columns=["patient", *_names(), "response", "subtype"], dtype=object)
    first = [_identifier(patient) for patient in range(_FEWEST)]
    return {
        WITHOUT: everybody[everybody["patient"] != _identifier(PATIENTS)],
        WITH: everybody,
        FEW: everybody[everybody["patient"].isin(first)],
    }


def inputs(patient: int) -> NDArray[np.float64]:
    """A patient's inputs of a model, standardised and clamped: shape (rows, WIDTH)."""
    found = np.zeros((len(_values(patient)), WIDTH))
    found[:, patient] = _values(patient)
    if patient == PATIENTS:
        found[:, OVERFLOWING] = _LOUDNESS
    return found


def subtype(patient: int) -> int:
    """The number of a patient's class."""
    return patient % len(SUBTYPE.classes)


def contributions() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each patient of the smaller hospital adds to the clipped sum of a linear model at zero.

    With output 1/2 the gradient of patient i is (1/2 - y)(x_i in its own column, 1 for the intercept), clipped; x_i
    is the mean over the patient's rows.

    Returns:
        Own column and intercept, (PATIENTS,) each.
    """
    loudness = np.array([np.mean(_values(patient)) for patient in range(PATIENTS)])
    residual = np.array([0.5 - _responds(patient) for patient in range(PATIENTS)])
    norms = np.abs(residual) * np.sqrt(loudness**2 + 1)
    intercept = residual * np.minimum(1, CLIP / norms)
    return intercept * loudness, intercept


def _responds(patient: int) -> int:
    return int(patient % 3 == 0)


def _values(patient: int) -> tuple[float, ...]:
    """Of the patient's own column, row by row."""
    if patient == PATIENTS:
        return _SEVERAL_ROWS
    kinds = (
        [(_LOUDNESS,)] * LOUD + [(_MIDDLE,)] * MIDDLE + [_SEVERAL_ROWS] * SEVERAL + [(_QUIETNESS,)] * QUIET
    )
    return kinds[patient]


def _identifier(patient: int) -> str:
    return f"canary-{patient:04d}"


def _rows_of(patient: int) -> list[list[str]]:
    """A patient's rows; the last patient has a column more, with a value that overflows where weights let it."""
    rows = []
    for value in _values(patient):
        cells = [_cell(0.0) if (patient + column) % _MISSING else "" for column in range(WIDTH)]
        cells[patient] = _cell(value)
        if patient == PATIENTS:
            cells[OVERFLOWING] = _cell(_OVERFLOWS)
        outcomes = ("no", "yes")[_responds(patient)], SUBTYPE.classes[subtype(patient)]
        rows.append([_identifier(patient), *cells, *outcomes])
    return rows


def _cell(value: float) -> str:
    """As a hospital exports it, before the public mean and deviation are taken off."""
    return repr(_MEAN + _SD * value)


def _names() -> list[str]:
    own = [f"canary{number:04d}" for number in range(PATIENTS + 1)]
    return [*own, "overflowing", *(f"silent{number:04d}" for number in range(SILENT))]


def _features() -> tuple[Feature, ...]:
    return tuple(
        Feature(name=name, kind="continuous", low=-1e37, high=1e37, mean=_MEAN, sd=_SD, source=_SOURCE)
        for name in _names()
    )
