"""Each site's own word on each attempt: the signed head of its reply, its charge, and the head of its ledger.

The coordinator writes the log, but it cannot write these: a head is signed by the site and names round, attempt, base
model, the body that it sealed and the receipt of what it charged.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator

from wardround.common.audit.case import Case
from wardround.common.audit.lines import Attempt, SiteWord
from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.errors import TrustError
from wardround.common.formats import canonical, digest
from wardround.common.privacy.events import DpEvent, encode
from wardround.common.trust.envelope import open_head
from wardround.common.trust.identity import PublicKey

_OWN = "each site signed what the log says of its updates and charges"
_TERMS = "what was executed is what the protocol says: mechanism, noise, rate and steps"
_LEDGER = "each site's ledger only grew from receipt to receipt"


class _Ring:
    """One key under one name."""

    def __init__(self, name: str, key: PublicKey) -> None:
        self._name, self._key = name, key

    def key(self, name: str) -> PublicKey:
        if name != self._name:
            raise TrustError(f"expected a message of {self._name!r}, found one of {name!r:.80}")
        return self._key


def check_words(case: Case) -> Iterator[Finding]:
    """Signatures of the sites, executed terms, and the order of ledger heads.

    Raises:
        TrustError: A line says something else than its kind.
    """
    yield from _own(case)
    yield _terms(case)
    yield from _ledgers(case)


def _own(case: Case) -> Iterator[Finding]:
    unsigned, signed = 0, Counter[tuple[str, PublicKey]]()
    for attempt in case.releases:
        for site, word in attempt.sites.items():
            if not word.charged:
                continue
            if not word.head:
                unsigned += 1
                continue
            signed[site, case.key_of(site, attempt.line)] += 1
            try:
                _check_head(case, attempt, site, word)
            except TrustError as error:
                where = f"{attempt.where}, {site}"
                yield refuted(_OWN, expected="the site's own signature", found=str(error), where=where)
                return
    if unsigned:
        yield refuted(_OWN, expected="a signed head beside each receipt", found=f"{unsigned} without")
    else:
        yield from _signed(case, signed)


def _signed(case: Case, signed: Counter[tuple[str, PublicKey]]) -> Iterator[Finding]:
    """Only under a key that the auditor brought is a signature known to be the site's own."""
    if own := sum(number for (site, key), number in signed.items() if case.keys.holds(site, key)):
        yield confirmed(_OWN, found=f"{own} signed heads")
    if others := {one: number for one, number in signed.items() if not case.keys.holds(*one)}:
        names = ", ".join(sorted(f"{site} (key {key.short})" for site, key in others))
        why = f"{sum(others.values())} heads fit keys that only the bundle names; you did not bring: {names}"
        yield not_checkable(_OWN, why=why)
    if not signed:
        yield not_checkable(_OWN, why="no site is said to have sent anything")


def _check_head(case: Case, attempt: Attempt, site: str, word: SiteWord) -> None:
    if case.protocol.private and not word.reply:
        raise TrustError("no digest of the whole reply, by which ledger and archive name it")
    head = open_head(
        word.head,
        _Ring(site, case.key_of(site, attempt.line)),
        study=case.protocol.study.name,
        protocol_digest=case.protocol.digest,
        run=case.run,
        round=attempt.round,
        attempt=attempt.attempt,
        sender=site,
        receiver=case.roster.coordinator,
        base_model=attempt.base_model,
    )
    if head.body_digest != word.body:
        raise TrustError("the site sealed another body than the log names")
    if head.header.receipt != receipt_digest(word):
        raise TrustError("the site sealed another receipt than the log shows")


def receipt_digest(word: SiteWord) -> str:
    """SHA-256 of the receipt that a line shows, as the site sealed it."""
    if word.event is None or word.ledger is None:
        raise TrustError("there is no receipt")
    seq, head = word.ledger
    return digest(canonical({"event": encode(word.event), "ledger_seq": seq, "ledger_head": head}))


def _terms(case: Case) -> Finding:
    for attempt in case.releases:
        agreed = case.protocol.event_of(attempt.round)
        for site, word in attempt.sites.items():
            if word.event is not None and word.event != agreed:
                where = f"{attempt.where}, {site}"
                return refuted(_TERMS, expected=shown(agreed), found=shown(word.event), where=where)
    return confirmed(_TERMS, found=f"{shown(case.protocol.event())} in each release of training")


def shown(event: DpEvent) -> str:
    """An event in one line.

    >>> from wardround.common.privacy.events import GaussianSteps
    >>> shown(GaussianSteps(noise_multiplier=6.0, sample_rate=1.0, steps=2))
    'gaussian-steps noise_multiplier 6.0 sample_rate 1.0 steps 2'
    """
    return " ".join(str(part) for pair in encode(event).items() for part in pair if part != "kind")


def _ledgers(case: Case) -> Iterator[Finding]:
    heads: dict[str, dict[int, str]] = defaultdict(dict)
    for attempt in case.releases:
        for site, word in attempt.sites.items():
            if word.ledger is None:
                continue
            seq, head = word.ledger
            last = next(reversed(heads[site]), -1)  # entries come in their order
            if seq <= last and heads[site].get(seq) != head:
                where = f"{attempt.where}, {site}"
                found = (
                    f"entry {seq} after entry {last}: the ledger was rolled back, or a charge was forgotten"
                )
                yield refuted(_LEDGER, expected=f"a newer entry than {last}", found=found, where=where)
                return
            heads[site][seq] = head
    if heads:
        yield confirmed(_LEDGER, found=f"{sum(map(len, heads.values()))} receipts of {len(heads)} sites")
