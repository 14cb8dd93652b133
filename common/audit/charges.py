"""How many releases a site was charged for in a study: what its ledger counts, or between which numbers it lies.

The coordinator writes which sites it asked. An attempt that it asked and left out of the log may have been charged all
the same, so the log alone gives no more than a lower number. A ledger that was handed over gives the number. Without
it the site's own signed words bound it from above:

    - its approval: rounds times attempts were reserved, and an attempt is charged once, in order;
    - the number of its ledger's newest entry in each receipt: a charge and its settlement are an entry each, so between
      two receipts no more attempts can have been charged than there are entries left.

Entries of other studies of the same patients stand in the same ledger. So a gap in the numbers shows no attempt; that
there is none shows that no attempt is missing between two receipts.

Assumes that the site's ledger keeps its own rules, as an auditor sees where it is handed over.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from wardround.common.audit.approvallines import approvals_in
from wardround.common.audit.case import Case
from wardround.common.audit.ledgers import check_receipts
from wardround.common.audit.ownledger import OwnLedger
from wardround.common.errors import WardroundError
from wardround.common.study.parts import disagreement, parts
from wardround.common.trust.ledgernames import Pool, key_of
from wardround.common.trust.ledgerstate import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a ledger says.

    Attributes:
        charges: Releases of this run that it charged and did not give back.
        final: Whether nothing can have come after: its head is there, and the study is closed in it.
        until: Its last entry, for reports.
    """

    charges: int
    final: bool
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """What bounds the releases of one site.

    Attributes:
        asked: Attempts of the log in which it was asked.
        receipts: Those for which it signed a receipt.
        most: It was charged for no more, by its own signed words; None where no approval of it holds.
        unexplained: Entries of its ledger between two receipts that no attempt of the log can have made.
        ledger: What its ledger says; None where it was not handed over, or does not fit its receipts.
    """

    asked: int
    receipts: int
    most: int | None
    unexplained: int
    ledger: Counted | None

    @property
    def between(self) -> tuple[int, float]:
        """The fewest and the most releases that it can have been charged for; infinite where nothing bounds them."""
        if self.ledger is not None:
            return self.ledger.charges, max(self.ledger.charges, self.asked)
        return self.asked, math.inf if self.most is None else max(self.asked, self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anchor:
    """A moment that is known of a ledger: after so many possible attempts, its newest entry had this number.

    `own` entries followed or belonged to it for certain: the settlement of a receipt.
    """

    place: int
    seq: int
    own: int = 0


def charged(case: Case) -> Mapping[str, int]:
    """Site -> releases that it signed receipts for."""
    return {
        site: sum(one.sites[site].charged for one in case.attempts if site in one.sites)
        for site in sites_of(case)
    }


def asked(case: Case) -> Mapping[str, int]:
    """Site -> attempts in which it was asked, and so may have been charged."""
    return {
        site: sum(one.sites[site].asked for one in case.attempts if site in one.sites)
        for site in sites_of(case)
    }


def sites_of(case: Case) -> Sequence[str]:
    """All sites that the log names, sorted."""
    return sorted({*case.roster.site_names, *(site for one in case.attempts for site in one.sites)})


def charges_of(case: Case) -> Mapping[str, Charges]:
    """Site -> what bounds its releases.

    Raises:
        TrustError: A line of the log says something else than its kind.
    """
    called, receipts, ledgers = asked(case), charged(case), _counted(case)
    reserved = _reserved(case)
    return {
        site: Charges(
            asked=called[site],
            receipts=receipts[site],
            most=_most(case, site, reserved[site]) if site in reserved else None,
            unexplained=_unexplained(case, site),
            ledger=ledgers.get(site),
        )
        for site in sites_of(case)
    }


def _counted(case: Case) -> Mapping[str, Counted]:
    """The ledgers that hold and that fit the receipts in the log; of others `check_ledgers` says what is wrong."""
    found: dict[str, Counted] = {}
    for ledger in case.ledgers():
        try:
            if case.protocol.private:
                check_receipts(case, ledger)
        except WardroundError:
            continue
        found[ledger.site] = _count(case, ledger)
    return found


def charges_in(case: Case, ledger: OwnLedger, pool: Pool) -> int:
    """Releases of this run that a ledger charged to a pool and did not give back.

    A torn line counts for the pool's lifetime, but nothing was released for it.
    """
    of_run = (one for one in _accounts(case, ledger, pool) if one.run == case.run)
    return sum(len(one.spends) - len(one.returns) for one in of_run)


def _accounts(case: Case, ledger: OwnLedger, pool: Pool) -> Sequence[Account]:
    """Those of this study, whatever run they are of."""
    study = case.protocol.study.name, case.protocol.digest, pool
    return [one for one in ledger.state.accounts if key_of(one.reserved.payload) == study]


def _count(case: Case, ledger: OwnLedger) -> Counted:
    accounts = _accounts(case, ledger, "training")
    still_open = any(one.closed is None for one in accounts if one.run in (case.run, None))
    # Then no later reservation is ever charged for this run.
    ended = any(one.ended for one in accounts if one.run == case.run)
    return Counted(
        charges=charges_in(case, ledger, "training"),
        final=ledger.whole and (ended or not still_open),
        until=f"entry {ledger.entries[-1].seq} of {ledger.entries[-1].time}",
    )


def _reserved(case: Case) -> Mapping[str, int]:
    """Site -> number of the first entry by which it reserved this study, of approvals that hold."""
    found: dict[str, int] = {}
    for one in approvals_in(case)[0]:
        if not disagreement(case.protocol, one.terms):
            found[one.site] = min(one.terms.ledger[0], found.get(one.site, one.terms.ledger[0]))
    return found


def _anchors(case: Case, site: str) -> Iterator[_Anchor]:
    """Where the receipts of a site stand, in the order of the log."""
    attempts = case.protocol.federation.attempts
    for one in case.attempts:
        word = one.sites.get(site)
        if word is not None and word.ledger is not None:
            yield _Anchor(place=(one.round - 1) * attempts + one.attempt, seq=word.ledger[0], own=1)


def _most(case: Case, site: str, reserved: int) -> int:
    """Receipts, and whatever can have been charged before, between and after them."""
    plan = case.protocol.federation
    if not case.protocol.trains(site):  # it reserved nothing for training
        return 0
    receipts = list(_anchors(case, site))
    beside = len(parts(case.protocol, site)) - 1  # the reservation of the evaluation follows at once
    anchors = [_Anchor(place=0, seq=reserved, own=beside), *receipts]
    between = sum(min(_places(one, two), _entries(one, two)) for one, two in pairwise(anchors))
    return len(receipts) + between + max(0, plan.rounds * plan.attempts - anchors[-1].place)


def _places(one: _Anchor, two: _Anchor) -> int:
    """Attempts that the protocol allows between two of them."""
    return max(0, two.place - one.place - 1)


def _entries(one: _Anchor, two: _Anchor) -> int:
    """Entries between two moments, without the settlement of the first and the charge of the second."""
    return max(0, two.seq - one.seq - 1 - one.own)


def _unexplained(case: Case, site: str) -> int:
    """Entries between receipts beyond a charge and its end for each attempt in which the site was asked."""
    found, waiting, before = 0, 0, None
    anchors = _anchors(case, site)
    for one in case.attempts:
        word = one.sites.get(site)
        if word is None or not word.asked:
            continue
        if not word.charged:
            waiting += 1
            continue
        now = next(anchors)
        if before is not None:
            found += max(0, _entries(before, now) - 2 * waiting)
        before, waiting = now, 0
    return found
