"""Approvals: did each site sign that it takes part, on these terms, before anything was asked of it?

An approval is a statement that the site signed; the coordinator writes it into the log as it came and cannot invent
one. It holds what is public: protocol, roster, price of a release, releases reserved, delta, head of the ledger after
the reservation, and the digest of the installed code. Caps and numbers of patients are never in it.

Each approval is judged on its own: one that a hospital made up refutes that hospital's, and nobody else's.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from wardround.common.audit.approvallines import Approval, approvals_in
from wardround.common.audit.case import Case
from wardround.common.audit.evidence import APPROVALS
from wardround.common.audit.ownledger import OwnLedger
from wardround.common.audit.verdicts import Finding, attested, confirmed, not_checkable, refuted
from wardround.common.audit.words import shown
from wardround.common.errors import WardroundError
from wardround.common.study.parts import Part, disagreement, parts
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.approved import ApprovedTerms, read_approved
from wardround.common.trust.ledgernames import HELD_OUT

_BEFORE: Final = "each site had approved the study before it took part in a round"
_TERMS: Final = "each site approved the terms that the protocol states"
_ONE: Final = "a site's approvals agree about its ledger, and its charges came after what it reserved"
_RESERVED: Final = "no site was charged more than it approved"
_LEDGER: Final = "the reservation that a site approved stands in its ledger"
_HANDED: Final = "the approval that the hospital itself handed over is the one in the log"
_CODE: Final = "the site runs the code that its approval names"


def check_approvals(case: Case) -> Iterator[Finding]:
    """Every approval, and that none is missing.

    Raises:
        TrustError: A line of another kind says something else than its kind.
    """
    approvals, faults = approvals_in(case)
    yield from faults
    yield from (_vouched(case, finding, approvals) for finding in _judged(case, approvals))
    yield from _code(approvals)


def _judged(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    yield from _before(case, approvals)
    if approvals:
        yield from _terms(case, approvals)
        yield from _one(case, approvals)
        yield from _reserved(case, approvals)
        yield from _ledgers(case, approvals)
    yield from _handed_over(case, approvals)


def _vouched(case: Case, finding: Finding, approvals: list[Approval]) -> Finding:
    """A finding that rests on what all of them signed: confirmed only with the auditor's own key of each."""
    for one in approvals:
        finding = case.keys.vouched(finding, one.site, case.key_of(one.site, one.line))
    return finding


def _handed_over(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    """Approvals that hospitals handed over themselves must be those of the log."""
    said = {_core(one.terms) for one in approvals}
    for name in case.evidence.below(APPROVALS):
        data, mine = case.evidence.need(name), None
        for site, key in case.roster.sites.items():
            with contextlib.suppress(WardroundError):
                mine = read_approved(data, site=site, signer=key) or mine
        if mine is None or _core(mine) not in said:
            found = "another one" if mine else "no site's approval"
            yield refuted(_HANDED, expected="an approval that stands in the log", found=found, where=name)
        else:
            yield confirmed(_HANDED, where=mine.site)


def _core(one: ApprovedTerms) -> tuple[object, ...]:
    """What an approval is about; code may have changed since, and a later run has a reservation of its own."""
    return one.site, one.protocol, one.event, one.releases, one.delta


def _before(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    """For each site an approval of a list of members that the log holds, before its first charge."""
    rosters = {roster.digest for roster in case.named.values()}
    known = [one for one in approvals if one.terms.roster in rosters]
    others = [one for one in approvals if one.terms.roster not in rosters]
    strange = [one for one in others if one.members is None or one.members.digest != one.terms.roster]
    for one in strange:
        found = f"roster {one.terms.roster[:16]}"
        yield refuted(
            _BEFORE, expected="an approval of members that the log shows", found=found, where=one.where
        )
    doubtful = _first(one for one in others if one not in strange)
    late, never = _late(case, _first(known)), _late(case, doubtful)
    for site, where in late.items():
        if site not in never:
            yield _of_other_members(case, doubtful[site])
        elif site not in {one.site for one in strange}:
            yield refuted(_BEFORE, expected="an approval signed by the site", found="none", where=where)
    fine = sorted({one.site for one in known} - late.keys())
    if fine:
        yield confirmed(_BEFORE, found=f"{len(fine)} sites, {_by(known)}")


def _first(approvals: Iterable[Approval]) -> dict[str, Approval]:
    """Site -> its first of these approvals."""
    found: dict[str, Approval] = {}
    for one in approvals:
        found.setdefault(one.site, one)
    return found


def _late(case: Case, approvals: Mapping[str, Approval]) -> dict[str, str]:
    """Site that was charged without any of these approvals before -> where."""
    found: dict[str, str] = {}
    for attempt in case.releases:
        for site, word in attempt.sites.items():
            before = site in approvals and approvals[site].line < attempt.line
            if word.charged and not before:
                found.setdefault(site, f"{attempt.where}, {site}")
    return found


def _of_other_members(case: Case, one: Approval) -> Finding:
    """A list may be renewed between approval and start; whether the site agrees to that one, only the site knows."""
    approved, held = one.members or case.said, case.said
    if approved.coordinator_key != held.coordinator_key:
        return refuted(
            _BEFORE, expected="this coordinator", found="another one's key approved", where=one.where
        )
    without = sorted(held.sites.keys() - approved.sites.keys())
    beyond = sorted(approved.sites.keys() - held.sites.keys())
    keys = sorted(
        name for name in approved.sites.keys() & held.sites if approved.sites[name] != held.sites[name]
    )
    parts = [("without", without), ("with", beyond), ("with another key of", keys)]
    lists = "; ".join(f"{how} {', '.join(names)}" for how, names in parts if names)
    version = f"version {one.terms.roster_version} of the members' list"
    why = f"it approved {version}, {lists or 'the same'}: the log holds no approval of the list that it ran with"
    return not_checkable(_BEFORE, why=why, where=one.where)


def _by(approvals: list[Approval]) -> str:
    persons = sorted({one.site for one in approvals if one.terms.by == "person"})
    return f"by a person at {', '.join(persons)}" if persons else "in a simulation"


def _terms(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    protocol = case.protocol
    wrong = [one for one in approvals if disagreement(case.protocol, one.terms)]
    for one in wrong:
        said = one.terms
        found = f"protocol {said.protocol[:16]}, {shown(said.event)}, {said.releases} releases, delta {said.delta:g}"
        expected = f"protocol {protocol.digest[:16]}, {_stated(protocol, one.site)}"
        yield refuted(_TERMS, expected=expected, found=found, where=one.where)
    if fine := [one for one in approvals if one not in wrong]:
        found = "; ".join(dict.fromkeys(_stated(protocol, one.site) for one in fine))
        yield confirmed(_TERMS, found=f"{len(fine)} approvals: {found}")


def _stated(protocol: StudyProtocol, site: str) -> str:
    """What a study asks of a site's patients: of those who train first, if any do."""
    return ", and ".join(
        f"{shown(part.event)}, {part.releases} releases, delta {part.delta:g}, {part.pool}"
        for part in parts(protocol, site)
    )


def _one(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    """A ledger has one entry of a number, and only grows; otherwise it was rewritten or restored from a copy."""
    heads: dict[tuple[str, int], object] = {}
    wrong = 0
    for one in approvals:
        seq, head = one.terms.ledger
        early = _charged_at_or_before(case, one)
        if heads.setdefault((one.site, seq), (head, one.terms.time)) != (head, one.terms.time):
            wrong += 1
            yield refuted(_ONE, expected=f"one entry {seq}", found="two different ones", where=one.where)
        elif early is not None:
            wrong += 1
            found = f"entry {early} in a receipt"
            yield refuted(_ONE, expected=f"charges after entry {seq}", found=found, where=one.where)
    if not wrong:
        yield confirmed(_ONE, found=f"{len(heads)} reservations")


def _charged_at_or_before(case: Case, one: Approval) -> int | None:
    """An entry that a later receipt names, although the approval names it or a newer one; None as it should be."""
    words = (attempt.sites.get(one.site) for attempt in case.releases if attempt.line > one.line)
    seqs = (word.ledger[0] for word in words if word is not None and word.ledger is not None)
    return next((seq for seq in seqs if seq <= one.terms.ledger[0]), None)


def _reserved(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    wrong = 0
    for site in sorted({one.site for one in approvals}):
        for part in parts(case.protocol, site):
            charges = case.evaluations if part.pool == HELD_OUT else case.attempts
            found = sum(one.sites[site].charged for one in charges if site in one.sites)
            most = max(_approved(one.terms, part) for one in approvals if one.site == site)
            if found > most:
                wrong += 1
                yield refuted(_RESERVED, expected=f"at most {most}", found=f"{found} charges", where=site)
    if not wrong:
        yield confirmed(_RESERVED)


def _approved(terms: ApprovedTerms, part: Part) -> int:
    """How many releases of a part a site approved."""
    if part.pool == HELD_OUT and terms.evaluation is not None:
        return terms.evaluation.releases
    return terms.releases


def _ledgers(case: Case, approvals: list[Approval]) -> Iterator[Finding]:
    for ledger in case.ledgers():
        for one in approvals:
            if one.site == ledger.site:
                yield from _reservations(case, ledger, one.terms)


def _reservations(case: Case, ledger: OwnLedger, one: ApprovedTerms) -> Iterator[Finding]:
    first, *rest = parts(case.protocol, one.site)
    yield _reservation(case, ledger, one, first, one.ledger)
    if rest and one.evaluation:
        yield _reservation(case, ledger, one, rest[0], one.evaluation.ledger)


def _reservation(
    case: Case, ledger: OwnLedger, one: ApprovedTerms, part: Part, entry_: tuple[int, str]
) -> Finding:
    seq, head = entry_
    entry = ledger.entries[seq] if 0 <= seq < len(ledger.entries) else None
    if entry is None or entry.hash != head:
        return refuted(_LEDGER, expected=f"entry {seq} as approved", found="another or none", where=one.site)
    if (entry.kind, entry.payload) != ("reserve", part.reserved(case.protocol)):
        return refuted(
            _LEDGER, expected="its reservation", found=f"{entry.kind} entry, or other terms", where=one.site
        )
    return confirmed(_LEDGER, found=f"entry {seq}", where=one.site)


def _code(approvals: list[Approval]) -> Iterator[Finding]:
    from wardround.common.code import package_digest

    own = package_digest()
    for one in approvals:
        same = "the code that runs here" if one.terms.code == own else "another code than runs here"
        yield attested(_CODE, found=f"{one.terms.package}, {one.terms.code[:16]}: {same}", where=one.site)
