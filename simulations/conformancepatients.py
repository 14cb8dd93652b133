"""Synthetic patients whose contributions to a clipped sum are known in advance, and the studies that ask for them.

Each patient is alone in one column, so that a released sum says who was in it and how much came from each. Loud ones
have gradients far above the clipping norm, quiet ones stay below it, some have several rows. Silent columns are zero
for everybody: the gradient of their weights is exactly zero, and what is released there is noise alone. Two hospitals
differ by one patient. Public constants differ from every number that a wrong program could confuse them with.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, Outcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, ModelTerms, StudyTerms

WITHOUT: Final = "without"
WITH: Final = "with"
"""The two hospitals: `with` has one patient more."""

LOUD: Final = 80
SEVERAL: Final = 19
QUIET: Final = 20
PATIENTS: Final = LOUD + SEVERAL + QUIET
"""Patients of the smaller hospital, by kind: loud, loud with several rows, quiet."""

SILENT: Final = 120
WIDTH: Final = PATIENTS + 2 + SILENT
"""Columns: one per patient of the larger hospital, one that only its last patient has, and the silent ones."""

CLIP: Final = 0.75
NOISE: Final = 1.25
CALM: Final = 2.0**-7
"""Noise multipliers: like a real study's, and one at which single patients are seen."""

RATE: Final = 0.25
REFERENCE: Final = 64
_LOUDNESS: Final = 64.0
_QUIETNESS: Final = 0.5
_OVERFLOWING: Final = 1e36
_SEVERAL_ROWS: Final = (16.0, 32.0, 48.0, 64.0)
_SOURCE: Final = "invented for a conformance run"

RESPONSE: Final = BinaryOutcome(column="response", positive=("yes",), negative=("no",), source=_SOURCE)
SUBTYPE: Final = ClassOutcome(column="subtype", classes=("a", "b", "c"), source=_SOURCE)

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
        hidden: Width of the one hidden layer, or none.
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
    hidden: tuple[int, ...] = ()
    outcome: Outcome = RESPONSE
    clamp: float = _LOUDNESS
    slowness: float = 1.0

    @property
    def deviation(self) -> float:
        """Noise per coordinate of one step, in units of the gradient."""
        return self.noise * CLIP

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
                honest_sites=2 if joint else 0,
                most_patients=1024 if joint else 32768,
                source=_SOURCE,
            ),
            inputs=InputTerms(clamp=self.clamp, source=_SOURCE),
            model=ModelTerms(kind="mlp" if self.hidden else "linear", hidden=self.hidden),
            federation=FederationTerms(
                rounds=self.rounds,
                attempts=1,
                local_steps=self.steps,
                learning_rate=self.rate * REFERENCE / self.slowness,
            ),
        )

    def summed(self, update: NDArray[np.float32]) -> NDArray[np.float64]:
        """The noisy sum of gradients behind an update under site-noise, all steps together."""
        return -update.astype(np.float64) * self.slowness


def tables() -> Tables:
    """The two hospitals, text cells."""
    rows = [row for patient in range(PATIENTS + 1) for row in _rows_of(patient)]
    both = pd.DataFrame(rows, columns=["patient", *_names(), "response", "subtype"], dtype=object)
    fewer = both[both["patient"] != _identifier(PATIENTS)]
    return {WITHOUT: fewer, WITH: both}


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
    return patient % 2


def _values(patient: int) -> tuple[float, ...]:
    """Of the patient's own column, row by row."""
    if LOUD + SEVERAL <= patient < PATIENTS:
        return (_QUIETNESS,)
    return (_LOUDNESS,) if patient < LOUD else _SEVERAL_ROWS


def _identifier(patient: int) -> str:
    return f"canary-{patient:04d}"


def _rows_of(patient: int) -> list[list[str]]:
    """A patient's rows; the last patient has a column more, with a value that overflows where weights let it."""
    rows = []
    for value in _values(patient):
        cells = ["0"] * WIDTH
        cells[patient] = repr(value)
        if patient == PATIENTS:
            cells[PATIENTS + 1] = repr(_OVERFLOWING)
        rows.append([_identifier(patient), *cells, ("no", "yes")[_responds(patient)], "abc"[patient % 3]])
    return rows


def _names() -> list[str]:
    own = [f"canary{number:04d}" for number in range(PATIENTS + 1)]
    return [*own, "overflowing", *(f"silent{number:04d}" for number in range(SILENT))]


def _features() -> tuple[Feature, ...]:
    return tuple(
        Feature(name=name, kind="continuous", low=-1e37, high=1e37, source=_SOURCE) for name in _names()
    )
