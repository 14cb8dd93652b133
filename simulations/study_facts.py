"""What a protocol amounts to: its size, what it costs, and what a reviewer should not overlook.

Everything follows from public terms; no patient is read.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from wardround.common.learning.features import FeaturePath
from wardround.common.learning.models import initial
from wardround.common.privacy.accounting import Relation, epsilon
from wardround.common.study.draft import TO_WRITE
from wardround.common.study.outcomes import outcome_kind
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import DRAFTED

LITTLE_PROTECTION: Final = 10.0
"""Above this, an epsilon is named as weak: odds may move by a factor of exp(10)."""
LARGE_DELTA: Final = 0.01
"""Expected patients of a typical cohort for whom the bound may fail; above this, delta is named as large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What `study check` says.

    Attributes:
        protocol: The study.
        modalities: Features per modality.
        inputs: Width of the feature path.
        parameters: Trainable numbers of the model, d.
        planned: Epsilon per neighbouring relation if every round needs one attempt; infinite without privacy.
        worst: The same if every round uses all its attempts: what a site reserves before the study starts.
        noise_norm: Expected L2 norm of one site's noise per step, z * C * sqrt(d) / (q * reference patients), in
            units of C: the average clipped gradient has norm at most 1.
    """

    protocol: StudyProtocol
    modalities: Mapping[str, int]
    inputs: int
    parameters: int
    planned: Mapping[Relation, float]
    worst: Mapping[Relation, float]
    noise_norm: float

    def as_json(self) -> dict[str, object]:
        """One JSON value; infinite numbers are null."""
        protocol = self.protocol
        return {
            "study": protocol.study.name,
            "digest": protocol.digest,
            "outcome": outcome_kind(protocol.outcome),
            "features": dict(self.modalities),
            "inputs": self.inputs,
            "model": protocol.model.kind,
            "parameters": self.parameters,
            "rounds": protocol.federation.rounds,
            "attempts": protocol.federation.attempts,
            "mechanism": protocol.privacy.mechanism,
            "delta": protocol.privacy.delta,
            "epsilon_planned": {name: _finite(value) for name, value in self.planned.items()},
            "epsilon_worst": {name: _finite(value) for name, value in self.worst.items()},
            "noise_norm": self.noise_norm,
            "drafted": protocol.drafted,
            "warnings": list(warnings(self)),
        }


def study_facts(protocol: StudyProtocol, folder: Path | None) -> StudyFacts:
    """Compute the facts of a study.

    Args:
        protocol: The study.
        folder: Where the files it names are.

    Raises:
        ProtocolError: A loadings file is absent or is not the one the protocol names.
    """
    inputs = FeaturePath.from_protocol(protocol, folder).width
    size = sum(array.size for array in initial(protocol, inputs).values())
    return StudyFacts(
        protocol=protocol,
        modalities=Counter(feature.modality for feature in protocol.features),
        inputs=inputs,
        parameters=size,
        planned=_epsilons(protocol, attempts=1),
        worst=_epsilons(protocol, attempts=protocol.federation.attempts),
        noise_norm=_noise_norm(protocol, size),
    )


def _epsilons(protocol: StudyProtocol, *, attempts: int) -> dict[Relation, float]:
    events = [protocol.event()] * (protocol.federation.rounds * attempts)
    relations: tuple[Relation, ...] = get_args(Relation)
    return {relation: epsilon(events, protocol.privacy.delta, relation) for relation in relations}


def _noise_norm(protocol: StudyProtocol, size: int) -> float:
    privacy = protocol.privacy
    expected_patients = privacy.sample_rate * privacy.reference_patients
    return privacy.noise_multiplier * math.sqrt(size) / expected_patients


def warnings(facts: StudyFacts) -> Iterator[str]:
    """What a reviewer should not overlook, worst first."""
    yield from _privacy_warnings(facts)
    protocol = facts.protocol
    if TO_WRITE in (protocol.study.question, protocol.study.purpose):
        yield "question or purpose is not written yet; patients' consent must cover the purpose"
    if protocol.private and facts.noise_norm > 1:
        yield (
            f"one site's noise per step has norm {facts.noise_norm:.2g} where the average gradient has at most 1: "
            "expect little; use fewer inputs (public loadings), larger sites, fewer rounds or a larger epsilon"
        )
    if protocol.private and protocol.federation.batch_size:
        yield "batch_size has no effect with site-noise: privacy.sample_rate rules"


def _privacy_warnings(facts: StudyFacts) -> Iterator[str]:
    protocol, privacy = facts.protocol, facts.protocol.privacy
    if not protocol.private:
        yield "mechanism 'none': no privacy; a policy allows it only for public or synthetic cohorts"
    if protocol.drafted:
        yield f"{_drafted(protocol)} drafted from this study's own table: results with them are not private"
    worst = facts.worst["add-or-remove"]
    if protocol.private and worst > LITTLE_PROTECTION:
        yield f"epsilon {worst:.1f} at delta {privacy.delta:g} protects little: odds may change by exp({worst:.1f})"
    if protocol.private and privacy.delta * privacy.reference_patients > LARGE_DELTA:
        yield f"delta {privacy.delta:g} is large for cohorts of about {privacy.reference_patients} patients"


def _drafted(protocol: StudyProtocol) -> str:
    features = sum(feature.source == DRAFTED for feature in protocol.features)
    sections = {"outcome": protocol.outcome, "inputs": protocol.inputs, "privacy": protocol.privacy}
    named = [name for name, terms in sections.items() if terms.source == DRAFTED]
    return f"constants of {', '.join([f'{features} features', *named])} were"


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value
