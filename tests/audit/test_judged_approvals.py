"""Approvals in a log, each judged on its own: what one hospital makes up refutes that hospital's approval alone."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import Record, finished, judged, ledger_of, with_approval, without
from tests.consortia import Consortium, asked
from tests.played import play_approved
from tests.studies import private_protocol

from wardround.client.handing import hand_over as site_bundle
from wardround.common.audit.verdicts import Finding
from wardround.common.audit.verify import verify
from wardround.common.privacy.events import encode
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.ledgerline import Entry, write_entry
from wardround.common.trust.sealed import layout
from wardround.server.enrolment import remove
from wardround.server.handing import hand_over as server_bundle

SIGNED = "every approval in the log is one that its site signed, whole and in range"
BEFORE = "each site had approved the study before it took part in a round"
TERMS = "each site approved the terms that the protocol states"
ONE = "a site's approvals agree about its ledger, and its charges came after what it reserved"
RESERVED = "no site was charged more than it approved"
LEDGER = "the reservation that a site approved stands in its ledger"
STUDY = private_protocol(rounds=2, attempts=2)


@cache
def record() -> Record:
    """An honest record without what hospitals hand over, made once per process."""
    made = finished(Path(mkdtemp(prefix="audit-approvals-")), STUDY)
    return without(made, "approvals/", "witness/")


def roster() -> Roster:
    return Roster.from_dict(record().lines[record().at("roster")][1])


def approving(**changes: object) -> Record:
    """The record with another approval of north, which north signed."""
    return with_approval(without(record(), "ledgers/"), "north", **changes)


def refutations(made: Record, folder: Path) -> list[Finding]:
    return [one for one in judged(made.hand_over(folder / "bundle")) if one.verdict == "refuted"]


def test_an_approval_that_cannot_be_read_refutes_its_own_site_and_nobody_else(tmp_path: Path) -> None:
    found = refutations(approving(cap="8.0"), tmp_path)
    assert [(one.claim, one.where[-5:]) for one in found] == [(SIGNED, "north"), (BEFORE, "north")]
    assert "unknown key 'cap'" in found[0].found
    keys = tmp_path / "own.json"
    keys.write_bytes(layout(roster().to_dict()))
    findings = judged(approving(cap="8.0").hand_over(tmp_path / "bundle"), keys)
    (terms,) = (one for one in findings if one.claim == TERMS)
    assert terms.verdict == "confirmed"
    assert terms.found.startswith("2 approvals")


def test_an_approval_of_other_terms_refutes_its_own_site_and_nobody_else(tmp_path: Path) -> None:
    found = refutations(approving(releases=1), tmp_path)
    assert [one.claim for one in found] == [TERMS, RESERVED]
    assert all("north" in one.where for one in found)


@pytest.mark.parametrize(
    "line", [{"site": 5, "statement": ""}, {"statement": 1}, {"site": "nobody"}], ids=str
)
def test_a_line_that_is_no_approval_refutes_itself(line: dict[str, object], tmp_path: Path) -> None:
    place = record().at("approval")
    lines = (*record().lines[: place + 3], ("approval", line), *record().lines[place + 3 :])
    found = refutations(replace(without(record(), "ledgers/"), lines=lines), tmp_path)
    assert [one.claim for one in found] == [SIGNED]
    assert found[0].where.startswith(f"line {place + 4}, ")


def test_two_approvals_on_two_entries_of_one_number_are_found(tmp_path: Path) -> None:
    made = without(record(), "ledgers/")
    place = made.at("approval")
    _, other = with_approval(made, "north", ledger={"seq": 1, "hash": "a" * 64}).lines[place]
    found = refutations(
        replace(made, lines=(*made.lines[:place], ("approval", other), *made.lines[place:])), tmp_path
    )
    assert [one.claim for one in found] == [ONE]


def test_a_charge_before_the_reservation_is_found(tmp_path: Path) -> None:
    (found,) = refutations(approving(ledger={"seq": 50, "hash": "a" * 64}), tmp_path)
    assert (found.claim, found.where[-5:]) == (ONE, "north")
    assert found.expected == "charges after entry 50"


def of_members(shown: Roster | None, approved: Roster) -> Record:
    """The record where north approved another list, and the coordinator shows one beside the approval."""
    made = approving(roster=approved.digest)
    return made if shown is None else made.with_line(made.at("approval"), roster=shown.to_dict())


def without_west() -> Roster:
    sites = {name: key for name, key in roster().sites.items() if name != "west"}
    return replace(roster(), sites=sites)


def verdict(made: Record, folder: Path) -> Finding:
    findings = judged(made.hand_over(folder / "bundle"))
    assert {one.where[-5:] for one in findings if one.verdict == "refuted"} <= {"north"}
    (found,) = (one for one in findings if one.claim == BEFORE and one.where.endswith("north"))
    return found


def test_an_approval_of_an_earlier_list_is_not_checkable_and_says_who_came(tmp_path: Path) -> None:
    found = verdict(of_members(without_west(), without_west()), tmp_path)
    assert found.verdict == "not checkable"
    assert "without west" in found.found


def test_an_approval_of_a_list_that_nobody_shows_is_refuted(tmp_path: Path) -> None:
    assert verdict(of_members(None, without_west()), tmp_path).verdict == "refuted"
    assert verdict(of_members(roster(), without_west()), tmp_path).verdict == "refuted"


def test_an_approval_of_another_coordinator_is_refuted(tmp_path: Path) -> None:
    other = replace(roster(), coordinator_key=SigningKey.generate().public)
    found = verdict(of_members(other, other), tmp_path)
    assert found.verdict == "refuted"
    assert found.expected == "this coordinator"


def test_a_list_that_is_none_refutes_the_line(tmp_path: Path) -> None:
    made = approving(roster=without_west().digest)
    shown = made.with_line(made.at("approval"), roster={"sites": "x"})
    assert SIGNED in {one.claim for one in refutations(shown, tmp_path)}


def test_a_reservation_at_another_price_is_found_in_the_ledger(tmp_path: Path) -> None:
    name, key = ledger_of("north"), record().keys["north"]
    (tmp_path / "ledger").write_bytes(record().files[name])
    lines: list[Entry] = []
    for entry in read_ledger(tmp_path / "ledger", key.public):
        less = {"event": encode(replace(STUDY.event(), noise_multiplier=1.0))}  # type: ignore[arg-type]
        payload = {**entry.payload, **(less if entry.kind == "reserve" else {})}
        before = lines[-1] if lines else None
        lines.append(write_entry(key, before=before, kind=entry.kind, time=entry.time, payload=payload))
    forged = record().with_file(name, b"".join(one.line + b"\n" for one in lines))
    forged = forged.with_file(name.replace(".jsonl", ".head.json"), None)
    shown = with_approval(forged, "north", ledger={"seq": 1, "hash": lines[1].hash})
    (found,) = (one for one in refutations(shown, tmp_path) if one.claim == LEDGER)
    assert "other terms" in found.found


def test_hospitals_that_approved_before_a_member_left_refute_nothing(tmp_path: Path) -> None:
    made, study = Consortium(tmp_path), asked(rounds=2)
    made.publish(study)
    for name in made.names:
        made.approve(name, study)
    remove(made.server, "west")
    made.publish(study)  # for the new list: north hears of it in time, south does not
    made.approve("north", study)
    play_approved(made, study, {name: made.site(name) for name in ("north", "south")})
    bundles = [server_bundle(made.server, "asked", tmp_path / "of-the-server")]
    bundles += [site_bundle(made.site(name), "asked", tmp_path / f"of-{name}") for name in ("north", "south")]
    findings = verify(tuple(bundles))[1]
    before = {one.where.split(", ")[-1]: one for one in findings if one.claim == BEFORE}
    assert before[""].found.startswith("1 sites, by a person at north")
    assert before["south"].verdict == "not checkable"
    assert "version 3 of the members' list, with west" in before["south"].found
    assert [one for one in findings if one.verdict == "refuted"] == []
