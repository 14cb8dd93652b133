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
from wardround.common.privacy.accounting import Relation
from wardround.common.privacy.events import times
from wardround.common.study.draft import TO_WRITE
from wardround.common.study.outcomes import outcome_kind
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import DRAFTED
from wardround.simulations.observers import HEADLINE, cost, in_words, observers

LITTLE_PROTECTION: Final = 10.0
"""Above this, an epsilon is named as weak: odds may move by a factor of exp(10)."""
LARGE_DELTA: Final = 0.01
"""Expected patients of a typical cohort for whom the bound may fail; above this, delta is named as large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """What the study costs against one observer, per neighbouring relation; otherwise as in `StudyFacts`."""

    observer: str
    planned: Mapping[Relation, float]
    worst: Mapping[Relation, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What `study check` says.

    Attributes:
        protocol: The study.
        modalities: Features per modality.
        inputs: Width of the feature path.
        parameters: Trainable numbers of the model, d.
        planned: Epsilon per neighbouring relation if every round needs one attempt; infinite without privacy. Under
            joint noise against the coalition that the study's claim is about.
        worst: The same if every round uses all its attempts: what a site reserves before the study starts.
        observers: Epsilon against each observer; see `simulations.observers`.
        noise_norm: Expected L2 norm of the smallest site's noise per step, z * C * sqrt(d) / (q * patients), in
            units of C: the average clipped gradient has norm at most 1. Under joint noise that of all sites' noise
            in the mean over all their patients.
    """

    protocol: StudyProtocol
    modalities: Mapping[str, int]
    inputs: int
    parameters: int
    planned: Mapping[Relation, float]
    worst: Mapping[Relation, float]
    observers: tuple[Against, ...]
    noise_norm: float

    @property
    def noise_study(self) -> float:
        """As `noise_norm`, over all steps of the study: noise adds up more slowly than what patients say."""
        federation = self.protocol.federation
        return self.noise_norm / math.sqrt(max(1, federation.rounds * federation.local_steps))

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
            "honest_sites": protocol.privacy.honest_sites,
            "observers": [
                {
                    "observer": each.observer,
                    "words": in_words(
                        each.observer, honest=protocol.privacy.honest_sites, sites=fewest_sites(protocol)
                    ),
                    "epsilon_planned": {name: _finite(value) for name, value in each.planned.items()},
                    "epsilon_worst": {name: _finite(value) for name, value in each.worst.items()},
                }
                for each in self.observers
            ],
            "noise_norm": self.noise_norm,
            "noise_study": self.noise_study,
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
    inputs, parameters = sizes(protocol, folder)
    every = tuple(_against(protocol, observer) for observer in observers(protocol.privacy.mechanism))
    claim = next(each for each in every if each.observer in HEADLINE)
    return StudyFacts(
        protocol=protocol,
        modalities=Counter(feature.modality for feature in protocol.features),
        inputs=inputs,
        parameters=parameters,
        planned=claim.planned,
        worst=claim.worst,
        observers=every,
        noise_norm=_noise_norm(protocol, parameters),
    )


def sizes(protocol: StudyProtocol, folder: Path | None) -> tuple[int, int]:
    """Width of the feature path, and trainable numbers of the model.

    Raises:
        ProtocolError: As in `study_facts`.
    """
    inputs = FeaturePath.from_protocol(protocol, folder).width
    return inputs, sum(array.size for array in initial(protocol, inputs).values())


def fewest_sites(protocol: StudyProtocol) -> int:
    """Sites that are in every sum for sure: the quorum, those listed, or one more than are counted on as honest."""
    return protocol.federation.quorum or len(protocol.federation.sites) or protocol.privacy.honest_sites + 1


def _against(protocol: StudyProtocol, observer: str) -> Against:
    rounds = protocol.federation.rounds
    return Against(
        observer=observer,
        planned=_epsilons(protocol, observer, rounds),
        worst=_epsilons(protocol, observer, rounds * protocol.federation.attempts),
    )


def _epsilons(protocol: StudyProtocol, observer: str, releases: int) -> dict[Relation, float]:
    events, sites, delta = times(protocol.event(), releases), fewest_sites(protocol), protocol.privacy.delta
    relations: tuple[Relation, ...] = get_args(Relation)
    return {each: cost(events, observer, sites=sites, delta=delta, relation=each) for each in relations}


def _noise_norm(protocol: StudyProtocol, parameters: int) -> float:
    privacy = protocol.privacy
    noise = privacy.noise_multiplier * math.sqrt(parameters)
    names = [site.name for site in protocol.federation.sites] or [""] * fewest_sites(protocol)
    patients = [protocol.reference_patients(name) for name in names]
    if not protocol.joint:
        return noise / (privacy.sample_rate * min(patients))
    return noise * math.sqrt(len(patients) / privacy.honest_sites) / sum(patients)


def warnings(facts: StudyFacts) -> Iterator[str]:
    """What a reviewer should not overlook, worst first."""
    yield from _privacy_warnings(facts)
    protocol = facts.protocol
    if TO_WRITE in (protocol.study.question, protocol.study.purpose):
        yield "question or purpose is not written yet; patients' consent must cover the purpose"
    if protocol.private and facts.noise_norm > 1:
        whose = "all sites' noise" if protocol.joint else "one site's noise"
        yield (
            f"{whose} per step has norm {facts.noise_norm:.2g} where the average gradient has at most 1: "
            "expect little; use fewer inputs (public loadings), larger sites, fewer rounds or a larger epsilon"
        )
    if protocol.private and not protocol.monitoring and facts.noise_study > 1:
        yield "over all rounds together the noise exceeds whatever the patients could say: the model will be noise"
    if protocol.private and protocol.federation.batch_size:
        yield f"batch_size has no effect with {protocol.privacy.mechanism}: privacy.sample_rate rules"


def _privacy_warnings(facts: StudyFacts) -> Iterator[str]:
    protocol, privacy = facts.protocol, facts.protocol.privacy
    if not protocol.private:
        yield "mechanism 'none': no privacy; a policy allows it only for public or synthetic cohorts"
    if protocol.drafted:
        yield f"{_drafted(protocol)} drafted from this study's own table: results with them are not private"
    if protocol.joint and not protocol.federation.sites:
        yield "no sites are listed: epsilon against the server alone is stated as if one more took part than are honest"
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
