"""The Ray backend: the same study, the same bits, the same charges, and errors that surface as ours."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.studies import private_protocol, small_federation, small_protocol

from wardround.client.site import REFUSALS
from wardround.common.errors import StudyError
from wardround.common.learning.parameters import to_bytes
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import times
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations import federation as federation_module
from wardround.simulations.federation import Federation, run_federation
from wardround.simulations.hospitals import exposures

pytest.importorskip("ray", reason="the Ray backend needs flwr[simulation]")


def on_ray(root: Path, protocol: StudyProtocol) -> Federation:
    return replace(small_federation(root, protocol), backend="ray")


def test_a_seeded_study_on_ray_ends_in_the_same_bits_and_leaves_no_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    sessions: list[Path] = []
    start = ray.init

    def watched(**given: Any) -> Any:
        context: Any = start(**given)
        sessions.append(Path(context.address_info["session_dir"]))
        assert sessions[-1].is_dir()
        return context

    monkeypatch.setattr(ray, "init", watched)
    protocol = small_protocol(rounds=2, batch_size=5, local_steps=3)
    expected = to_bytes(run_federation(small_federation(tmp_path / "inline", protocol)))
    rounds = []
    before = threading.active_count()
    final = run_federation(
        on_ray(tmp_path / "ray", protocol), on_round=lambda number, _: rounds.append(number)
    )
    assert to_bytes(final) == expected
    assert rounds == [1, 2]
    assert capfd.readouterr() == ("", "")
    assert not ray.is_initialized()
    assert [session.exists() for session in sessions] == [False]
    assert threading.active_count() <= before + 1  # nothing of Flower's simulation is left running
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == os.environ["FLWR_TELEMETRY_ENABLED"] == "0"


@pytest.mark.slow
def test_a_private_study_on_ray_charges_each_ledger_its_rounds(tmp_path: Path) -> None:
    made = on_ray(tmp_path, private_protocol(rounds=3, attempts=2))
    run_federation(made)
    expected = epsilon(times(made.protocol.event(), 3), 1e-5)
    assert [epsilon(exposures(hospital), 1e-5) for hospital in made.hospitals] == [expected, expected]


@pytest.mark.slow
def test_a_site_that_fails_on_ray_ends_the_study_with_our_error_and_no_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = on_ray(tmp_path, small_protocol(attempts=1))
    well, other = made.hospitals
    sick = replace(other, rows=replace(other.rows, inputs=other.rows.inputs[:, :2].copy()))
    try:
        raise LookupError("an error that is being handled while the study runs")
    except LookupError:  # Flower drops the ServerApp's error in this case
        with pytest.raises(StudyError, match="stayed below its quorum"):
            run_federation(replace(made, hospitals=[well, sick]))
    assert capfd.readouterr() == ("", "")
    assert "expected shape" in (sick.folder / REFUSALS).read_text()


@pytest.mark.slow
def test_sites_that_do_not_answer_on_ray_end_the_study_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation_module, "WAITING", replace(federation_module.WAITING, sites=0.0))
    made = on_ray(tmp_path, private_protocol())
    with pytest.raises(StudyError, match="did not appear within 0 s"):
        run_federation(made)
    assert [exposures(hospital) for hospital in made.hospitals] == [[], []]


INTERRUPTED = """
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from tests.studies import small_federation, small_protocol
from wardround.simulations.federation import run_federation
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
federation = replace(small_federation(Path(sys.argv[1]), small_protocol(rounds=100000)), backend="ray")
try:
    run_federation(federation, on_round=lambda number, _: print(number, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.slow
def test_control_c_on_ray_ends_at_once_with_a_whole_checkpoint(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([".", os.environ.get("PYTHONPATH", "")])},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    assert out.splitlines()[-1] == "interrupted"
    assert child.returncode == 0
    assert json.loads((tmp_path / "federation" / "study-log.jsonl").read_text().splitlines()[-1])
