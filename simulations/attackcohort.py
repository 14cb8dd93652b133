"""Who is attacked: synthetic patients, or an auditor's own table; and what one round of training sends.

The synthetic cohort has expression with hidden factors and rare mutations, more genes than patients, as in omics. The
releases are made by the production trainer, under the mechanism that is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from wardround.client.cohort import build_cohort, verbatim_columns
from wardround.client.tables import read_table
from wardround.client.training import LocalTrainer, seeded_batches
from wardround.common.errors import UsageError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.parameters import Parameters, from_vector
from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.jointnoise import noisy_share, opened_sum
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.study.outcomes import ClassOutcome, Outcome, Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, ModelTerms, StudyTerms
from wardround.simulations.planning import load_study

Floats = NDArray[np.float64]
Mechanism = Literal["none", "site-noise", "joint-noise"]

DELTA: Final = 1e-5
SITES: Final = 5
_EXPRESSION: Final = 800
_MUTATIONS: Final = 200
_SOURCE: Final = "invented for an attack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """Patients to train on, and others like them who are not trained on.

    Attributes:
        outcome: What is predicted.
        members, strangers: As many of either.
        public: Further patients that an attacker may have.
    """

    outcome: Outcome
    members: PatientRows = field(repr=False)
    strangers: PatientRows = field(repr=False)
    public: PatientRows = field(repr=False)

    @property
    def width(self) -> int:
        """Inputs of the model."""
        return int(self.members.inputs.shape[1])


def synthetic(patients: int, seed: int) -> Attacked:
    """Patients with 800 expression values and 200 mutations of three tumour types.

    Args:
        patients: Members, and as many strangers.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    total = 3 * patients
    label = rng.integers(0, 3, total)
    factors = rng.normal(size=(total, 20)) + 0.4 * rng.normal(size=(3, 20))[label]
    loadings = rng.normal(size=(20, _EXPRESSION)) / np.sqrt(20)
    expression = factors @ loadings + 0.7 * rng.normal(size=(total, _EXPRESSION))
    mutations = rng.random((total, _MUTATIONS)) < 0.05
    inputs = np.concatenate([expression, mutations], axis=1).astype(np.float32)
    outcome = ClassOutcome(column="type", classes=("a", "b", "c"), source=_SOURCE)
    rows = PatientRows(
        inputs=inputs, patient=np.arange(total), targets=Targets(value=label.astype(np.float64))
    )
    return _split(rows, outcome, patients)


def from_table(study: Path, table: Path, patients: int, seed: int) -> Attacked:
    """An auditor's own table under a study's public feature path, in a random order.

    Raises:
        CohortError: The table does not fit the study.
        UsageError: It has fewer than three times two patients.
    """
    protocol, folder = load_study(study, seed=seed)
    frame = read_table(table, verbatim=verbatim_columns(protocol))
    path = FeaturePath.from_protocol(protocol, folder)
    rows = build_cohort(protocol, frame, site="the auditor", path=path, minimum=6).rows
    order = np.random.default_rng(seed).permutation(rows.n_patients)
    return _split(rows.take(order), protocol.outcome, min(patients, rows.n_patients // 3))


def _split(rows: PatientRows, outcome: Outcome, patients: int) -> Attacked:
    if patients < 2:
        raise UsageError(f"expected at least 2 members, found {patients}")
    parts = np.split(np.arange(3 * patients), 3)
    members, strangers, public = (rows.take(part) for part in parts)
    return Attacked(outcome=outcome, members=members, strangers=strangers, public=public)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How one round trains.

    Attributes:
        mechanism: `none` sends the exact update.
        epsilon: Of all `rounds`, without `none`.
        rounds: Releases that the epsilon is for.
        hidden: Widths of hidden layers.
        steps: Local steps.
        batch: Patients per step without noise; 0 for all.
        rate: Step size.
    """

    mechanism: Mechanism = "none"
    epsilon: float = 8.0
    rounds: int = 1
    hidden: tuple[int, ...] = (500,)
    steps: int = 1
    batch: int = 0
    rate: float = 0.5

    def protocol(self, cohort: Attacked, patients: int) -> StudyProtocol:
        """The public terms; the reference number of patients is the true one, which flatters no attack."""
        return StudyProtocol(
            study=StudyTerms(name="attacked", question="What does a server see?", purpose="audit"),
            outcome=cohort.outcome,
            features=(Feature(name="any", kind="continuous", low=0.0, high=1.0, source=_SOURCE),),
            cohort=CohortTerms(patient_column="patient"),
            privacy=self._privacy(patients),
            model=ModelTerms(kind="mlp", hidden=self.hidden) if self.hidden else ModelTerms(),
            federation=FederationTerms(
                rounds=self.rounds, local_steps=self.steps, batch_size=self.batch, learning_rate=self.rate
            ),
        )

    def _privacy(self, patients: int) -> PrivacyTerms:
        terms = PrivacyTerms(mechanism="none", delta=DELTA, reference_patients=patients, source=_SOURCE)
        if self.mechanism == "none":
            return terms
        steps = self.rounds * self.steps
        if self.mechanism == "site-noise":
            noise = noise_multiplier_for(epsilon=self.epsilon, delta=DELTA, sample_rate=1.0, steps=steps)
            return replace(terms, mechanism="site-noise", noise_multiplier=noise)
        noise = joint_noise_multiplier_for(
            epsilon=self.epsilon, delta=DELTA, steps=steps, honest=SITES - 1, coordinates=LARGEST_SUM
        )
        return replace(
            terms,
            mechanism="joint-noise",
            noise_multiplier=noise,
            honest_sites=SITES - 1,
            most_patients=max(1024, patients),
        )


def update(
    cohort: Attacked, training: Training, base: Parameters, members: PatientRows, *, seed: int
) -> Parameters:
    """What the server sees of one round of one site, or under joint noise of all sites' sum.

    Args:
        cohort: Gives the outcome.
        training: How the site trains.
        base: The model that the server sends.
        members: Who trains; under joint noise split over `SITES` sites.
        seed: Of the batches without privacy; noise comes from the operating system.
    """
    protocol = training.protocol(cohort, members.n_patients)
    if training.mechanism == "joint-noise":
        return _opened(protocol, base, members)
    trainer = LocalTrainer(protocol, members, site="")
    if training.mechanism == "site-noise":
        with SecureRandom() as random:
            return trainer.private(base, random)
    batches = seeded_batches(protocol, members.n_patients, seed=seed, site="", round_=1)
    return trainer.plain(base, list(batches))


def _opened(protocol: StudyProtocol, base: Parameters, members: PatientRows) -> Parameters:
    """The opened sum of five sites' shares, as an update of the model."""
    total: NDArray[np.uint32] | None = None
    for part in np.array_split(np.arange(members.n_patients), SITES):
        trainer = LocalTrainer(protocol, members.take(part), site="")
        with SecureRandom() as random:
            share = noisy_share(protocol.privacy, trainer.clipped_sum(base), sites=SITES, random=random)
        total = share if total is None else total + share
    opened = opened_sum(protocol.privacy, np.asarray(total), sites=SITES)
    return from_vector(-protocol.federation.learning_rate / members.n_patients * opened, base)


def summed(updates: Sequence[Parameters]) -> Parameters:
    """What a secure sum without noise shows of several sites."""
    return {name: np.sum([update[name] for update in updates], axis=0) for name in updates[0]}
