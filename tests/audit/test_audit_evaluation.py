"""An auditor on a study's evaluation: honest ones hold, and what was changed is refuted by name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.auditing import NAMES, Record, base_install, finished, judged, refuted, without
from tests.evaluating import evaluated
from tests.studies import joint_protocol, private_protocol

from wardround.common.audit.claim import epsilon_rows, promised
from wardround.common.audit.verify import verify

SITE = evaluated(private_protocol(), epsilon=1.0)
JOINT = evaluated(joint_protocol(), epsilon=1.0)
EXTERNAL = evaluated(private_protocol(), epsilon=1.0, external_sites=("west",))
ONCE = "the released model was evaluated once, after the last round"
TABLE = "the released table is recomputed from what the sites sent"
COST = "the stated epsilon of the evaluation is that of its tables"
TERMS = "what was executed is what the protocol says: mechanism, noise, rate and steps"
SAYS = "the published measures follow from the released table"
DRIFT = "what is said of drift follows from the released table and the earlier one that the protocol names"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return finished(tmp_path_factory.mktemp("site"), SITE)


def results(made: Record) -> dict[str, object]:
    found = json.loads(made.files["results.json"])
    assert isinstance(found, dict)
    return found


def with_claim(made: Record, **changes: object) -> Record:
    found = results(made)
    assert isinstance(found["evaluation"], dict)
    found["evaluation"] |= changes
    return made.with_file("results.json", json.dumps(found).encode())


@pytest.mark.parametrize("protocol", [SITE, JOINT, EXTERNAL], ids=["site", "joint", "external"])
def test_an_honest_evaluation_is_confirmed_claim_by_claim(tmp_path: Path, protocol: object) -> None:
    honest = finished(tmp_path / "run", protocol)  # type: ignore[arg-type]
    folder = honest.hand_over(tmp_path / "bundle")
    assert refuted(folder) == {}
    verdicts = {(one.claim, one.where): one.verdict for one in judged(folder)}
    for claim in (ONCE, TABLE, SAYS):
        assert {verdict for (said, _), verdict in verdicts.items() if said == claim} == {"confirmed"}
    assert sum(said == COST and verdict == "confirmed" for (said, _), verdict in verdicts.items()) == 3
    held_out = [said for said, _ in verdicts if "held out" in said]
    assert len([said for said in held_out if "lifetime" in said]) == len(NAMES)


def test_another_table_in_the_log_is_refuted(made: Record, tmp_path: Path) -> None:
    changed = made.with_line(made.at("evaluation"), table="0" * 64)
    assert TABLE in refuted(changed.hand_over(tmp_path / "bundle"))


def test_a_model_that_was_not_the_released_one_is_refuted(made: Record, tmp_path: Path) -> None:
    changed = made.with_line(made.at("evaluation"), base_model="0" * 64)
    assert ONCE in refuted(changed.hand_over(tmp_path / "bundle"))


def test_an_evaluation_that_is_missing_or_was_made_twice_is_refuted(made: Record, tmp_path: Path) -> None:
    place = made.at("evaluation")
    assert ONCE in refuted(made.without(place).hand_over(tmp_path / "missing"))
    kind, data = made.lines[place]
    twice = (*made.lines[: place + 1], (kind, {**data, "attempt": 2}), *made.lines[place + 1 :])
    assert ONCE in refuted(replace(made, lines=twice).hand_over(tmp_path / "twice"))


def test_a_round_that_calls_itself_the_evaluation_is_refuted(made: Record, tmp_path: Path) -> None:
    changed = made.with_line(made.at("evaluation"), round=2)
    assert refuted(changed.hand_over(tmp_path / "bundle"))


def test_a_cheaper_receipt_of_an_evaluation_is_refuted(made: Record, tmp_path: Path) -> None:
    event = {"kind": "gaussian-steps", "noise_multiplier": "99.0", "sample_rate": "1.0", "steps": 1}
    changed = made.with_word(made.at("evaluation"), "north", event=event)
    assert TERMS in refuted(changed.hand_over(tmp_path / "bundle"))


def test_nicer_measures_a_nicer_verdict_and_a_lower_epsilon_are_refuted(made: Record, tmp_path: Path) -> None:
    claim = results(made)["evaluation"]
    assert isinstance(claim, dict)
    rows = [{**row, "value": 0.99} if row["measure"] == "auc" else row for row in claim["rows"]]
    assert SAYS in refuted(with_claim(made, rows=rows).hand_over(tmp_path / "rows"))
    bins = [{**each, "up_to": each["up_to"] and each["up_to"] / 2} for each in claim["bins"]]
    assert SAYS in refuted(with_claim(made, bins=bins).hand_over(tmp_path / "bins"))
    verdict = {**claim["judgement"], "verdict": "met"}
    assert SAYS in refuted(with_claim(made, judgement=verdict).hand_over(tmp_path / "verdict"))
    cells = {**claim["table"], "cells": [cell + 1 for cell in claim["table"]["cells"]]}
    assert SAYS in refuted(with_claim(made, table=cells).hand_over(tmp_path / "cells"))
    sites = [{**site, "epsilon": dict.fromkeys(site["epsilon"], 0.5)} for site in claim["sites"]]
    assert COST in refuted(with_claim(made, sites=sites).hand_over(tmp_path / "cost"))
    gone = {**results(made), "evaluation": None}
    silent = made.with_file("results.json", json.dumps(gone).encode())
    assert SAYS in refuted(silent.hand_over(tmp_path / "gone"))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("judgement", {"threshold": 0.4}),
        ("judgement", {"measure": "brier"}),
        ("judgement", {"direction": "at-most"}),
        ("table", {"deviation": 0.1}),
        ("table", {"hospitals": ["north", "south"]}),
        ("table", {"shape": [48]}),
        ("table", {"sha256": "0" * 64}),
        ("", {"delta": 1e-9}),
        ("", {"model_digest": "0" * 64}),
    ],
    ids=str,
)
def test_what_stands_beside_the_measures_is_checked_too(
    made: Record, tmp_path: Path, part: str, said: dict[str, object]
) -> None:
    """A threshold that was met is worth nothing if it was chosen afterwards, nor is an epsilon at a smaller delta."""
    claim = results(made)["evaluation"]
    assert isinstance(claim, dict)
    changes = {part: {**claim[part], **said}} if part else said
    assert SAYS in refuted(with_claim(made, **changes).hand_over(tmp_path / "bundle"))


def test_a_study_that_trained_its_model_says_nothing_of_drift(made: Record, tmp_path: Path) -> None:
    assert DRIFT in refuted(with_claim(made, drift={"calibration": "steady"}).hand_over(tmp_path / "bundle"))


def test_what_the_evaluation_costs_stands_beside_what_training_costs(made: Record, tmp_path: Path) -> None:
    case, _ = verify((made.hand_over(tmp_path / "bundle"),))
    assert case is not None
    found = {(row.site, row.patients): row for row in epsilon_rows(case)}
    assert found.keys() == {(site, patients) for site in NAMES for patients in ("training", "held out")}
    assert found["north", "held out"].added == pytest.approx(1.0, abs=1e-3)
    assert (found["north", "held out"].releases, found["north", "held out"].receipts) == (1, 1)
    assert "48 cells" in dict(promised(case.protocol))["evaluation"]


def test_an_auditor_without_torch_finds_the_same_bins_and_measures(made: Record, tmp_path: Path) -> None:
    done = base_install("audit", "verify", str(made.hand_over(tmp_path / "bundle")), "--json")
    assert done.code == 0, done.err
    findings = json.loads(done.out)["findings"]
    assert [one["verdict"] for one in findings if one["claim"] == SAYS] == ["confirmed"]


def test_without_a_ledger_the_price_lies_between_the_log_and_the_approval(
    made: Record, tmp_path: Path
) -> None:
    """One attempt is in the log and two were approved: the other may have been charged and left out."""
    folder = without(made, "ledgers/").hand_over(tmp_path / "bundle")
    assert COST not in refuted(folder)
    assert {one.verdict for one in judged(folder) if one.claim == COST} == {"not checkable"}
