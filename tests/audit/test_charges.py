"""How many releases a site was charged for: what its ledger counts, or what its signed words allow, and no guess."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal

import pytest
from tests.auditing import NAMES, Record, finished, judged, ledger_of, refuted, without
from tests.studies import private_protocol, renamed

from wardround.common.audit.lines import SiteWord
from wardround.common.audit.verdicts import Finding
from wardround.common.learning.exchange import EVERYONE, FINISH, NO_MODEL, PRESENT, ROLL_CALL, TASK
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.server.coordinator import Coordinator
from wardround.simulations.federation import Federation, begin, opened
from wardround.simulations.hospitals import Premises

CLAIMED = "the stated epsilon of the study is that of its releases"
GAP = "the log explains every entry that a site's ledger made between its receipts"
AGREES = "ledger and log know the same charges"
STUDY = private_protocol(rounds=3, attempts=2)

Lost = Literal["nothing", "task", "reply"]
Between = Callable[[Coordinator, Premises, int], None]


def played(
    federation: Federation, *, between: Between, ended: Sequence[str] = NAMES, lost: Lost = "nothing"
) -> Parameters:
    """Run a study by hand; after each round something more happens at north, and only some hear of the end.

    In the first attempt of round 2 north's task or its reply may be lost.
    """
    federation.folder.mkdir(parents=True)
    coordinator, roster = begin(federation)
    with opened(federation) as premises:
        sites = {one.hospital.name: one.site(federation.protocol, roster) for one in premises}

        def said(site: str, kind: str, receiver: str = "") -> bytes:
            return sites[site].answer(coordinator.seal(receiver or site, kind, b"", 0, 0, NO_MODEL))

        def called(names: Iterable[str]) -> None:
            for site in names:
                assert coordinator.name_in(said(site, ROLL_CALL, EVERYONE), PRESENT) == site
            coordinator.keep_approvals()

        called(NAMES)
        while not coordinator.study.complete:
            called(coordinator.unsure)
            task = coordinator.study.task()
            moment = task.round, task.attempt, task.base_model
            asked = {site: coordinator.seal(site, TASK, to_bytes(task.base), *moment) for site in NAMES}
            if fails := lost != "nothing" and (task.round, task.attempt) == (2, 1):
                message = asked.pop("north")
                if lost == "reply":
                    sites["north"].answer(message)
            replies = {site: sites[site].answer(message) for site, message in asked.items()}
            verdicts = {site: coordinator.admit(site, reply, task) for site, reply in replies.items()}
            assert coordinator.close(task, verdicts) is not fails
            if not fails:
                between(coordinator, premises[0], task.round)
        coordinator.conclude()
        for site in ended:
            said(site, FINISH)
        coordinator.finish(ended)
    return coordinator.study.model


def asks_in_secret(coordinator: Coordinator, north: Premises, round_: int) -> None:
    """A second attempt of round 1, asked of one site after the first one counted; the log says nothing of it."""
    if round_ == 1:
        base = coordinator.study.model
        name = parameters_digest(base)
        message = coordinator.seal("north", TASK, to_bytes(base), 1, 2, name)
        north.site(STUDY, coordinator.roster).answer(message)


def takes_part_elsewhere(coordinator: Coordinator, north: Premises, round_: int) -> None:
    """Another study of the same patients is approved meanwhile."""
    if round_ == 1:
        north.door.reserve(renamed(STUDY, "another"))


def nothing(coordinator: Coordinator, north: Premises, round_: int) -> None:
    """Only the study itself."""


@cache
def record(between: Between, ended: Sequence[str] = NAMES, lost: Lost = "nothing") -> Record:
    """A record, made once per process."""
    root = Path(mkdtemp(prefix="audit-charges-"))
    return finished(root, STUDY, run=lambda made: played(made, between=between, ended=ended, lost=lost))


def alone(made: Record) -> Record:
    """The coordinator's own files: no hospital handed anything over."""
    return without(made, "ledgers/", "approvals/", "witness/")


def of(findings: list[Finding], claim: str) -> dict[str, Finding]:
    return {one.where: one for one in findings if one.claim == claim}


def claiming(made: Record, site: str, change: Callable[[float], float]) -> Record:
    """The record with another epsilon of one site in its results."""
    results = json.loads(made.files["results.json"])
    (stated,) = (one["epsilon"] for one in results["sites"] if one["site"] == site)
    against = next(iter(stated))
    stated[against] = change(stated[against])
    return made.with_file("results.json", json.dumps(results).encode())


def test_an_attempt_that_was_not_logged_refutes_the_claim_where_the_ledger_is_there(tmp_path: Path) -> None:
    findings = judged(record(asks_in_secret).hand_over(tmp_path / "bundle"))
    claims = of(findings, CLAIMED)
    assert {site: one.verdict for site, one in claims.items()} == {
        "north": "refuted",
        "south": "confirmed",
        "west": "confirmed",
    }
    assert "4 charges in its ledger; 3 attempts in the log" in claims["north"].expected
    assert of(findings, AGREES)["north"].verdict == "refuted"


def test_without_the_ledger_it_is_bounded_and_its_trace_in_the_receipts_is_named(tmp_path: Path) -> None:
    findings = judged(alone(record(asks_in_secret)).hand_over(tmp_path / "bundle"))
    claims = of(findings, CLAIMED)
    assert {one.verdict for one in claims.values()} == {"not checkable"}
    assert "3 attempts in the log, at most 5 charges" in claims["north"].found
    assert "3 attempts in the log, at most 4 charges" in claims["south"].found
    assert of(findings, GAP).keys() == {"north"}
    assert "2 entries" in of(findings, GAP)["north"].found


def test_entries_of_another_study_of_the_same_patients_refute_nothing(tmp_path: Path) -> None:
    whole = judged(record(takes_part_elsewhere).hand_over(tmp_path / "bundle"))
    assert [one for one in whole if one.verdict == "refuted"] == []
    assert of(whole, CLAIMED)["north"].verdict == "confirmed"
    assert of(whole, GAP) == {}
    bare = judged(alone(record(takes_part_elsewhere)).hand_over(tmp_path / "bundle"))
    assert [one for one in bare if one.verdict == "refuted"] == []
    assert of(bare, GAP)["north"].verdict == "not checkable"
    assert "1 entries" in of(bare, GAP)["north"].found


@pytest.mark.parametrize(("lost", "charges"), [("reply", 4), ("task", 3)])
def test_an_attempt_that_was_asked_and_got_no_reply_is_counted_and_explains_its_entries(
    lost: Lost, charges: int, tmp_path: Path
) -> None:
    made = record(nothing, lost=lost)
    whole = judged(made.hand_over(tmp_path / "bundle"))
    assert [one for one in whole if one.verdict == "refuted"] == []
    claim = of(whole, CLAIMED)["north"]
    assert claim.verdict == "confirmed"
    assert claim.found.startswith(f"{charges} charges in its ledger; 4 attempts in the log")
    bare = judged(alone(made).hand_over(tmp_path / "bundle"))
    assert [one for one in bare if one.verdict == "refuted"] == []
    assert of(bare, GAP) == {}
    assert of(bare, CLAIMED)["north"].verdict == {"reply": "not checkable", "task": "confirmed"}[lost]


def test_the_finding_gives_both_bounds_and_a_claim_outside_is_refuted(tmp_path: Path) -> None:
    bare = alone(record(nothing))
    found = of(judged(bare.hand_over(tmp_path / "bundle")), CLAIMED)["north"].found
    least, most = (float(found.split(": ")[1].split(" ")[place]) for place in (0, 2))
    assert least < most < 100

    def verdict(epsilon: float) -> str:
        shown = claiming(bare, "north", lambda _: epsilon).hand_over(tmp_path / "bundle")
        return of(judged(shown), CLAIMED)["north"].verdict

    assert verdict(least - 0.01) == "refuted"
    assert verdict((least + most) / 2) == "not checkable"
    assert verdict(most + 0.03) == "refuted"


def test_where_no_attempt_is_left_the_approval_alone_confirms_the_claim(tmp_path: Path) -> None:
    once = finished(tmp_path / "once", private_protocol(rounds=2, attempts=1))
    findings = judged(alone(once).hand_over(tmp_path / "bundle"))
    assert {one.verdict for one in of(findings, CLAIMED).values()} == {"confirmed"}


def test_without_a_valid_approval_nothing_bounds_the_claim(tmp_path: Path) -> None:
    bare = alone(record(nothing))
    findings = judged(bare.without(bare.at("approval")).hand_over(tmp_path / "bundle"))
    (found,) = (one for site, one in of(findings, CLAIMED).items() if site == "north")
    assert found.verdict == "not checkable"
    assert "to inf against" in found.found


def test_a_ledger_whose_study_is_still_open_or_that_has_no_head_confirms_nothing(tmp_path: Path) -> None:
    still = judged(record(nothing, ("south", "west")).hand_over(tmp_path / "bundle"))
    assert of(still, CLAIMED)["north"].verdict == "attested by the site"
    assert of(still, CLAIMED)["south"].verdict == "confirmed"
    bare = record(nothing).with_file(ledger_of("south").replace(".jsonl", ".head.json"), None)
    assert of(judged(bare.hand_over(tmp_path / "bundle")), CLAIMED)["south"].verdict == "attested by the site"


def test_a_ledger_that_does_not_fit_its_receipts_counts_for_nothing(tmp_path: Path) -> None:
    made, name = record(nothing), ledger_of("north")
    lines = made.files[name].splitlines(keepends=True)
    cut = made.with_file(name, b"".join(lines[:4])).with_file(name.replace(".jsonl", ".head.json"), None)
    findings = judged(cut.hand_over(tmp_path / "bundle"))
    assert of(findings, CLAIMED)["north"].verdict == "not checkable"
    assert of(findings, AGREES)["north"].verdict == "refuted"


@pytest.mark.parametrize("kind", ["round", "void"])
def test_an_attempt_that_says_nothing_of_a_site_is_refuted(kind: str, tmp_path: Path) -> None:
    made = alone(record(nothing))
    place = made.at("round", 1)
    data = made.lines[place][1]
    sites = {name: word for name, word in data["sites"].items() if name != "west"}  # type: ignore[attr-defined]
    silent = made.with_line(place, sites=sites)
    if kind == "void":
        lines = list(silent.lines)
        lines[place] = (kind, {**lines[place][1], "result_model": data["base_model"]})
        silent = replace(silent, lines=tuple(lines))
    found = refuted(silent.hand_over(tmp_path / "bundle"))
    assert found["every attempt says of every site what became of it"] == "nothing of west"


def test_a_site_that_left_may_be_passed_over(tmp_path: Path) -> None:
    made = alone(record(nothing))
    place = made.at("round", 2)
    data = made.lines[place][1]
    sites = {name: word for name, word in data["sites"].items() if name != "west"}  # type: ignore[attr-defined]
    left = ("members", {"round": 3, "attempt": 1, "left": {"west": "it was removed"}})
    passed = made.with_line(place, sites=sites)
    passed = replace(passed, lines=(*passed.lines[:place], left, *passed.lines[place:]))
    claim = "every attempt says of every site what became of it"
    (found,) = (one for one in judged(passed.hand_over(tmp_path / "bundle")) if one.claim == claim)
    assert found.verdict == "confirmed"


def test_a_receipt_shows_that_a_site_was_asked_whatever_the_line_says_beside_it() -> None:
    assert not SiteWord(refused="not asked: it was not there").asked
    assert SiteWord(refused="not asked: it was not there", event=STUDY.event()).asked


def test_a_round_without_the_digest_of_a_reply_is_refuted(tmp_path: Path) -> None:
    made = alone(record(nothing))
    place = made.at("round", 1)
    word = made.lines[place][1]["sites"]["south"]  # type: ignore[index]
    bare = {name: value for name, value in word.items() if name != "reply"}
    sites = {**made.lines[place][1]["sites"], "south": bare}  # type: ignore[dict-item]
    found = refuted(without(made.with_line(place, sites=sites), "archive/").hand_over(tmp_path / "bundle"))
    assert (
        "no digest of the whole reply"
        in found["each site signed what the log says of its updates and charges"]
    )
