"""What joint noise costs against each coalition: the same releases, seen with more or fewer shares of noise left.

A curious participant knows its own share, and so do all that pool what they know. What is left is the noise of the
sites outside the coalition, and that alone protects a patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wardround.common.checks import in_range
from wardround.common.privacy.accounting import Relation, epsilon
from wardround.common.privacy.events import DpEvent, JointGaussianSteps

EVERYBODY: Final = "the coordinator and all other hospitals together"


@dataclass(frozen=True, slots=True, kw_only=True)
class JointEpsilons:
    """Epsilon of the same releases against four observers, at one delta and relation.

    Attributes:
        server: The server and outsiders, all K sites honest.
        participant: They and one participant: K - 1 shares.
        tolerated: They and K - h participants: h shares. This is the guarantee that a study states.
        everyone_else: All others together: the site's own share.
    """

    server: float
    participant: float
    tolerated: float
    everyone_else: float


def joint_epsilons(
    event: JointGaussianSteps, *, sites: int, delta: float, relation: Relation = "add-or-remove"
) -> JointEpsilons:
    """Epsilon against each coalition.

    Args:
        event: All releases of the study, as one event.
        sites: K, the sites whose noise was in every sum: at least `event.honest`, and at least 2.
        delta: In (0, 1).
        relation: Neighbouring relation.

    Raises:
        UsageError: A number is out of range.

    Example:
        >>> event = JointGaussianSteps(noise_multiplier=20.434, honest=4, coordinates=153, steps=30)
        >>> joint_epsilons(event, sites=5, delta=1e-5)
        JointEpsilons(server=0.8848, participant=1.0, tolerated=1.0, everyone_else=2.1547)
    """
    in_range(max(2, event.honest), 2**16, sites=sites)

    def against(honest: int) -> float:
        return epsilon([event.with_honest(honest)], delta, relation)

    return JointEpsilons(
        server=against(sites),
        participant=against(sites - 1),
        tolerated=against(event.honest),
        everyone_else=against(1),
    )


def observers(event: DpEvent, sites: int, releases: int) -> Sequence[tuple[str, int | None]]:
    """Who may be curious together, in words, and how many shares of noise that leaves; the words name every claim.

    Args:
        event: One release.
        sites: K, the fewest sites in any secure sum.
        releases: How many there are; without one nobody learns anything, whoever it is.

    Returns:
        From the fewest curious parties to the most. None where the noise is the site's own.

    Example:
        >>> event = JointGaussianSteps(noise_multiplier=20.0, honest=3, coordinates=100, steps=1)
        >>> [left for _, left in observers(event, 5, 30)]
        [5, 4, 3, 1]
    """
    if not (releases and isinstance(event, JointGaussianSteps)):
        return [(EVERYBODY, None)]
    return [
        ("the coordinator and outsiders", sites),
        ("the coordinator and one other hospital", sites - 1),
        (f"the coordinator and all hospitals but {event.honest} honest ones (the claim)", event.honest),
        (EVERYBODY, 1),
    ]
