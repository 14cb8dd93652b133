"""The auditor's own keys decide in every line: a roster that the coordinator wrote proves nothing about who is who."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import NAMES, Record, finished, judged
from tests.studies import private_protocol

from wardround.common.audit.verdicts import Finding
from wardround.common.audit.verify import verify
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.sealed import layout

WROTE = "the record was written by the parties whose keys you hold"
PRESENT = "every party whose key you hold is in this record"
QUORUM = "a quorum of sites verified and cosigned the log up to its result"
APPROVED = "each site had approved the study before it took part in a round"
TERMS = "each site approved the terms that the protocol states"
RESERVED = "no site was charged more than it approved"
WORDS = "each site signed what the log says of its updates and charges"


@cache
def record() -> Record:
    """An honest record, made once per process."""
    return finished(Path(mkdtemp(prefix="audit-keys-")), private_protocol(rounds=2))


def roster(sites: Mapping[str, SigningKey]) -> Roster:
    """A roster of the record's coordinator and some sites."""
    return Roster(
        coordinator="coordinator",
        coordinator_key=record().keys["coordinator"].public,
        sites={name: key.public for name, key in sites.items()},
    )


def invented(true: Roster) -> Record:
    """The record as if the coordinator had invented its sites, and named the true ones once all was done."""
    end = record().at("finish")
    lines = (*record().lines[:end], ("roster", true.to_dict()), record().lines[end])
    kept = ("ledgers", "approvals", "witness")
    files = {name: data for name, data in record().files.items() if not name.startswith(kept)}
    results = json.loads(files["results.json"])
    results["keys"] = {
        name: true.sites[name].fingerprint if name in true.sites else old
        for name, old in results["keys"].items()
    }
    files |= {"roster.json": layout(true.to_dict()), "results.json": json.dumps(results).encode()}
    return replace(record(), lines=lines, files=files, sizes=tuple(range(3, end + 1)))


def audited(told: Record, own: Roster, folder: Path) -> list[Finding]:
    """All findings of an auditor with own keys."""
    keys = folder / "own.json"
    keys.write_bytes(layout(own.to_dict()))
    return judged(told.hand_over(folder / "bundle"), keys)


def verdicts(findings: list[Finding], claim: str) -> dict[str, str]:
    """Where -> verdict on a claim."""
    return {one.where: one.verdict for one in findings if one.claim == claim}


def test_sites_that_the_coordinator_invented_and_renamed_at_the_end_are_found(tmp_path: Path) -> None:
    true = roster({name: SigningKey.generate() for name in NAMES})
    findings = audited(invented(true), true, tmp_path)
    # To who holds one key a forgery and a change of keys look alike: nothing is confirmed, and he reads whom to ask.
    for claim in (QUORUM, WORDS):
        assert [one.verdict for one in findings if one.claim == claim] == ["not checkable"]
    asked = [one for one in findings if one.claim == WROTE and one.verdict == "not checkable"]
    assert {one.where for one in asked} == set(NAMES)
    for one in asked:
        assert f"key {record().keys[one.where].public.short}" in one.found
        assert f"ask {one.where!r} whether it had this key" in one.found


def test_sites_that_are_not_in_the_last_roster_make_no_quorum(tmp_path: Path) -> None:
    true = roster({name: SigningKey.generate() for name in ("east", "centre", "harbour")})
    findings = audited(invented(true), true, tmp_path)
    assert "refuted" in verdicts(findings, QUORUM).values()


def test_a_party_whose_key_the_auditor_holds_and_that_the_record_does_not_name_is_reported(
    tmp_path: Path,
) -> None:
    keys = {name: record().keys[name] for name in NAMES}
    findings = audited(record(), roster({**keys, "east": SigningKey.generate()}), tmp_path)
    assert verdicts(findings, PRESENT) == {"east": "refuted"}
    assert verdicts(audited(record(), roster(keys), tmp_path), PRESENT) == {}


def test_what_is_signed_under_keys_that_only_the_bundle_names_is_not_confirmed(tmp_path: Path) -> None:
    claims = {QUORUM, WORDS}
    findings = [one for one in judged(record().hand_over(tmp_path / "none")) if one.claim in claims]
    assert [one.verdict for one in findings] == ["not checkable", "not checkable"]
    own = roster({"north": record().keys["north"]})
    some = [one for one in audited(record(), own, tmp_path) if one.claim in claims]
    assert [one.verdict for one in some] == ["not checkable", "confirmed", "not checkable"]
    keys = roster({name: record().keys[name] for name in NAMES})
    every = [one for one in audited(record(), keys, tmp_path) if one.claim in claims]
    assert [one.verdict for one in every] == ["confirmed", "confirmed"]


def test_approvals_are_confirmed_under_the_auditors_own_keys_only(tmp_path: Path) -> None:
    def found(own: Roster) -> set[str]:
        return {
            one.verdict
            for one in audited(record(), own, tmp_path)
            if one.claim in (APPROVED, TERMS, RESERVED)
        }

    assert found(roster({"north": record().keys["north"]})) == {"not checkable"}
    assert found(roster({name: record().keys[name] for name in NAMES})) == {"confirmed"}


@pytest.mark.parametrize("brought", ["the new key", "the old key", "both keys"])
def test_a_key_that_was_honestly_replaced_refutes_nothing_and_only_what_was_brought_confirms(
    tmp_path: Path, brought: str
) -> None:
    old = {name: record().keys[name] for name in NAMES}
    new = {**old, "north": SigningKey.generate()}
    given = {"the new key": [new], "the old key": [old], "both keys": [old, new]}[brought]
    paths = []
    for number, keys in enumerate(given):
        paths.append(tmp_path / f"{number}.json")
        paths[-1].write_bytes(layout(roster(keys).to_dict()))
    bundle = invented(roster(new)).hand_over(tmp_path / "bundle")
    findings = verify((bundle,), tuple(paths))[1]
    assert [one for one in findings if one.verdict == "refuted"] == []
    said = [(one.verdict, one.found) for one in findings if one.claim == WROTE and one.where == "north"]
    shown = {name: f"key {keys['north'].public.short}" for name, keys in (("old", old), ("new", new))}
    missing = {"the new key": "old", "the old key": "new"}.get(brought)
    if missing is None:
        assert said == [("confirmed", shown["new"])]
    else:
        (asked,) = (found for verdict, found in said if verdict == "not checkable")
        assert shown[missing] in asked
        assert "ask 'north' whether it had this key" in asked
        assert all(shown[missing] not in found for verdict, found in said if verdict == "confirmed")
    whole = brought != "the new key"  # north signed all of its words under the old one
    assert [one.verdict for one in findings if one.claim == QUORUM] == [
        "confirmed" if whole else "not checkable"
    ]
    words = {one.verdict for one in findings if one.claim == WORDS}
    assert words == ({"confirmed"} if whole else {"confirmed", "not checkable"})


def test_a_key_that_no_line_names_is_still_refuted(tmp_path: Path) -> None:
    keys = {name: record().keys[name] for name in NAMES}
    findings = audited(record(), roster({**keys, "north": SigningKey.generate()}), tmp_path)
    assert verdicts(findings, WROTE)["north"] == "refuted"
    changed = invented(roster({**keys, "north": SigningKey.generate()}))
    (tmp_path / "twice").mkdir()
    findings = audited(changed, roster({**keys, "north": SigningKey.generate()}), tmp_path / "twice")
    assert verdicts(findings, WROTE)["north"] == "refuted"
    assert "refuted" in {one.verdict for one in findings if one.claim == WORDS}


def test_what_the_coordinator_signed_is_confirmed_under_its_own_key_only(tmp_path: Path) -> None:
    claims = {
        "every line of the log is signed by the coordinator and follows the line before it",
        "every checkpoint is the coordinator's, of this log as it stands",
    }
    bundle = record().hand_over(tmp_path / "bundle")
    for name in ("coordinator", "north"):
        (tmp_path / f"{name}.pem").write_bytes(record().keys[name].public.pem())
    found = {one.claim: one for one in judged(bundle, tmp_path / "north.pem") if one.claim in claims}
    assert {one.verdict for one in found.values()} == {"not checkable"}
    assert all("bring the key of 'coordinator'" in one.found for one in found.values())
    own = [one.verdict for one in judged(bundle, tmp_path / "coordinator.pem") if one.claim in claims]
    assert own == ["confirmed", "confirmed"]


def test_what_a_hospital_signed_is_confirmed_under_its_own_key_only(tmp_path: Path) -> None:
    claims = {
        "the hospital's ledger is whole, signed by it, and keeps its own rules",
        "the hospital remembers the same log",
        "the log is the one that the hospital says it cosigned",
    }
    bundle = record().hand_over(tmp_path / "bundle")
    (tmp_path / "north.pem").write_bytes(record().keys["north"].public.pem())
    for site, verdict in (("north", "confirmed"), ("south", "not checkable")):
        found = [
            one for one in judged(bundle, tmp_path / "north.pem") if one.claim in claims and one.where == site
        ]
        assert [one.verdict for one in found] == [verdict] * 3
