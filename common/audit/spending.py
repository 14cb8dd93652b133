"""What the study cost each site's patients, recomputed, against what is claimed.

The claim is that of the attempts in which a site was asked (a reply that was lost is charged too). Whether it was
charged for others, that the coordinator asked and did not log, only the site's own ledger tells; without it the claim
lies between what the log shows and what the site's signed words allow (`charges`), and is not checkable.

The lifetime of a patient pool is longer than a study: only the ledger knows it, so it is checked where one was handed
over. Caps are private to a hospital and are checked by nobody else.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wardround.common.audit.case import Case
from wardround.common.audit.charges import Charges, asked, charges_of
from wardround.common.audit.evidence import RESULTS
from wardround.common.audit.recompute import fits, recompute
from wardround.common.audit.verdicts import Finding, attested, confirmed, not_checkable, refuted
from wardround.common.checks import not_negative
from wardround.common.errors import StorageError, TrustError, UsageError, WardroundError
from wardround.common.formats import check_header
from wardround.common.learning.study import quorum_of, training_sites
from wardround.common.privacy.coalitions import observers
from wardround.common.privacy.events import DpEvent, times
from wardround.common.trust.sealed import read_json

FORMAT: Final = "wardround-study-results"
VERSION: Final = 1

_CLAIMED: Final = "the stated epsilon of the study is that of its releases"
_GAP: Final = "the log explains every entry that a site's ledger made between its receipts"
_SAID: Final = "the published results say what the log says"
_CAPS: Final = "the hospital's own caps were kept"


def check_spending(case: Case) -> Iterator[Finding]:
    """Epsilon per site against each coalition, and the number of releases.

    Raises:
        TrustError: A line says something else than its kind.
        StorageError: A file cannot be read.
    """
    yield from _claims(case)
    yield not_checkable(_CAPS, why="caps are private; each hospital checks its own before it approves")


def _claims(case: Case) -> Iterator[Finding]:
    data = case.evidence.read(RESULTS)
    if data is None:
        yield not_checkable(_CLAIMED, why=f"there is no {RESULTS}: nothing is claimed", where=RESULTS)
        return
    try:
        claims = _read_claims(data, case)
    except WardroundError as error:
        yield refuted(_CLAIMED, expected="the results of this study", found=str(error), where=RESULTS)
        return
    yield _facts(data, case)
    for site, charges in charges_of(case).items():
        if site in claims:
            yield _claim(case, site, charges, claims[site])
        else:
            yield refuted(_CLAIMED, expected="a claim for each site", found="none", where=site)
        if charges.unexplained and charges.ledger is None:
            yield _gap(site, charges.unexplained)


def _facts(data: bytes, case: Case) -> Finding:
    """Whatever else the results say, but the version of the code that wrote them."""
    found, expected = read_json(data, where=RESULTS), expected_facts(case)
    for name, value in expected.items():
        if found.get(name) != value:
            return refuted(
                _SAID, expected=f"{name} {value!r:.80}", found=f"{found.get(name)!r:.80}", where=RESULTS
            )
    sites = found.get("sites")
    counts = [
        {name: one.get(name) for name in ("site", "counted", "asked", "confirmed")}
        for one in (sites if isinstance(sites, list) else [])
        if isinstance(one, dict)
    ]
    if counts != expected_counts(case):
        return refuted(_SAID, expected=f"{expected_counts(case)}", found=f"{counts}", where=RESULTS)
    return confirmed(_SAID, found=f"{len(expected)} facts and {len(counts)} sites", where=RESULTS)


def expected_facts(case: Case) -> Mapping[str, object]:
    """What the log and the protocol say of a study, under the names of the results file."""
    protocol, roster = case.protocol, case.said
    finish = case.of_kind("finish")
    keys = {roster.coordinator: roster.coordinator_key, **roster.sites}
    return {
        "study": protocol.study.name,
        "question": protocol.study.question,
        "protocol_digest": protocol.digest,
        "model_digest": str(finish[-1].data.get("model")) if finish else "",
        "coordinator": roster.coordinator,
        "keys": {name: key.fingerprint for name, key in keys.items()},
        "mechanism": protocol.privacy.mechanism,
        "private": protocol.private and not protocol.drafted,
        "rounds": sum(one.counted for one in case.attempts),
        "void": sum(not one.counted for one in case.attempts),
        "began": case.entries[0].time,
        "ended": (finish or case.entries)[-1].time,
    }


def expected_counts(case: Case) -> Sequence[Mapping[str, object]]:
    """Each site's part, as the results file counts it, in its order."""
    finish = case.of_kind("finish")
    confirmed_by = finish[-1].data.get("confirmed") if finish else ()
    names = dict.fromkeys([*case.roster.site_names, *(site for one in case.attempts for site in one.sites)])
    return [
        {
            "site": site,
            "counted": sum(
                one.counted and not one.sites[site].refused for one in case.attempts if site in one.sites
            ),
            "asked": asked(case)[site],
            "confirmed": site in (confirmed_by if isinstance(confirmed_by, list) else ()),
        }
        for site in names
    ]


def _gap(site: str, entries: int) -> Finding:
    """A note, no refutation: other studies of the same patients stand in the same ledger."""
    why = (
        f"{entries} entries of its ledger between its receipts are of other studies of the same patients, or of "
        "attempts that the log does not show; only its ledger would tell"
    )
    return not_checkable(_GAP, why=why, where=site)


def _claim(case: Case, site: str, charges: Charges, stated: Mapping[str, float]) -> Finding:
    try:
        low, high = (_epsilons(case, releases) for releases in charges.between)
        told = _epsilons(case, charges.asked)
    except WardroundError as error:
        return not_checkable(_CLAIMED, why=str(error), where=site)
    if stated.keys() != told.keys():
        return refuted(_CLAIMED, expected=", ".join(told), found=", ".join(stated), where=site)
    for against, epsilon in stated.items():
        least, most = low.get(against, 0.0), high.get(against, math.inf)
        if not fits(epsilon, least, most):
            expected = f"{_range(least, most)} against {against}, for {_said(charges)}"
            return refuted(_CLAIMED, expected=expected, found=f"{epsilon:.4f}", where=site)
    ranges = (f"{_range(low.get(one, 0.0), high.get(one, math.inf))} against {one}" for one in stated)
    return _judged(charges, f"{_said(charges)}: {'; '.join(ranges)}", site)


def _judged(charges: Charges, found: str, site: str) -> Finding:
    """What a claim in the range is worth: only a ledger, or an approval of no more than was logged, confirms it."""
    if charges.ledger is not None:
        return (confirmed if charges.ledger.final else attested)(_CLAIMED, found=found, where=site)
    if charges.most is not None and charges.most <= charges.asked:
        return confirmed(_CLAIMED, found=found, where=site)
    return not_checkable(_CLAIMED, why=found, where=site)


def _said(charges: Charges) -> str:
    log = f"{charges.asked} attempts in the log"
    if charges.ledger is not None:
        until = "" if charges.ledger.final else f", up to {charges.ledger.until}"
        return f"{charges.ledger.charges} charges in its ledger{until}; {log}"
    if charges.most is None:
        return f"{log}; no approval and no ledger of it says how many there can be"
    return f"{log}, at most {charges.most} charges by its own signed words"


def _range(least: float, most: float) -> str:
    """One or two numbers.

    >>> _range(0.5, 0.5), _range(0.5, 0.75)
    ('0.5000', '0.5000 to 0.7500')
    """
    return f"{least:.4f}" if f"{least:.4f}" == f"{most:.4f}" else f"{least:.4f} to {most:.4f}"


def _epsilons(case: Case, releases: float) -> Mapping[str, float]:
    if math.isinf(releases):
        return {}
    fewest = quorum_of(case.protocol, len(training_sites(case.protocol, case.roster.site_names)))
    return epsilons(case.protocol.event(), int(releases), case.protocol.privacy.delta, fewest)


def epsilons(event: DpEvent, releases: int, delta: float, fewest: int) -> Mapping[str, float]:
    """Adversary -> epsilon of so many releases, recomputed; the words are those of the claim.

    Args:
        event: One release.
        releases: How many, >= 0.
        delta: In (0, 1).
        fewest: The fewest sites in any secure sum.

    Raises:
        PrivacyError: It cannot be computed.
    """
    return {
        words: recompute(times(event, releases), delta, left=left).epsilon
        for words, left in observers(event, fewest, releases)
    }


def _read_claims(data: bytes, case: Case) -> Mapping[str, Mapping[str, float]]:
    found = read_json(data, where=RESULTS)
    check_header(found, name=FORMAT, version=VERSION, where=RESULTS)
    delta = case.protocol.privacy.delta
    match found:
        case {"protocol_digest": case.protocol.digest, "delta": float(stated), "sites": list(sites)}:
            if stated == delta:
                return dict(_claims_of(site) for site in sites)
            raise TrustError(f"the claim is at delta {stated:g}, the protocol says {delta:g}")
    raise StorageError("expected the protocol's digest, delta and sites")


def _claims_of(found: object) -> tuple[str, Mapping[str, float]]:
    match found:
        case {"site": str(site), "epsilon": dict(stated)}:
            return site, {str(words): _number(value) for words, value in stated.items()}
    raise StorageError("expected a site with its epsilon")


def _number(value: object) -> float:
    if value is None:
        return math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            not_negative(epsilon=value)
        except UsageError as error:
            raise StorageError(str(error)) from None
        return float(value)
    raise StorageError("expected epsilon as a number, or null for none")
