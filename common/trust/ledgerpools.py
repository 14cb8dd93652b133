"""Which charges can fall on one patient: the pool of training and the pool of held-out patients of one site.

Every patient has a place in [0, 1), a keyed hash that never changes (`client.heldout`). A study that holds out the
share f trains on the places from f on, and evaluates on those below f; an external site evaluates on all. So training
and evaluation share no patient as long as no study trains on places that another one evaluates on. Where one does, what
they share is charged in both pools: the claim stays true for every patient, whatever shares studies hold out.

A reservation that names no share may have trained on anybody.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wardround.common.privacy.events import DpEvent, times
from wardround.common.trust.ledgernames import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Equal releases about the patients of one study's part.

    Attributes:
        pool: Whether they trained or were held out.
        share: f, the share that the study holds out, in [0, 1].
        event: What one release costs.
        releases: How many, >= 0.
    """

    pool: Pool
    share: float
    event: DpEvent
    releases: int


def falling_on(pool: Pool, charges: Iterable[Charge]) -> list[DpEvent]:
    """Everything that can have been charged to one patient of a pool.

    Guarantees:
        No patient of the pool was charged more than this, in both pools together.

    Example:
        >>> from wardround.common.privacy.events import NonPrivate
        >>> held_out = Charge(pool="held-out", share=0.25, event=NonPrivate(), releases=1)
        >>> apart = Charge(pool="training", share=0.25, event=NonPrivate(), releases=1)
        >>> everybody = Charge(pool="training", share=0.0, event=NonPrivate(), releases=1)
        >>> len(falling_on("held-out", [held_out, apart])), len(falling_on("held-out", [held_out, everybody]))
        (1, 2)
    """
    listed = [charge for charge in charges if charge.releases]
    own = [charge for charge in listed if charge.pool == pool]
    return [
        event
        for charge in listed
        if charge.pool == pool or _meets(charge, own)
        for event in times(charge.event, charge.releases)
    ]


def _meets(charge: Charge, others: Sequence[Charge]) -> bool:
    """Whether a charge falls on a patient on whom one of the other pool's falls."""
    if charge.pool == "training":
        return any(charge.share < other.share for other in others)
    return any(other.share < charge.share for other in others)
