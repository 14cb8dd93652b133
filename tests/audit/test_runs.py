"""One study run more than once at the same hospitals: each run has a log of its own, and there is one log per run."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tests.auditing import NAMES, Record, finished_by, judged, ledger_of, refuted
from tests.studies import private_protocol, small_federation

from wardround.common.audit.bundling import file_name
from wardround.common.audit.verdicts import Finding
from wardround.common.trust.identity import Roster
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.ledgerline import Entry, write_entry
from wardround.common.trust.sealed import layout
from wardround.common.trust.statement import sign_statement

REMEMBERS = "the hospital remembers the same log"
MEMORY = "the log is the one that the hospital says it cosigned"
HANDED = ("ledgers/", "witness/", "approvals/")


@cache
def runs() -> tuple[Record, Record]:
    """The same study at the same hospitals under the same coordinator, twice to its end."""
    root = Path(mkdtemp(prefix="audit-runs-"))
    federation = small_federation(root, private_protocol(rounds=2), names=NAMES)
    first, again = finished_by(federation, root), root / "again"
    again.mkdir()
    shutil.copy(federation.folder / "coordinator.pem", again)
    return first, finished_by(replace(federation, folder=again), root)


def audited(record: Record, folder: Path) -> list[Finding]:
    """All findings of an auditor who holds everybody's key."""
    folder.mkdir()
    keys = {name: key.public for name, key in record.keys.items()}
    own = Roster(coordinator="coordinator", coordinator_key=keys.pop("coordinator"), sites=keys)
    (folder / "own.json").write_bytes(layout(own.to_dict()))
    return judged(record.hand_over(folder / "bundle"), folder / "own.json")


def with_record_of(record: Record, other: Record) -> Record:
    """A run's record with what the hospitals handed over after another one."""
    for name, data in other.files.items():
        if name.startswith(HANDED):
            record = record.with_file(name, data)
    return record


def test_both_runs_of_a_study_are_verified_with_the_ledgers_that_hold_both(tmp_path: Path) -> None:
    first, second = runs()
    assert first.run != second.run
    for place, record in enumerate((with_record_of(first, second), second)):
        findings = audited(record, tmp_path / str(place))
        assert [one for one in findings if one.verdict == "refuted"] == []
        remembered = {one.where: one.verdict for one in findings if one.claim in (REMEMBERS, MEMORY)}
        assert remembered == dict.fromkeys(NAMES, "confirmed")
        assert {one.where: one.found for one in findings if one.claim == REMEMBERS} == dict.fromkeys(
            NAMES, f"{len(record.lines) - 1} lines"
        )


def test_two_logs_under_one_run_are_refuted_by_the_ledgers_and_by_the_hospitals_words(tmp_path: Path) -> None:
    _, second = runs()
    # The coordinator shows the auditor another log than it showed the sites, under the run that they know.
    place = second.at("round")
    slipped_in = ("members", {"round": 1, "attempt": 1, "left": {}})
    forked = replace(second, lines=(*second.lines[:place], slipped_in, *second.lines[place:]))
    found = refuted(forked.hand_over(tmp_path / "bundle"))
    assert "another log" in found[REMEMBERS]
    assert "another log" in found[MEMORY]


def test_every_log_of_a_run_that_a_ledger_remembers_is_compared(tmp_path: Path) -> None:
    _, second = runs()
    (tmp_path / "ledger").write_bytes(second.files[ledger_of("north")])
    key, entries = second.keys["north"], read_ledger(tmp_path / "ledger", second.keys["north"].public)
    lines: list[Entry] = []
    for entry in entries:
        payload = dict(entry.payload)
        if entry.kind == "settle" and payload["round"] == 1 and "log" in payload:
            payload["log"] = {"size": 3, "root": "0" * 64}
        before = lines[-1] if lines else None
        lines.append(write_entry(key, before=before, kind=entry.kind, time=entry.time, payload=payload))
    data = b"".join(one.line + b"\n" for one in lines)
    head = ledger_of("north").replace(".jsonl", ".head.json")
    forged = second.with_file(ledger_of("north"), data).with_file(head, None)
    assert "another log of 3 lines" in refuted(forged.hand_over(tmp_path / "bundle"))[REMEMBERS]


def test_a_hospitals_word_about_another_run_is_neither_confirmed_nor_refuted(tmp_path: Path) -> None:
    first, second = runs()
    logs = {first.run: {"size": 3, "root": "0" * 64}}
    said = {"site": "north", "study": "small", "protocol": second.protocol.digest, "logs": logs}
    statement = sign_statement(second.keys["north"], "witness", said)
    findings = audited(second.with_file(f"witness/{file_name('north')}.json", statement), tmp_path / "a")
    (found,) = (one for one in findings if one.claim == MEMORY and one.where == "north")
    assert found.verdict == "not checkable"
