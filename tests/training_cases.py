"""A small study and its patients for the tests of training."""

from dataclasses import replace
from typing import Final

import numpy as np

from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, from_vector, to_vector
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import ContinuousOutcome, Outcome, SurvivalOutcome, Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, ModelTerms, StudyTerms

D: Final = 2000
PLAIN: Final = PrivacyTerms(mechanism="none")
NOISY: Final = PrivacyTerms(
    mechanism="site-noise", noise_multiplier=2.0, clipping_norm=0.5, reference_patients=50
)
LINEAR: Final = ModelTerms()
CONTINUOUS: Final = ContinuousOutcome(column="y", unit="1", low=-3, high=3, mean=0, sd=1, source="test")
SURVIVAL: Final = SurvivalOutcome(
    time_column="t",
    event_column="e",
    event_values=("1",),
    censored_values=("0",),
    unit="months",
    high=100,
    cut_points=(10.0, 20.0),
    source="test",
)


def study(
    privacy: PrivacyTerms = PLAIN,
    model: ModelTerms = LINEAR,
    outcome: Outcome = CONTINUOUS,
    **federation: object,
) -> StudyProtocol:
    """A study; keywords are of its federation terms."""
    return StudyProtocol(
        study=StudyTerms(name="training", question="?", purpose="test"),
        outcome=outcome,
        features=(Feature(name="x", kind="continuous", low=-9, high=9, source="test"),),
        cohort=CohortTerms(patient_column="patient"),
        privacy=privacy,
        model=model,
        federation=replace(FederationTerms(learning_rate=0.1), **federation),  # type: ignore[arg-type]
    )


def cohort(n: int = 20, d: int = D, *, seed: int = 5) -> PatientRows:
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(n, d)).astype(np.float32) / np.float32(np.sqrt(d))
    return PatientRows(inputs=inputs, patient=np.arange(n), targets=Targets(value=generator.normal(size=n)))


def without_gradient(n: int) -> PatientRows:
    """Patients whom the zero model fits exactly: every gradient is zero, all that is left is noise."""
    rows = cohort(n)
    return replace(rows, targets=Targets(value=np.zeros(n)))


def zero(d: int = D) -> Parameters:
    return initial(study(), d)


def away(base: Parameters, seed: int = 8) -> Parameters:
    vector = np.random.default_rng(seed).normal(0, 0.3, to_vector(base).size)
    return from_vector(vector, base)
