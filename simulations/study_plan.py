"""What a study could cost under each mechanism, before anything is spent; and the study under the one that was chosen.

Everything follows from public terms. The targets are for the whole reservation, every round with all its attempts,
because that is what hospitals compare with their caps; what is likely to be spent stands beside it.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.plan import Plan, PlanTerms, noise_for, plan
from wardround.common.privacy.terms import FEWEST_HONEST, PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import DRAFTED
from wardround.common.study.terms import FederationTerms

Noisy = Literal["joint-noise", "site-noise"]

TARGETS: Final = (1.0, 3.0, 8.0)
"""Epsilons that are planned for where nobody asks for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody wants to compare; an empty entry stands for what the study says, or for every possibility.

    Attributes:
        mechanisms: Mechanisms to compare.
        sites: How many sites take part; 0 for those that the study lists.
        honest: Numbers of honest sites that joint noise may count on; empty for all but one.
        epsilons: Targets for the whole reservation.
        noises: Noise multipliers to look at instead of targets.
        rounds: Numbers of rounds.
        attempts: Attempts per round; 0 for the study's.
    """

    mechanisms: tuple[Noisy, ...] = ("joint-noise", "site-noise")
    sites: int = 0
    honest: tuple[int, ...] = ()
    epsilons: tuple[float, ...] = ()
    noises: tuple[float, ...] = ()
    rounds: tuple[int, ...] = ()
    attempts: int = 0

    def __post_init__(self) -> None:
        """Refuse two answers to one question."""
        if self.epsilons and self.noises:
            raise UsageError("give either epsilons or noise multipliers", advice="one follows from the other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One possibility.

    Attributes:
        terms: Its public numbers.
        target: The epsilon that was asked for; 0 where a noise multiplier was.
        found: Costs and noise; None where it cannot be done.
        reason: Why it cannot be done; empty where it can.
    """

    terms: PlanTerms
    target: float = 0.0
    found: Plan | None = None
    reason: str = ""


def public_terms(protocol: StudyProtocol, *, mechanism: Noisy, coordinates: int, sites: int = 0) -> PlanTerms:
    """The public numbers of a study, as the planner takes them.

    Args:
        protocol: The study.
        mechanism: The mechanism to plan for.
        coordinates: Trainable parameters.
        sites: How many sites take part; 0 for those that the study lists.

    Raises:
        UsageError: The number of sites is not known, contradicts the study, or is too small for joint noise.
    """
    patients = _patients(protocol, sites)
    joint = mechanism == "joint-noise"
    if joint and len(patients) <= FEWEST_HONEST:
        raise UsageError(
            f"joint-noise needs at least {FEWEST_HONEST + 1} sites, found {len(patients)}",
            advice="plan with --mechanism site-noise",
        )
    return PlanTerms(
        mechanism=mechanism,
        delta=protocol.privacy.delta,
        rounds=protocol.federation.rounds,
        attempts=protocol.federation.attempts,
        steps=1 if joint else protocol.federation.local_steps,
        clipping_norm=protocol.privacy.clipping_norm,
        coordinates=coordinates,
        patients=patients,
        honest=(protocol.privacy.honest_sites or len(patients) - 1) if joint else 1,
        most_patients=protocol.privacy.most_patients,
    )


def _patients(protocol: StudyProtocol, sites: int) -> Mapping[str, int]:
    """Public sizes of the sites; where a quorum allows fewer, of the smallest that make one: the worst case."""
    listed = [site.name for site in protocol.federation.sites]
    sites = sites or (protocol.privacy.honest_sites + 1 if protocol.joint and not listed else 0)
    if not listed and not sites:
        raise UsageError(
            "the study lists no sites, so nobody knows how many will add noise",
            advice="say how many take part: --sites K",
        )
    if listed and sites not in (0, len(listed)):
        raise UsageError(
            f"the study lists {len(listed)} sites, and {sites} were asked for", advice="leave out --sites"
        )
    names = listed or [f"site {number}" for number in range(1, sites + 1)]
    sizes = {name: protocol.reference_patients(name) for name in names}
    fewest = sorted(sizes, key=lambda name: sizes[name])[: protocol.federation.quorum or len(sizes)]
    return {name: size for name, size in sizes.items() if name in fewest}


def options(protocol: StudyProtocol, wish: Wish, *, coordinates: int) -> tuple[Option, ...]:
    """Every combination of what was wished, in its order.

    Raises:
        UsageError: The wish contradicts the study.
        PrivacyError: None of the combinations can be done.
    """
    found = [
        _option(terms, target, noise)
        for terms in _every_terms(protocol, wish, coordinates)
        for target, noise in _levels(wish)
    ]
    if all(option.found is None for option in found):
        raise PrivacyError(found[0].reason, advice="ask for more noise, fewer rounds or a smaller model")
    return tuple(found)


def _levels(wish: Wish) -> Iterator[tuple[float, float]]:
    """Target epsilon and noise multiplier, one of which is 0."""
    yield from ((0.0, noise) for noise in wish.noises)
    if not wish.noises:
        yield from ((target, 0.0) for target in wish.epsilons or TARGETS)


def _every_terms(protocol: StudyProtocol, wish: Wish, coordinates: int) -> Iterator[PlanTerms]:
    for mechanism in wish.mechanisms:
        terms = public_terms(protocol, mechanism=mechanism, coordinates=coordinates, sites=wish.sites)
        terms = replace(terms, attempts=wish.attempts or terms.attempts)
        honest = (wish.honest or (terms.honest,)) if terms.joint else (1,)
        for each, rounds in itertools.product(honest, wish.rounds or (terms.rounds,)):
            _check_honest(terms, each)
            yield replace(terms, honest=each, rounds=rounds)


def _check_honest(terms: PlanTerms, honest: int) -> None:
    sites = len(terms.patients)
    if terms.joint and not FEWEST_HONEST <= honest < sites:
        raise UsageError(
            f"expected {FEWEST_HONEST} to {sites - 1} honest of {sites} sites, found {honest}",
            advice="a member knows its own noise, so at least one site is never counted on",
        )


def _option(terms: PlanTerms, target: float, noise: float) -> Option:
    try:
        multiplier = noise or noise_for(terms, target=target)
        return Option(terms=terms, target=target, found=plan(terms, noise_multiplier=multiplier))
    except PrivacyError as error:
        return Option(terms=terms, target=target, reason=str(error))


def chosen(protocol: StudyProtocol, option: Option) -> StudyProtocol:
    """The study under an option: the mechanism, its noise, and whatever else that mechanism asks for.

    Guarantees:
        Constants that were drafted from the study's own table stay marked as drafted.

    Raises:
        PrivacyError: The option cannot be done, or the study has terms that the mechanism does not allow.
        ProtocolError: Terms contradict each other.
    """
    terms = option.terms
    if option.found is None:
        raise PrivacyError(option.reason)
    privacy = PrivacyTerms(
        mechanism=terms.mechanism,
        clipping_norm=terms.clipping_norm,
        noise_multiplier=option.found.noise_multiplier,
        sample_rate=1.0,
        delta=terms.delta,
        reference_patients=protocol.privacy.reference_patients,
        honest_sites=terms.honest if terms.joint else 0,
        most_patients=terms.most_patients,
        source=DRAFTED if protocol.privacy.source == DRAFTED else _source(option),
    )
    return replace(protocol, privacy=privacy, federation=_federation(protocol, terms), seed=None)


def _source(option: Option) -> str:
    if not option.target:
        return "noise multiplier chosen in advance"
    terms = option.terms
    releases = f"{terms.rounds} rounds times {terms.attempts} attempts"
    return f"calibrated in advance to epsilon {option.target:g} at delta {terms.delta:g} over {releases}"


def _federation(protocol: StudyProtocol, terms: PlanTerms) -> FederationTerms:
    before = protocol.federation
    common = replace(
        before,
        rounds=terms.rounds,
        attempts=terms.attempts,
        average_last=min(before.average_last, terms.rounds),
    )
    if not terms.joint:
        return replace(common, first_round="gradients")
    sites = tuple(replace(site, weight=1.0) for site in before.sites)
    return replace(common, local_steps=1, batch_size=0, sites=sites)


def changes(before: StudyProtocol, after: StudyProtocol) -> list[str]:
    """What `chosen` changed beside the noise, so that nobody is surprised."""
    notes = []
    old, new = before.federation, after.federation
    if old.local_steps != new.local_steps:
        notes.append(
            f"local_steps is 1 instead of {old.local_steps}: under joint-noise a round is one step; "
            "more rounds or a larger learning_rate make up for it"
        )
    if [site.weight for site in old.sites] != [site.weight for site in new.sites]:
        notes.append(
            "every site has weight 1: a sum over patients weights hospitals by their patients already"
        )
    if before.privacy.sample_rate != after.privacy.sample_rate:
        notes.append("sample_rate is 1: every patient takes part in every step")
    if before.seed is not None:
        notes.append("the seed is gone: it would give the noise away")
    if old.first_round != new.first_round:
        notes.append("first_round is 'gradients': only a secure sum carries statistics")
    return notes


def asked(mechanisms: Sequence[str]) -> tuple[Noisy, ...]:
    """Mechanisms as they were typed; all where none was."""
    return cast("tuple[Noisy, ...]", tuple(dict.fromkeys(mechanisms))) or Wish().mechanisms
