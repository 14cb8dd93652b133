"""The privacy claim of a study in words and numbers, for somebody who must decide on it.

The order is that of the privacy pyramid of NIST SP 800-226 (2025): first what is promised (unit, relation, epsilon,
delta), then what has to hold for it (mechanism, trust, code), then what it does not cover (exposure of the data
itself). Every epsilon here is recomputed, none is taken from the bundle.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from wardround.common.audit.case import Case
from wardround.common.audit.charges import charges_of
from wardround.common.audit.evaluationcost import tables_of
from wardround.common.audit.recompute import recompute
from wardround.common.learning.study import quorum_of, training_sites
from wardround.common.privacy.coalitions import observers
from wardround.common.privacy.events import DpEvent, times
from wardround.common.study.evaluation import EvaluationTerms
from wardround.common.study.protocol import StudyProtocol

_MECHANISMS: Final = {
    "none": "none: whoever sees an update or the model may learn about single patients",
    "site-noise": "Gaussian noise at each hospital, on sums of clipped per-patient gradients; each update alone "
    "carries the whole guarantee (local to the hospital)",
    "joint-noise": "integer Gaussian noise in shares, on sums of clipped per-patient gradients inside a secure sum; "
    "only the sum over hospitals is opened (distributed)",
}

_OF_TABLES: Final = {
    "site-noise": "Gaussian noise at each hospital, in every cell of one table of its held-out patients; each table "
    "alone carries the whole guarantee (local to the hospital)",
    "joint-noise": "integer Gaussian noise in shares, in every cell of one table of held-out patients inside a secure "
    "sum; only the sum over hospitals is opened (distributed)",
}
"""Of a study that trains nothing."""


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
    patients: str
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
    return [*_training(case), *_held_out(case)]


def _training(case: Case) -> Iterator[EpsilonRow]:
    """Of those who train; nobody where a released model is monitored."""
    protocol = case.protocol
    if protocol.monitoring is not None:
        return
    fewest = quorum_of(protocol, len(training_sites(protocol, case.roster.site_names)))
    for site, one in charges_of(case).items():
        count = _Count(asked=one.asked, receipts=one.receipts, most=one.between[1])
        yield from _rows(site, "training", count, protocol.event(), protocol.privacy.delta, fewest)


def _held_out(case: Case) -> Iterator[EpsilonRow]:
    """Of those who are held out, where the study evaluates on them."""
    protocol, ledgers = case.protocol, {ledger.site: ledger for ledger in case.ledgers()}
    if protocol.evaluation is None:
        return
    delta, names = protocol.evaluation.delta, case.roster.site_names
    patients = "held out" if delta == protocol.privacy.delta else f"held out, at delta {delta:g}"
    for site in names:
        asked, low, high = tables_of(case, site, ledgers.get(site))
        signed = sum(one.sites[site].charged for one in case.evaluations if site in one.sites)
        count = _Count(asked=asked, receipts=signed, most=max(low, high))
        event = protocol.event_of(protocol.federation.rounds + 1)
        yield from _rows(site, patients, count, event, delta, quorum_of(protocol, len(names)))


class _Count(NamedTuple):
    """Releases: those of the log, those signed for, and how many there can have been."""

    asked: int
    receipts: int
    most: float


def _rows(
    site: str, patients: str, count: _Count, event: DpEvent, delta: float, fewest: int
) -> Iterator[EpsilonRow]:
    for words, left in observers(event, fewest, count.asked):
        yield EpsilonRow(
            site=site,
            patients=patients,
            releases=count.asked,
            receipts=count.receipts,
            against=words,
            added=recompute(times(event, count.asked), delta, left=left).epsilon,
            replaced=recompute(times(event, count.asked), delta, "replace-one", left=left).epsilon,
            most_releases=count.most,
            most=_most(event, count.most, delta, left),
        )


def _most(event: DpEvent, releases: float, delta: float, left: int | None) -> float:
    return (
        math.inf if math.isinf(releases) else recompute(times(event, int(releases)), delta, left=left).epsilon
    )


def promised(protocol: StudyProtocol) -> Sequence[tuple[str, str]]:
    """What is promised: a name and its words, in the order of the pyramid."""
    terms = protocol.privacy
    mechanisms = _MECHANISMS if protocol.monitoring is None else _OF_TABLES
    return [
        ("privacy unit", "one patient, with all rows and samples at that hospital"),
        ("neighbours", "tables with one patient more or fewer; replacing one is shown beside it"),
        ("delta", f"{terms.delta:g}"),
        ("mechanism", mechanisms[terms.mechanism]),
        *(_noise(protocol) if protocol.private and protocol.monitoring is None else []),
        *(_evaluation(protocol, protocol.evaluation) if protocol.evaluation else []),
        ("scope", "the releases of this study; a patient pool's lifetime is in the hospital's ledger"),
    ]


def _noise(protocol: StudyProtocol) -> Sequence[tuple[str, str]]:
    terms, plan = protocol.privacy, protocol.federation
    return [
        ("noise multiplier", f"{terms.noise_multiplier:g}, over a clipping norm of {terms.clipping_norm:g}"),
        ("sampling", "full batch" if terms.sample_rate == 1 else f"Poisson, rate {terms.sample_rate:g}"),
        ("releases", f"{plan.rounds} rounds, noisy steps in each: {plan.local_steps}; at most "
         f"{plan.attempts} attempts per round"),
    ]  # fmt: skip


def _evaluation(protocol: StudyProtocol, terms: EvaluationTerms) -> Sequence[tuple[str, str]]:
    noise = protocol.privacy_of(protocol.federation.rounds + 1).noise_multiplier
    words = (
        f"one table of held-out patients, {protocol.table_cells} cells, noise multiplier {noise:.4g}, delta "
        f"{terms.delta:g}; at most {terms.attempts} attempts"
    )
    return [("evaluation", words)]


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
