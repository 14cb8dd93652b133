"""Who may be curious under each mechanism: the parties that an epsilon holds against, and their words.

Under joint noise the same releases cost a different epsilon against each coalition, because a coalition knows its own
members' noise. The guarantee that a study states is the one against `tolerated`: the server, outsiders and all sites
but the h honest ones. Under site noise there is one epsilon, against everybody else together.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from wardround.common.privacy.accounting import Relation, epsilon
from wardround.common.privacy.events import DpEvent, JointGaussianSteps

EVERYBODY: Final = "server, all other sites and outsiders together"
"""The observer of site noise, and of no mechanism at all."""

SERVER: Final = "server"
ONE_SITE: Final = "server and one site"
TOLERATED: Final = "tolerated"
EVERYBODY_ELSE: Final = "everybody else"

JOINT: Final = (SERVER, ONE_SITE, TOLERATED, EVERYBODY_ELSE)
"""Observers of joint noise, from the fewest curious parties to the most."""

HEADLINE: Final = frozenset({EVERYBODY, TOLERATED})
"""The observers that a claim names first: for each mechanism one."""


def observers(mechanism: str) -> tuple[str, ...]:
    """Whom a study of this mechanism states an epsilon against."""
    return JOINT if mechanism == "joint-noise" else (EVERYBODY,)


def cost(
    events: Iterable[DpEvent],
    observer: str,
    *,
    sites: int,
    delta: float,
    relation: Relation = "add-or-remove",
) -> float:
    """Epsilon of a patient pool's releases against one observer.

    Guarantees:
        Never below the true cost: where a sum may have had fewer sites than `sites`, pass 0, and the fewest that a
        site's own policy accepts are counted on.

    Args:
        events: All releases of the pool.
        observer: One of `JOINT`, or `EVERYBODY`.
        sites: The fewest sites in any of the sums; 0 where not known: one more than each counts on as honest.
        delta: In (0, 1).
        relation: Neighbouring relation.

    Example:
        >>> event = JointGaussianSteps(noise_multiplier=20.434, honest=4, coordinates=153, steps=30)
        >>> [cost([event], name, sites=5, delta=1e-5) for name in JOINT]
        [0.8848, 1.0, 1.0, 2.1547]
    """
    return epsilon([_seen(event, observer, sites) for event in events], delta, relation)


def _seen(event: DpEvent, observer: str, sites: int) -> DpEvent:
    """The release as it looks to somebody who knows the noise of all but the honest sites."""
    if not isinstance(event, JointGaussianSteps) or observer == TOLERATED:
        return event
    members = max(sites, event.honest + 1)
    honest = {SERVER: members, ONE_SITE: members - 1, EVERYBODY_ELSE: 1, EVERYBODY: 1}
    return event.with_honest(honest[observer])


def in_words(observer: str, *, honest: int, sites: int) -> str:
    """An observer as a page or a table names it.

    >>> in_words(TOLERATED, honest=4, sites=6)
    'server, outsiders and up to 2 of 6 sites: at least 4 are honest'
    """
    return words(honest=honest, sites=sites).get(observer, observer)


def words(*, honest: int, sites: int) -> Mapping[str, str]:
    """The words of every observer of joint noise."""
    return {
        SERVER: "server and outsiders",
        ONE_SITE: "server, outsiders and one site",
        TOLERATED: f"server, outsiders and up to {sites - honest} of {sites} sites: at least {honest} are honest",
        EVERYBODY_ELSE: "everybody else together: only the site's own share of the noise is left",
    }
