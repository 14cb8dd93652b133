"""What a study sets aside at one site: for the patients who train, and for those who are held out and evaluate."""

from dataclasses import dataclass

from wardround.common.privacy.events import DpEvent, encode
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.approved import ApprovedPrice, ApprovedTerms
from wardround.common.trust.ledger import Ledger
from wardround.common.trust.ledgernames import HELD_OUT, Pool, of_pool
from wardround.common.trust.ledgerpools import Charge


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One reservation.

    Attributes:
        pool: Whose account it is.
        event: What one release costs.
        releases: How many are set aside: every attempt.
        delta: At which the study states what they cost.
        share: The share of patients that the study holds out at this site.
    """

    pool: Pool
    event: DpEvent
    releases: int
    delta: float
    share: float

    def charge(self) -> Charge:
        """The whole reservation."""
        return Charge(pool=self.pool, share=self.share, event=self.event, releases=self.releases)

    def reserved(self, protocol: StudyProtocol) -> dict[str, object]:
        """What the ledger's entry says that sets it aside."""
        share = {"held_out": repr(float(self.share))} if self.share else {}
        named = {"study": protocol.study.name, "protocol": protocol.digest} | of_pool(self.pool)
        return named | {"event": encode(self.event), "releases": self.releases} | share

    def account(self, ledger: Ledger) -> Ledger:
        """Its account in the site's ledger."""
        return ledger.held_out if self.pool == HELD_OUT else ledger


def main_account(protocol: StudyProtocol, site: str, ledger: Ledger) -> Ledger:
    """The account that says whether a study is open at a site: that of training, if it trains."""
    return parts(protocol, site)[0].account(ledger)


def parts(protocol: StudyProtocol, site: str) -> tuple[Part, ...]:
    """What a site sets aside, that of training first; where nobody trains, that of the evaluation alone."""
    terms, share = protocol.federation, protocol.cohort.test_fraction
    found: list[Part] = []
    if protocol.trains(site):
        releases = terms.rounds * terms.attempts
        found.append(
            Part(
                pool="training",
                event=protocol.event(),
                releases=releases,
                delta=protocol.privacy.delta,
                share=share,
            )
        )
    if protocol.evaluation is not None:
        found.append(
            Part(
                pool=HELD_OUT,
                event=protocol.event_of(terms.rounds + 1),
                releases=protocol.evaluation.attempts,
                delta=protocol.evaluation.delta,
                share=1.0 if site in protocol.external_sites else share,
            )
        )
    return tuple(found)


def disagreement(protocol: StudyProtocol, approved: ApprovedTerms) -> str:
    """The first of a study's terms that a site approved otherwise, by name; empty where it approved exactly these."""
    first, *rest = parts(protocol, approved.site)
    evaluation = approved.evaluation and _price(approved.evaluation)
    compared = {
        "study": (approved.study, protocol.study.name),
        "protocol": (approved.protocol, protocol.digest),
        "event": (approved.event, first.event),
        "releases": (approved.releases, first.releases),
        "delta": (approved.delta, first.delta),
        "evaluation": (evaluation, _price(rest[0]) if rest else None),
    }
    return next((name for name, (said, stated) in compared.items() if said != stated), "")


def _price(terms: Part | ApprovedPrice) -> tuple[DpEvent, int, float]:
    return terms.event, terms.releases, terms.delta
