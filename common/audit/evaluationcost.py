"""What the evaluation cost a site's held-out patients, recomputed, against what is claimed.

As for training, the log alone gives no more than a lower number of tables: an attempt that the coordinator left out may
have been charged too. A ledger that was handed over counts them; without it their number lies between the attempts of
the log and those that the site approved.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wardround.common.audit.case import Case
from wardround.common.audit.charges import charges_in
from wardround.common.audit.evidence import RESULTS
from wardround.common.audit.ownledger import OwnLedger
from wardround.common.audit.recompute import fits
from wardround.common.audit.spending import epsilons
from wardround.common.audit.verdicts import Finding, attested, confirmed, not_checkable, refuted
from wardround.common.errors import StorageError
from wardround.common.learning.study import quorum_of
from wardround.common.trust.ledgernames import HELD_OUT

_COST: Final = "the stated epsilon of the evaluation is that of its tables"


def check_costs(case: Case, claim: Mapping[str, Any]) -> Iterator[Finding]:
    """One finding for each site.

    Args:
        case: The study.
        claim: What `results.json` says of the evaluation.

    Raises:
        StorageError: The claim names no sites.
    """
    try:
        stated = {str(site["site"]): dict(site["epsilon"]) for site in claim["sites"]}
    except (KeyError, TypeError, ValueError):
        raise StorageError(f"expected the sites of the evaluation in {RESULTS}") from None
    ledgers = {ledger.site: ledger for ledger in case.ledgers()}
    for site in case.roster.site_names:
        yield _cost(case, site, stated.get(site, {}), ledgers.get(site))


def tables_of(case: Case, site: str, ledger: OwnLedger | None) -> tuple[int, int, int]:
    """How many tables of a site's held-out patients are known of.

    Returns:
        Attempts of the log in which it was asked, and the fewest and the most for which it can have been charged: by
        its ledger, or without one by the protocol.
    """
    asked = sum(one.sites[site].asked for one in case.evaluations if site in one.sites)
    most = case.protocol.attempts_of(case.protocol.federation.rounds + 1)
    return (asked, asked, most) if ledger is None else (asked, charges_in(case, ledger, HELD_OUT), asked)


def _cost(case: Case, site: str, stated: Mapping[str, Any], ledger: OwnLedger | None) -> Finding:
    asked, low, high = tables_of(case, site, ledger)
    least, told, said = (_epsilons(case, tables) for tables in (low, max(low, high), asked))
    shown = "; ".join(f"{value:.4f} against {words}" for words, value in said.items())
    fine = stated.keys() == said.keys() and all(
        isinstance(value, int | float) and fits(float(value), least.get(words, 0.0), told[words])
        for words, value in stated.items()
    )
    if not fine:
        return refuted(_COST, expected=shown, found=f"{stated}"[:120], where=site)
    if ledger is None:
        why = f"at least {low} tables, at most {high} by its approval; it handed over no ledger: {shown}"
        return (
            confirmed(_COST, found=shown, where=site)
            if low == high
            else not_checkable(_COST, why=why, where=site)
        )
    found = f"{low} tables by its ledger: {shown}"
    return (
        confirmed(_COST, found=found, where=site)
        if ledger.whole
        else attested(_COST, found=found, where=site)
    )


def _epsilons(case: Case, tables: int) -> Mapping[str, float]:
    """Coalition -> epsilon of so many tables at the evaluation's delta."""
    protocol, last = case.protocol, case.protocol.federation.rounds + 1
    fewest = quorum_of(protocol, len(case.roster.site_names))
    return epsilons(protocol.event_of(last), tables, protocol.privacy_of(last).delta, fewest)
