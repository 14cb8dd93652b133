"""The privacy claim of a study in words and numbers, for somebody who must decide on it.

The order is that of the privacy pyramid of NIST SP 800-226 (2025): first what is promised (unit, relation, epsilon,
delta), then what has to hold for it (mechanism, trust, code), then what it does not cover (exposure of the data
itself). Every epsilon here is recomputed, none is taken from the bundle.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from wardround.common.audit.case import Case
from wardround.common.audit.charges import charges_of
from wardround.common.audit.recompute import recompute
from wardround.common.learning.study import quorum_of, training_sites
from wardround.common.privacy.coalitions import observers
from wardround.common.privacy.events import DpEvent, times
from wardround.common.study.protocol import StudyProtocol

_MECHANISMS: Final = {
    "none": "none: whoever sees an update or the model may learn about single patients",
    "site-noise": "Gaussian noise at each hospital, on sums of clipped per-patient gradients; each update alone "
    "carries the whole guarantee (local to the hospital)",
    "joint-noise": "integer Gaussian noise in shares, on sums of clipped per-patient gradients inside a secure sum; "
    "only the sum over hospitals is opened (distributed)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonRow:
    """What one site's patients lose against one observer.

    Attributes:
        site: Its name.
        releases: How many are counted: the attempts in which it was asked.
        receipts: For how many of them it signed a charge.
        against: Who is curious together.
        added: Epsilon, add or remove one patient.
        replaced: Epsilon, replace one patient by another.
        most_releases: How many its ledger, or without one its own signed words, leave possible; infinite where no word
            of it holds.
        most: Epsilon of so many, add or remove one patient.
    """

    site: str
    releases: int
    receipts: int
    against: str
    added: float
    replaced: float
    most_releases: float
    most: float

    @property
    def beyond(self) -> str:
        """In words, what the log may have left out; empty if nothing can be."""
        if self.most_releases <= self.releases:
            return ""
        if math.isinf(self.most_releases):
            return "more if the log left out attempts: nothing the site signed bounds them"
        return f"up to {self.most:.3f} if the log left out attempts ({self.most_releases} releases)"


def epsilon_rows(case: Case) -> list[EpsilonRow]:
    """Recompute the study's epsilon for every site and observer.

    Raises:
        PrivacyError: It cannot be computed.
        TrustError: A line of the log says something else than its kind.
    """
    event, delta = case.protocol.event(), case.protocol.privacy.delta
    fewest = quorum_of(case.protocol, len(training_sites(case.protocol, case.roster.site_names)))
    return [
        EpsilonRow(
            site=site,
            releases=one.asked,
            receipts=one.receipts,
            against=words,
            added=recompute(times(event, one.asked), delta, left=left).epsilon,
            replaced=recompute(times(event, one.asked), delta, "replace-one", left=left).epsilon,
            most_releases=one.between[1],
            most=_most(event, one.between[1], delta, left),
        )
        for site, one in charges_of(case).items()
        for words, left in observers(event, fewest, one.asked)
    ]


def _most(event: DpEvent, releases: float, delta: float, left: int | None) -> float:
    return (
        math.inf if math.isinf(releases) else recompute(times(event, int(releases)), delta, left=left).epsilon
    )


def promised(protocol: StudyProtocol) -> Sequence[tuple[str, str]]:
    """What is promised: a name and its words, in the order of the pyramid."""
    terms = protocol.privacy
    steps = protocol.federation.local_steps
    noise = [
        ("noise multiplier", f"{terms.noise_multiplier:g}, over a clipping norm of {terms.clipping_norm:g}"),
        ("sampling", "full batch" if terms.sample_rate == 1 else f"Poisson, rate {terms.sample_rate:g}"),
        ("releases", f"{protocol.federation.rounds} rounds, noisy steps in each: {steps}; at most "
         f"{protocol.federation.attempts} attempts per round"),
    ]  # fmt: skip
    return [
        ("privacy unit", "one patient, with all rows and samples at that hospital"),
        ("neighbours", "tables with one patient more or fewer; replacing one is shown beside it"),
        ("delta", f"{terms.delta:g}"),
        ("mechanism", _MECHANISMS[terms.mechanism]),
        *(noise if protocol.private else []),
        ("scope", "the releases of this study; a patient pool's lifetime is in the hospital's ledger"),
    ]


def assumptions(protocol: StudyProtocol) -> Iterator[str]:
    """What has to hold for the numbers, and no file can show."""
    if protocol.joint:
        h = protocol.privacy.honest_sites
        yield f"At least {h} hospitals of each sum neither collude nor leave out their share of the noise."
        yield "Each hospital accepted its peers' keys after people compared them."
    elif protocol.private:
        yield "Nothing: neither the coordinator nor another hospital is trusted with the noise."
    if protocol.private:
        yield "Each hospital ran the reviewed code: it clipped, and drew its noise from the operating system."
        yield "No constant of the protocol was taken from, or tuned on, the patients of the study."
    if protocol.drafted:
        yield "This does not hold here: constants were drafted from the study's own table. It is not private."
    yield "One person is one patient identifier, at one hospital; losses at several hospitals add up."


NOT_COVERED: Final = (
    "that a hospital takes part, when it answers, and that its patients were eligible",
    "properties of a cohort as a whole",
    "harmful updates of a member within the allowed range",
    "anything released outside the framework, and whoever can read a hospital's own machine",
)
"""What no epsilon here speaks of."""
