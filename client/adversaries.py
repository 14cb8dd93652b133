"""What a study would cost this site's patients: epsilon against each adversary, and what it leaves of the caps.

Both follow from public terms and the site's own ledger. Under joint noise the number of sites in a sum is taken as
the fewest that this site accepts by its own policy, h + t: a larger roster only protects better.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from wardround.client.policy import SitePolicy
from wardround.common.privacy.accounting import Against, Relation, epsilon
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import JointGaussianSteps, times
from wardround.common.study.parts import Part
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.ledgernames import HELD_OUT, Pool
from wardround.common.trust.ledgerpools import Charge, falling_on

_EVERYBODY: Final = "the coordinator and all other hospitals together"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversary:
    """Epsilon of one study against one adversary, per patient, at the study's delta.

    Attributes:
        name: Who is curious, in words.
        planned: If every round needs one attempt; infinite without a mechanism.
        worst: If every round uses all its attempts: what is reserved.
        worst_replacing: As `worst`, for replacing a patient by another instead of adding or removing one.
    """

    name: str
    planned: float
    worst: float
    worst_replacing: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CapLeft:
    """One lifetime cap of the patient pool, at the pool's delta.

    Attributes:
        pool: Whom it protects: the patients who train, or those held out.
        against: Who is assumed to collude.
        cap: From the policy; infinite for none.
        before: Epsilon in use, open reservations included.
        after: The same with this study's reservation.
    """

    pool: Pool = "training"
    against: Against
    cap: float
    before: float
    after: float

    @property
    def left(self) -> float:
        """What remains of the cap afterwards, at least 0."""
        return max(0.0, self.cap - self.after) if self.after < self.cap else 0.0

    @property
    def allows(self) -> bool:
        """Whether the study fits below the cap."""
        return self.after <= self.cap


def adversaries(protocol: StudyProtocol, *, tolerated: int) -> tuple[Adversary, ...]:
    """Everybody against whom the study states an epsilon, the fewest curious parties first.

    Args:
        protocol: The study.
        tolerated: t, from the site's policy.
    """
    honest = protocol.privacy.honest_sites
    fewest = honest + tolerated
    planned = _epsilons(protocol, protocol.federation.rounds, "add-or-remove", fewest)
    worst = _epsilons(protocol, reservation(protocol), "add-or-remove", fewest)
    replacing = _epsilons(protocol, reservation(protocol), "replace-one", fewest)
    names = _names(honest, fewest) if protocol.joint else (_EVERYBODY,)
    return tuple(
        Adversary(name=name, planned=p, worst=w, worst_replacing=r)
        for name, p, w, r in zip(names, planned, worst, replacing, strict=True)
    )


def reservation(protocol: StudyProtocol) -> int:
    """Releases that a site reserves: every attempt of every round."""
    return protocol.federation.rounds * protocol.federation.attempts


def caps_left(policy: SitePolicy, charges: Sequence[Charge], *, asked: Iterable[Part]) -> tuple[CapLeft, ...]:
    """All caps before and after a study's reservations; of a pool that nothing is about, none.

    Args:
        policy: The site's limits.
        charges: What the ledger holds already, open reservations included.
        asked: What the approval would reserve on top; nothing where it is reserved.
    """
    after = [*charges, *(part.charge() for part in asked)]
    evaluates = any(charge.pool == HELD_OUT for charge in after)
    return tuple(
        CapLeft(
            pool=pool,
            against=against,
            cap=cap,
            before=epsilon(falling_on(pool, charges), policy.delta, against=against),
            after=epsilon(falling_on(pool, after), policy.delta, against=against),
        )
        for pool, against, cap in policy.all_caps
        if pool == "training" or evaluates
    )


def evaluation_epsilon(protocol: StudyProtocol, releases: int) -> float:
    """Epsilon of so many evaluations, per held-out patient, at the evaluation's delta; 0 without one."""
    if protocol.evaluation is None:
        return 0.0
    event = protocol.event_of(protocol.federation.rounds + 1)
    return epsilon(times(event, releases), protocol.evaluation.delta)


def _names(honest: int, fewest: int) -> tuple[str, ...]:
    return (
        "the coordinator and outsiders",
        "the coordinator and one other hospital",
        f"the coordinator and all hospitals but {honest} honest ones (the study's own claim)",
        f"the coordinator and all other hospitals together (sums of at least {fewest} hospitals)",
    )


def _epsilons(protocol: StudyProtocol, releases: int, relation: Relation, fewest: int) -> tuple[float, ...]:
    delta, event = protocol.privacy.delta, protocol.event()
    if not isinstance(event, JointGaussianSteps):
        return (epsilon(times(event, releases), delta, relation),)
    whole = replace(event, steps=event.steps * releases)
    found = joint_epsilons(whole, sites=fewest, delta=delta, relation=relation)
    return found.server, found.participant, found.tolerated, found.everyone_else
