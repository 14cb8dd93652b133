"""An auditor on a study that monitors a released model: which model, compared with which table, and what it says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.auditing import NAMES, Record, finished_by, judged, refuted
from tests.evaluating import evaluated
from tests.monitoring import monitor, release, watching
from tests.studies import private_protocol, small_federation

from wardround.common.audit.claim import epsilon_rows, promised
from wardround.common.audit.page import render
from wardround.common.audit.verify import verify

DRIFT = "what is said of drift follows from the released table and the earlier one that the protocol names"
MODEL = "the model that was evaluated is the released one that the protocol names"
ONCE = "the released model was evaluated once, after the last round"
RESERVED_FIRST = "a site's approvals agree about its ledger, and its charges came after what it reserved"
TERMS = "each site approved the terms that the protocol states"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Record:
    root = tmp_path_factory.mktemp("monitored")
    first = small_federation(root / "first", evaluated(private_protocol(), epsilon=1.0), names=NAMES)
    found = release(first)
    return finished_by(watching(first, found, monitor(found), root / "again"), root)


def with_drift(made: Record, **changes: object) -> Record:
    found = json.loads(made.files["results.json"])
    found["evaluation"]["drift"] |= changes
    return made.with_file("results.json", json.dumps(found).encode())


def test_an_honest_study_of_a_released_model_is_confirmed(made: Record, tmp_path: Path) -> None:
    folder = made.hand_over(tmp_path / "bundle")
    assert refuted(folder) == {}
    verdicts = {one.claim: one.verdict for one in judged(folder)}
    assert {verdicts[claim] for claim in (DRIFT, MODEL, ONCE)} == {"confirmed"}
    lifetimes = [one.claim for one in judged(folder) if "lifetime" in one.claim and "held out" in one.claim]
    assert len(lifetimes) == len(NAMES)


def test_a_nicer_change_and_a_nicer_verdict_are_refuted(made: Record, tmp_path: Path) -> None:
    said = json.loads(made.files["results.json"])["evaluation"]["drift"]
    steadier = {**said["primary"], "verdict": "steady"}
    assert DRIFT in refuted(with_drift(made, primary=steadier).hand_over(tmp_path / "primary"))
    assert DRIFT in refuted(with_drift(made, calibration="steady").hand_over(tmp_path / "calibration"))
    assert DRIFT in refuted(with_drift(made, changes=[]).hand_over(tmp_path / "changes"))
    gone = json.loads(made.files["results.json"])
    del gone["evaluation"]["drift"]
    silent = made.with_file("results.json", json.dumps(gone).encode())
    assert DRIFT in refuted(silent.hand_over(tmp_path / "gone"))


def test_another_earlier_table_than_the_one_that_the_sites_approved_is_refuted(
    made: Record, tmp_path: Path
) -> None:
    from wardround.common.learning.calibrationfile import Calibration

    said = json.loads(made.files["results.json"])["evaluation"]["drift"]
    before = Calibration.from_json(said["before"], where="the claim")
    worse = replace(before, table=replace(before.table, cells=before.table.cells + 5)).as_json()
    changed = with_drift(made, before=worse)
    assert "the protocol names" in refuted(changed.hand_over(tmp_path / "bundle"))[DRIFT]


def test_another_model_in_the_log_is_refuted(made: Record, tmp_path: Path) -> None:
    changed = made.with_line(made.at("evaluation"), base_model="0" * 64)
    assert {MODEL, ONCE} <= refuted(changed.hand_over(tmp_path / "bundle")).keys()


def test_without_the_model_nothing_is_confirmed_of_drift(made: Record, tmp_path: Path) -> None:
    folder = made.with_file("model.safetensors", None).hand_over(tmp_path / "bundle")
    assert {one.verdict for one in judged(folder) if one.claim == DRIFT} == {"not checkable"}


def test_the_price_of_a_study_that_trains_nothing_is_that_of_its_tables(made: Record, tmp_path: Path) -> None:
    case, findings = verify((made.hand_over(tmp_path / "bundle"),))
    assert case is not None
    rows = epsilon_rows(case)
    assert {(row.site, row.patients) for row in rows} == {(site, "held out") for site in NAMES}
    assert all(row.added == pytest.approx(1.0, abs=1e-3) for row in rows)
    said = dict(promised(case.protocol))
    assert "table of its held-out patients" in said["mechanism"]
    assert "releases" not in said
    text = render(case, findings, {"sources": "", "keys": "", "date": "", "version": ""})
    assert "held out" in text


def test_a_table_that_was_charged_before_it_was_reserved_is_refuted(made: Record, tmp_path: Path) -> None:
    changed = made.with_word(made.at("evaluation"), "north", ledger_seq=0)
    assert RESERVED_FIRST in refuted(changed.hand_over(tmp_path / "bundle"))
    (terms,) = (one.found for one in judged(made.hand_over(tmp_path / "honest")) if one.claim == TERMS)
    assert "2 releases, delta 1e-05, held-out" in terms
    assert "training" not in terms
