"""What the study cost each site's patients, recomputed, against what is claimed.

Two numbers bound what a site was charged: the releases it signed receipts for, and the attempts in which it was asked
(a reply that was lost is charged too). The claim must be that of the larger number; a site's own ledger says the truth.

The lifetime of a patient pool is longer than a study: only the ledger knows it, so it is checked where one was handed
over. Caps are private to a hospital and are checked by nobody else.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from wardround.common.audit.case import Case
from wardround.common.audit.evidence import RESULTS
from wardround.common.audit.recompute import fits, recompute
from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.checks import not_negative
from wardround.common.errors import StorageError, TrustError, UsageError, WardroundError
from wardround.common.formats import check_header
from wardround.common.learning.study import quorum_of
from wardround.common.privacy.coalitions import observers
from wardround.common.privacy.events import DpEvent, times
from wardround.common.trust.sealed import read_json

FORMAT: Final = "wardround-study-results"
VERSION: Final = 1

_CLAIMED: Final = "the stated epsilon of the study is that of its releases"
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


def charged(case: Case) -> Mapping[str, int]:
    """Site -> releases that it signed receipts for."""
    return {
        site: sum(one.sites[site].charged for one in case.attempts if site in one.sites)
        for site in _sites(case)
    }


def asked(case: Case) -> Mapping[str, int]:
    """Site -> attempts in which it was asked, and so may have been charged."""
    return {
        site: sum(one.sites[site].asked for one in case.attempts if site in one.sites)
        for site in _sites(case)
    }


def _sites(case: Case) -> Sequence[str]:
    return sorted({*case.roster.site_names, *(site for one in case.attempts for site in one.sites)})


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
    for site, releases in asked(case).items():
        if site in claims:
            yield _claim(case, site, releases, claims[site])
        else:
            yield refuted(_CLAIMED, expected="a claim for each site", found="none", where=site)


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


def _claim(case: Case, site: str, releases: int, stated: Mapping[str, float]) -> Finding:
    fewest = quorum_of(case.protocol, len(case.roster.site_names))
    try:
        found = epsilons(case.protocol.event(), releases, case.protocol.privacy.delta, fewest)
    except WardroundError as error:
        return not_checkable(_CLAIMED, why=str(error), where=site)
    if stated.keys() != found.keys():
        return refuted(_CLAIMED, expected=", ".join(found), found=", ".join(stated), where=site)
    for against, epsilon in found.items():
        if not fits(stated[against], epsilon):
            return refuted(
                _CLAIMED,
                expected=f"{epsilon:.4f} against {against}, for {releases} releases",
                found=f"{stated[against]:.4f}",
                where=site,
            )
    shown = "; ".join(f"{epsilon:.4f} against {against}" for against, epsilon in found.items())
    return confirmed(_CLAIMED, found=f"{releases} releases: {shown}", where=site)


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
