"""Approvals: did each site sign that it takes part, on these terms, before anything was asked of it?

An approval is a statement that the site signed; the coordinator writes it into the log as it came and cannot invent
one. It holds what is public: protocol, roster, price of a release, releases reserved, delta, head of the ledger after
the reservation, and the digest of the installed code. Caps and numbers of patients are never in it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from wardround.common.audit.case import Case
from wardround.common.audit.evidence import APPROVALS
from wardround.common.audit.ledgers import OwnLedger, ledger_files, open_ledger
from wardround.common.audit.lines import base64_of, text_in
from wardround.common.audit.verdicts import Finding, attested, confirmed, not_checkable, refuted
from wardround.common.audit.words import shown
from wardround.common.errors import TrustError, WardroundError
from wardround.common.privacy.events import DpEvent, decode
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.signed import is_count, is_digest
from wardround.common.trust.statement import APPROVAL, read_statement
from wardround.common.trust.studylog import LogEntry

_BEFORE: Final = "each site had approved the study before it took part in a round"
_TERMS: Final = "each site approved the terms that the protocol states"
_RESERVED: Final = "no site was charged more than it approved"
_LEDGER: Final = "the reservation that a site approved stands in its ledger"
_HANDED: Final = "the approval that the hospital itself handed over is the one in the log"
_CODE: Final = "the site runs the code that its approval names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a site signed.

    Attributes:
        line: Where it stands in the log.
        site: Who signed.
        protocol, roster: Digests.
        event: Price of one release.
        releases: Reserved: rounds times attempts.
        delta: As text.
        ledger: Number, from 0, and digest of the entry that reserved.
        by: `person`, or `simulation`.
        code, package: Digest and version of the installed code, as the site says.
    """

    line: int
    site: str
    protocol: str
    roster: str
    event: DpEvent
    releases: int
    delta: str
    ledger: tuple[int, str]
    by: str
    code: str
    package: str


def check_approvals(case: Case) -> Iterator[Finding]:
    """Every approval, and that none is missing.

    Raises:
        TrustError: A line of the log says something else than its kind.
    """
    approvals = [_approval(case, entry) for entry in case.of_kind(APPROVAL)]
    yield _before(case, approvals)
    if approvals:
        yield _terms(case, approvals)
        yield _reserved(case, approvals)
        yield from _ledgers(case, approvals)
        yield from _code(approvals)
    yield from _handed_over(case, approvals)


def _handed_over(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    """Approvals that hospitals handed over themselves must be those of the log."""
    said = {_core(one) for one in approvals}
    for name in case.evidence.below(APPROVALS):
        data, mine = case.evidence.need(name), None
        for site, key in case.roster.sites.items():
            with contextlib.suppress(TrustError):
                mine = _read(data, site, key, 0) or mine
        if mine is None or _core(mine) not in said:
            found = "another one" if mine else "no site's approval"
            yield refuted(_HANDED, expected="an approval that stands in the log", found=found, where=name)
        else:
            yield confirmed(_HANDED, where=mine.site)


def _core(one: Approval) -> tuple[object, ...]:
    """What an approval is about; code may have changed since, and a later run has a reservation of its own."""
    return one.site, one.protocol, one.event, one.releases, one.delta


def _approval(case: Case, entry: LogEntry) -> Approval:
    site, line = text_in(entry, "site"), entry.seq + 1
    data = base64_of(entry.data.get("statement"), entry)
    found = _read(data, site, case.key_of(site, line), line)
    if found is None:
        raise TrustError(f"line {line}: the approval does not say what an approval says")
    return found


def _read(data: bytes, site: str, key: PublicKey, line: int) -> Approval | None:
    """A site's signed approval; None if it says something else.

    Raises:
        TrustError: The site did not sign it.
    """
    match read_statement(data, kind=APPROVAL, signer=key, where=f"line {line}").fields:
        case {
            "site": str(said),
            "protocol": protocol,
            "roster": roster,
            "event": dict(event),
            "releases": int(releases),
            "delta": str(delta),
            "ledger": {"seq": int(seq), "hash": head},
            "by": str(by),
            "code": str(code),
            "package": str(package),
        } if said == site and all(map(is_digest, (protocol, roster, head))) and is_count(releases):
            return Approval(
                line=line,
                site=site,
                protocol=str(protocol),
                roster=str(roster),
                event=_event(event, line),
                releases=releases,
                delta=delta,
                ledger=(seq, str(head)),
                by=by,
                code=code,
                package=package,
            )
    return None


def _event(found: Mapping[str, object], line: int) -> DpEvent:
    try:
        return decode(found)
    except (WardroundError, ValueError):
        raise TrustError(f"line {line}: the approval is about a release that cannot be") from None


def _before(case: Case, approvals: list[Approval]) -> Finding:
    rosters = {roster.digest for roster in case.named.values()}
    if strange := [one for one in approvals if one.roster not in rosters]:
        where = f"line {strange[0].line}, {strange[0].site}"
        found = f"roster {strange[0].roster[:16]}"
        return refuted(_BEFORE, expected="approvals of a roster in the log", found=found, where=where)
    first: dict[str, int] = {}
    for approval in approvals:
        first.setdefault(approval.site, approval.line)
    for one in case.attempts:
        late = [s for s, w in one.sites.items() if w.charged and first.get(s, one.line) >= one.line]
        if late:
            where = f"{one.where}, {late[0]}"
            return refuted(_BEFORE, expected="an approval signed by the site", found="none", where=where)
    persons = sorted({a.site for a in approvals if a.by == "person"})
    how = f"by a person at {', '.join(persons)}" if persons else "in a simulation"
    return confirmed(_BEFORE, found=f"{len(approvals)} approvals, {how}")


def _terms(case: Case, approvals: list[Approval]) -> Finding:
    protocol, terms = case.protocol, case.protocol.federation
    most = terms.rounds * terms.attempts
    agreed = (protocol.digest, protocol.event(), most)
    for one in approvals:
        try:
            same = float(one.delta) == protocol.privacy.delta
        except ValueError:
            same = False
        if (one.protocol, one.event, one.releases) != agreed or not same:
            found = f"protocol {one.protocol[:16]}, {shown(one.event)}, {one.releases} releases, delta {one.delta}"
            expected = f"protocol {protocol.digest[:16]}, {shown(protocol.event())}, {most} releases"
            return refuted(_TERMS, expected=expected, found=found, where=f"line {one.line}, {one.site}")
    return confirmed(
        _TERMS, found=f"{shown(protocol.event())}, {most} releases, delta {protocol.privacy.delta:g}"
    )


def _reserved(case: Case, approvals: list[Approval]) -> Finding:
    for site in sorted({one.site for one in approvals}):
        most = max(one.releases for one in approvals if one.site == site)
        found = sum(one.sites[site].charged for one in case.attempts if site in one.sites)
        if found > most:
            return refuted(_RESERVED, expected=f"at most {most}", found=f"{found} charges", where=site)
    return confirmed(_RESERVED)


def _ledgers(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    for name in ledger_files(case.evidence):
        try:
            ledger = open_ledger(case.evidence, name, case.roster.sites)
        except WardroundError:
            continue  # `check_ledgers` says so
        for one in approvals:
            if one.site == ledger.site:
                yield _reservation(ledger, one)


def _reservation(ledger: OwnLedger, one: Approval) -> Finding:
    seq, head = one.ledger
    entry = ledger.entries[seq] if 0 <= seq < len(ledger.entries) else None
    if entry is None or entry.hash != head:
        return refuted(_LEDGER, expected=f"entry {seq} as approved", found="another or none", where=one.site)
    said = (entry.kind, entry.payload.get("protocol"), entry.payload.get("releases"))
    if said != ("reserve", one.protocol, one.releases):
        return refuted(_LEDGER, expected="a reservation", found=f"{entry.kind} entry", where=one.site)
    return confirmed(_LEDGER, found=f"entry {seq}", where=one.site)


def _code(approvals: list[Approval]) -> Iterator[Finding]:
    from wardround.common.code import package_digest

    own = package_digest()
    for one in approvals:
        if not is_digest(one.code):
            yield not_checkable(_CODE, why="no digest of code", where=one.site)
            continue
        same = "the code that runs here" if one.code == own else "another code than runs here"
        yield attested(_CODE, found=f"{one.package}, {one.code[:16]}: {same}", where=one.site)
