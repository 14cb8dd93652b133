"""A simulated run is handed over like a real study, and a stranger refutes nothing of it."""

import json
from pathlib import Path

import pytest
from tests.runs import TAKING_PART, command, joint_run, private_run

from wardround.common.audit.verify import verify
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.studylog import read_own_log


def keys_of(run: Path, out: Path) -> Path:
    """The roster as the auditor got it elsewhere."""
    federation = run / "federation"
    own = SigningKey.load(federation / "coordinator.pem").public
    roster = next(
        one.data for one in read_own_log(federation / "study-log.jsonl", own) if one.kind == "roster"
    )
    out.write_text(json.dumps(dict(roster)), encoding="utf-8")
    return out


@pytest.mark.parametrize("mechanism", ["site-noise", "joint-noise"])
def test_a_stranger_refutes_nothing_of_a_simulated_run(tmp_path: Path, mechanism: str) -> None:
    run = private_run() if mechanism == "site-noise" else joint_run()
    done = command("audit", "bundle", run, "--out", tmp_path / "bundle")
    assert (done.code, done.out) == (0, f"Bundle: {tmp_path / 'bundle'}\n"), done.err
    _, findings = verify((tmp_path / "bundle",), (keys_of(run, tmp_path / "keys.json"),))
    assert [one for one in findings if one.verdict == "refuted"] == []
    ledgers = list((tmp_path / "bundle" / "ledgers").glob("*.jsonl"))
    assert len(ledgers) == len(TAKING_PART)


def test_what_was_measured_on_patients_stays_in_the_run_folder(tmp_path: Path) -> None:
    command("audit", "bundle", private_run(), "--out", tmp_path / "bundle")
    top = {path.name for path in (tmp_path / "bundle").iterdir()}
    assert top == {
        *("manifest.json", "study.toml", "study-log.jsonl", "checkpoints.jsonl", "roster.json"),
        *("results.json", "model.safetensors", "archive", "ledgers", "approvals", "witness"),
    }
    claim = json.loads((tmp_path / "bundle" / "results.json").read_bytes())
    assert (claim["format"], claim["evaluation"]) == ("wardround-study-results", None)


def test_a_run_that_is_not_finished_is_not_bundled(tmp_path: Path) -> None:
    done = command("audit", "bundle", tmp_path, "--out", tmp_path / "bundle")
    assert done.code == 9
    assert "no finished run" in done.err
    assert not (tmp_path / "bundle").exists()
