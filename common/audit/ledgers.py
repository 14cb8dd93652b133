"""A hospital's privacy ledger, where it handed one over, against the study's log: does each know what the other says?

The ledger is signed by the hospital and chained. Every receipt in the log names its length and last entry at that
moment, so a ledger that was shortened, rewritten or restored from an older copy does not fit. A charge that the log
does not know means that the log lost an attempt.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from wardround.common.audit.case import Case
from wardround.common.audit.lines import Attempt, SiteWord
from wardround.common.audit.ownledger import OwnLedger, ledger_files
from wardround.common.audit.recompute import recompute
from wardround.common.audit.verdicts import Finding, attested, confirmed, not_checkable, refuted
from wardround.common.errors import PrivacyError, TrustError, WardroundError
from wardround.common.privacy.events import DpEvent, encode
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import HELD_OUT, Moment, Pool, moment_of, pool_of, run_of
from wardround.common.trust.merkle import Tree

_CHAIN: Final = "the hospital's ledger is whole, signed by it, and keeps its own rules"
_AGREES: Final = "ledger and log know the same charges"
_WITNESS: Final = "the hospital remembers the same log"
_LIFETIME: Final = "what the patients have spent over their lifetime"


def check_ledgers(case: Case) -> Iterator[Finding]:
    """Every ledger that was handed over.

    Raises:
        TrustError: A line of the log says something else than its kind.
        StorageError: A file cannot be read.
    """
    handed: set[str] = set()
    for name in ledger_files(case.evidence):
        try:
            ledger = case.ledger(name)
        except WardroundError as error:
            yield refuted(_CHAIN, expected="a ledger of one of the sites", found=str(error), where=name)
            continue
        handed.add(ledger.site)
        key = case.roster.sites[ledger.site]
        chain = confirmed(_CHAIN, found=f"{len(ledger.entries)} entries", where=ledger.site)
        yield case.keys.vouched(chain, ledger.site, key)
        yield _agrees(case, ledger)
        yield case.keys.vouched(_witness(case, ledger), ledger.site, key)
        yield _lifetime(ledger, "training", case.protocol.privacy.delta)
        if ledger.spent(HELD_OUT):
            yield _lifetime(ledger, HELD_OUT, case.protocol.privacy.delta)
    for site in sorted(set(case.roster.site_names) - handed):
        yield not_checkable(_AGREES, why="the hospital handed over no ledger", where=site)


def _agrees(case: Case, ledger: OwnLedger) -> Finding:
    if not case.protocol.private:
        return not_checkable(
            _AGREES, why="without privacy rounds are not charged one by one", where=ledger.site
        )
    try:
        known = _check_charges(case, ledger)
    except TrustError as error:
        expected = "the same charges in both"
        return refuted(_AGREES, expected=expected, found=str(error), where=ledger.site)
    return _holds(ledger, _AGREES, f"{known} charges of this study")


def _holds(ledger: OwnLedger, claim: str, found: str) -> Finding:
    """Confirmed of a ledger with its head; of a copy without, what came later is the hospital's word."""
    if ledger.whole:
        return confirmed(claim, found=found, where=ledger.site)
    last = ledger.entries[-1]
    return attested(claim, found=f"{found}, up to entry {last.seq} of {last.time}", where=ledger.site)


def check_receipts(case: Case, ledger: OwnLedger) -> None:
    """Every receipt in the log against the ledger.

    Raises:
        TrustError: The ledger is not the one that a receipt was given from.
    """
    spends = _of_study(case, ledger, "spend")
    settles = _of_study(case, ledger, "settle")
    for one in case.releases:
        word = one.sites.get(ledger.site)
        if word is not None and word.charged:
            moment = one.round, one.attempt
            _check_receipt(one, word, ledger, spends.get(moment), settles.get(moment))


def _check_charges(case: Case, ledger: OwnLedger) -> int:
    """Every receipt against the ledger, and every charge against the log; how many charges there are."""
    check_receipts(case, ledger)
    spends = _of_study(case, ledger, "spend")
    told = {(one.round, one.attempt): one for one in case.releases}
    for moment, entry in spends.items():
        if (pool_of(entry.payload) == HELD_OUT) != case.protocol.evaluates(moment[0]):
            raise TrustError(f"the ledger charged round {moment[0]} to the wrong patients")
    for round_, attempt in spends:
        if (round_, attempt) not in told:
            raise TrustError(
                f"the ledger charged round {round_} attempt {attempt}, which the log does not have"
            )
        if not told[round_, attempt].sites.get(ledger.site, SiteWord(refused="not asked")).asked:
            raise TrustError(
                f"the ledger charged {told[round_, attempt].where}, in which the log says it was not asked"
            )
    return len(spends)


def _of_study(case: Case, ledger: OwnLedger, kind: str) -> Mapping[Moment, Entry]:
    """Entries of the run that the log is about; the same study may have been run before."""
    found: dict[Moment, Entry] = {}
    run = ""
    for entry in ledger.entries:
        if entry.payload.get("protocol") != case.protocol.digest:
            continue
        if entry.kind == "spend":
            run = run_of(entry.payload)
        if entry.kind == kind and run == case.run:
            found[moment_of(entry.payload)] = entry
    return found


def _check_receipt(
    one: Attempt, word: SiteWord, ledger: OwnLedger, spend: Entry | None, settle: Entry | None
) -> None:
    if spend is None or spend.payload["base_model"] != one.base_model:
        raise TrustError(f"{one.where}: the ledger has no charge for it that starts from this model")
    if settle is None or settle.payload["update"] != word.reply:
        raise TrustError(f"{one.where}: the ledger released other bytes than the log names, or none")
    number, head = word.ledger or (0, "")
    if not number < len(ledger.entries) or ledger.entries[number].hash != head:
        raise TrustError(f"{one.where}: entry {number} of the ledger is not the one that the receipt names")
    if number < spend.seq:
        raise TrustError(f"{one.where}: the receipt was given before the charge")


def _witness(case: Case, ledger: OwnLedger) -> Finding:
    """Every log that the ledger's entries remember to have cosigned under this run; another run has another log."""
    tree, key = Tree(entry.line for entry in case.entries), (case.protocol.study.name, case.protocol.digest)
    remembered = ledger.state.logs(*key).get(case.run, ())
    for seen in remembered:
        if seen.size > tree.size or tree.root(seen.size) != seen.root:
            found = f"another log of {seen.size} lines"
            expected = f"these {tree.size} lines or their beginning"
            return refuted(_WITNESS, expected=expected, found=found, where=ledger.site)
    if not remembered:
        return not_checkable(_WITNESS, why="the ledger remembers no log of this run", where=ledger.site)
    return confirmed(_WITNESS, found=f"{remembered[-1].size} lines", where=ledger.site)


def _lifetime(ledger: OwnLedger, pool: Pool, delta: float) -> Finding:
    whose = f"pool {ledger.pool!r}" + (", held out" if pool == HELD_OUT else "")
    claim = f"{_LIFETIME} ({whose}) follows from the ledger"
    spent = ledger.spent(pool)
    try:
        shown = lifetime(spent, delta)
    except PrivacyError as error:
        return not_checkable(claim, why=str(error), where=ledger.site)
    return _holds(ledger, claim, f"{shown} at delta {delta:g}")


def lifetime(events: list[DpEvent], delta: float) -> str:
    """Epsilon of all charges in words, both relations and, with joint noise, both accounts.

    Raises:
        PrivacyError: It cannot be computed.
    """
    joint = any(encode(event)["kind"] == "joint-gaussian-steps" for event in events)
    parts = []
    for left in (None, 1) if joint else (None,):
        added = recompute(events, delta, left=left).epsilon
        replaced = recompute(events, delta, "replace-one", left=left).epsilon
        against = " against everybody else" if left else ""
        parts.append(f"epsilon {added:.3f} (replace one: {replaced:.3f}){against}")
    return "; ".join(parts)
