"""A rehearsal: real processes, TLS and keys on this machine, the very same result, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.runs import command, joint_study, simulate, study, table, write

from wardround.client.account import read_account
from wardround.client.policy import SitePolicy
from wardround.common.learning.released import ReleasedModel
from wardround.common.privacy.accounting import second_opinion
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import loads
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.studylog import read_own_log

SITES = ("north", "south", "west")


def words(folder: Path, protocol: StudyProtocol, *, hospitals: int = len(SITES)) -> list[str]:
    """What is typed to rehearse a study of the small table in a folder."""
    paths = write(folder, protocol, table())
    source = ["--table", str(paths[1]), "--site-column", "hospital", "--cohort", "synthetic"]
    return ["rehearse", str(paths[0]), *source, "--hospitals", str(hospitals), "--out", str(folder / "run")]


def results(run: Path) -> Path:
    return run / "coordinator" / "studies" / "small" / "run"


def processes_of(run: Path) -> list[str]:
    """Command lines of living processes that name a run folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(run) in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


@pytest.mark.long
def test_a_rehearsal_ends_with_the_weights_of_the_simulation_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    protocol = study(rounds=2)
    said = command(*words(tmp_path / "a", protocol))
    assert said.code == 0, said.err
    run = tmp_path / "a" / "run"
    assert processes_of(run) == []
    assert f"Report: {results(run) / 'report.md'}" in said.out

    simulated = simulate(*write(tmp_path / "b", protocol, table()), tmp_path / "b" / "run")
    assert simulated.code == 0, simulated.err
    trained = ReleasedModel.load(results(run) / "model.safetensors").parameters
    wanted = ReleasedModel.load(tmp_path / "b" / "run" / "model.safetensors").parameters
    assert list(trained) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(trained[name], array)

    found = json.loads((results(run) / "results.json").read_text(encoding="utf-8"))
    assert (found["rounds"], found["void"], found["private"], found["evaluation"]) == (2, 0, False, None)
    assert {site["site"]: site["counted"] for site in found["sites"]} == dict.fromkeys(SITES, 2)
    assert command(*words(tmp_path / "a", protocol)).code == 2  # the folder is taken


@pytest.mark.slow
def test_joint_noise_is_rehearsed_over_three_hospitals_that_approved_each_other(tmp_path: Path) -> None:
    protocol = joint_study(rounds=2, attempts=1)
    said = command(*words(tmp_path, protocol))
    assert said.code == 0, said.err
    run = tmp_path / "run"
    key = SigningKey.load(run / "coordinator" / "identity.pem").public
    rounds = [entry for entry in read_own_log(results(run) / "study-log.jsonl", key) if entry.kind == "round"]
    for entry in rounds:
        assert entry.data["secure_sum"]["members"] == list(SITES)  # type: ignore[index]
    assert len(rounds) == 2

    found = json.loads((results(run) / "results.json").read_text(encoding="utf-8"))
    published = loads((results(run) / "study.toml").read_text(encoding="utf-8"), where="the run")
    cost = second_opinion([published.event()] * 2, published.privacy.delta)
    for site in found["sites"]:
        (claim,) = (value for name, value in site["epsilon"].items() if "(the claim)" in name)
        assert claim == pytest.approx(cost, abs=2e-3)
        assert claim >= cost - 1e-4
    for folder in (run / "hospitals").glob("*/site.toml"):
        (spent,) = read_account(SitePolicy.load(folder)).studies
        assert spent.releases == 2


@contextmanager
def started(folder: Path, protocol: StudyProtocol) -> Iterator[subprocess.Popen[str]]:
    """A rehearsal of two hospitals as a process, once its first round is over."""
    line = [sys.executable, "-m", "wardround", *words(folder, protocol, hospitals=2)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for text in process.stderr:
            if "round 1 of" in text:
                break
        try:
            yield process
        finally:
            process.kill()


def until_gone(run: Path) -> None:
    """Every process of a run must end by itself."""
    deadline = time.monotonic() + 60
    while processes_of(run) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(run) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_runs_on_after_ctrl_c_or_a_violent_end(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, study(rounds=400)) as process:
        assert len(processes_of(tmp_path / "run")) > 4
        process.send_signal(number)
        code = process.wait(timeout=60)
        until_gone(tmp_path / "run")
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)


@pytest.mark.slow
def test_a_party_that_dies_ends_the_rehearsal_with_its_name(tmp_path: Path) -> None:
    with started(tmp_path, study(rounds=400)) as process:
        (pid,) = (
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if b"simulations.party\0site\0" in path.read_bytes() and b"north" in path.read_bytes()
        )
        os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=90)
        until_gone(tmp_path / "run")
    assert process.returncode == 8
    assert "hospital north ended with code -9" in said


@pytest.mark.slow
@pytest.mark.real_data
def test_three_real_cohorts_rehearse_ten_private_rounds_within_ninety_seconds(
    tmp_path: Path, real_data: Path
) -> None:
    here = Path(__file__).resolve().parents[2] / "simulations" / "studies" / "metabric-survival-private.toml"
    text = here.read_text(encoding="utf-8").replace("rounds = 30", "rounds = 10")
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    began = time.monotonic()
    source = ["--table", real_data / "metabric_clin_mut" / "patients.csv", "--site-column", "COHORT"]
    said = command("rehearse", tmp_path / "study.toml", *source, "--out", tmp_path / "run")
    assert said.code == 0, said.err
    assert time.monotonic() - began < 90
