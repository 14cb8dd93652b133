"""What the evaluation cost a site's held-out patients, recomputed, against what is claimed.

As for training, the log alone gives no more than a lower number of tables: an attempt that the coordinator left out may
have been charged too. A ledger that was handed over counts them; without it their number lies between the attempts of
the log and those that the site approved.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wardround.common.audit.case import Case
from wardround.common.audit.evidence import RESULTS
from wardround.common.audit.ledgers import OwnLedger, ledger_files, open_ledger
from wardround.common.audit.recompute import fits, recompute
from wardround.common.audit.verdicts import Finding, attested, confirmed, not_checkable, refuted
from wardround.common.errors import StorageError, WardroundError
from wardround.common.learning.study import quorum_of
from wardround.common.privacy.coalitions import observers
from wardround.common.privacy.events import times
from wardround.common.trust.ledgernames import HELD_OUT, key_of

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
    ledgers = dict(_ledgers(case))
    for site in case.roster.site_names:
        yield _cost(case, site, stated.get(site, {}), ledgers.get(site))


def _cost(case: Case, site: str, stated: Mapping[str, Any], ledger: OwnLedger | None) -> Finding:
    asked = sum(one.sites[site].asked for one in case.evaluations if site in one.sites)
    most = case.protocol.attempts_of(case.protocol.federation.rounds + 1)
    low, high = (asked, most) if ledger is None else (_charges(case, ledger), asked)
    least, told = _epsilons(case, low), _epsilons(case, max(low, high))
    shown = "; ".join(f"{value:.4f} against {words}" for words, value in _epsilons(case, asked).items())
    fine = stated.keys() == _epsilons(case, asked).keys() and all(
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
    event, delta = protocol.event_of(last), protocol.privacy_of(last).delta
    fewest = quorum_of(protocol, len(case.roster.site_names))
    return {
        words: recompute(times(event, tables), delta, left=left).epsilon
        for words, left in observers(event, fewest, tables)
    }


def _ledgers(case: Case) -> Iterator[tuple[str, OwnLedger]]:
    for name in ledger_files(case.evidence):
        try:
            ledger = open_ledger(case.evidence, name, case.roster.sites)
        except WardroundError:
            continue  # `check_ledgers` says so
        yield ledger.site, ledger


def _charges(case: Case, ledger: OwnLedger) -> int:
    """Tables of this run that the ledger charged and did not give back."""
    study = case.protocol.study.name, case.protocol.digest, HELD_OUT
    of_run = [
        one for one in ledger.state.accounts if key_of(one.reserved.payload) == study and one.run == case.run
    ]
    return sum(len(one.spends) - len(one.returns) for one in of_run)
