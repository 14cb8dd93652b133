"""A ledger that a hospital hands over, against the log: either may be false, and the other one shows it."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import Record, finished, judged, ledger_of, refuted
from tests.studies import private_protocol

from wardround.cli import main
from wardround.common.privacy.accounting import epsilon
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.ledgerline import Entry, write_entry

AGREES = "ledger and log know the same charges"
CHAIN = "the hospital's ledger is whole, signed by it, and keeps its own rules"


@cache
def record() -> Record:
    """An honest record, made once per process."""
    return finished(Path(mkdtemp(prefix="audit-ledgers-")), private_protocol(rounds=2))


def entries(place: Path) -> list[Entry]:
    """The entries of one hospital's ledger."""
    place.write_bytes(record().files[ledger_of("north")])
    return list(read_ledger(place, record().keys["north"].public))


def rewritten(kept: list[Entry], **later: object) -> Record:
    """The record with a ledger that its own hospital wrote and signed anew."""
    lines: list[Entry] = []
    for entry in kept:
        before = lines[-1] if lines else None
        time = "2026-01-01T00:00:00Z" if later.get("times") else entry.time
        payload = {name: value for name, value in entry.payload.items() if name != "log"}
        lines.append(
            write_entry(record().keys["north"], before=before, kind=entry.kind, time=time, payload=payload)
        )
    data = b"".join(one.line + b"\n" for one in lines)
    head = ledger_of("north").replace(".jsonl", ".head.json")
    return record().with_file(ledger_of("north"), data).with_file(head, None)


def test_a_ledger_written_anew_does_not_fit_its_receipts(tmp_path: Path) -> None:
    forged = rewritten(entries(tmp_path / "ledger"), times=True)
    assert "not the one that the receipt names" in refuted(forged.hand_over(tmp_path / "bundle"))[AGREES]


def test_a_ledger_that_forgets_a_charge_does_not_fit(tmp_path: Path) -> None:
    kept = [
        entry
        for entry in entries(tmp_path / "ledger")
        if not (entry.kind in ("spend", "settle") and entry.payload["round"] == 2)
    ]
    assert "has no charge for it" in refuted(rewritten(kept).hand_over(tmp_path / "bundle"))[AGREES]


def test_a_charge_that_the_log_lost_is_found(tmp_path: Path) -> None:
    # Coordinator and sites agree on a shorter study; the ledger remembers.
    short = record().without(record().at("round", 1))
    found = refuted(short.hand_over(tmp_path / "bundle"))
    assert "the ledger charged round 2 attempt 1, which the log does not have" in found[AGREES]


def test_of_a_ledger_without_its_head_nothing_is_confirmed_beyond_its_last_entry(tmp_path: Path) -> None:
    bare = record().with_file(ledger_of("north").replace(".jsonl", ".head.json"), None)
    found = [one for one in judged(bare.hand_over(tmp_path / "bundle")) if one.where == "north"]
    said = [one for one in found if one.claim == AGREES or "over their lifetime" in one.claim]
    assert [one.verdict for one in said] == ["attested by the site"] * 2
    assert all("up to entry" in one.found for one in said)


def test_the_name_of_a_study_in_a_ledger_cannot_paint_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = entries(tmp_path / "ledger")
    event = {"kind": "gaussian-steps", "noise_multiplier": "9.0", "sample_rate": "1.0", "steps": 1}
    hostile = {"study": "\x1b[2Jx", "protocol": "cd" * 32, "event": event, "releases": 1}
    last = write_entry(
        record().keys["north"], before=kept[-1], kind="reserve", time=kept[-1].time, payload=hostile
    )
    with (tmp_path / "ledger").open("ab") as file:
        file.write(last.line + b"\n")
    (tmp_path / "north.pem").write_bytes(record().keys["north"].public.pem())
    main(["audit", "epsilon", str(tmp_path / "ledger"), "--keys", str(tmp_path / "north.pem")])
    out = capsys.readouterr().out
    assert "[2Jx" in out
    assert "\x1b" not in out


def test_a_ledger_of_nobody_in_the_study_is_refuted(tmp_path: Path) -> None:
    other = finished(tmp_path / "other", private_protocol(rounds=1))
    swapped = record().with_file(ledger_of("north"), other.files[ledger_of("north")])
    assert "none of those known here" in refuted(swapped.hand_over(tmp_path / "bundle"))[CHAIN]


def test_the_lifetime_of_a_pool_is_recomputed_with_both_relations(tmp_path: Path) -> None:
    findings = judged(record().hand_over(tmp_path / "bundle"))
    (found,) = (one for one in findings if "over their lifetime" in one.claim and one.where == "north")
    event = replace(record().protocol.event(), steps=2)  # type: ignore[arg-type]
    added, replaced = epsilon([event], 1e-5), epsilon([event], 1e-5, "replace-one")
    assert found.found == f"epsilon {added:.3f} (replace one: {replaced:.3f}) at delta 1e-05"
