"""A run in a process of its own that is stopped from outside, or lacks a library."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.runs import simulate_words, study, table, write

ROUNDS = 4000  # more than any machine finishes before it is interrupted


def hear_control_c() -> None:
    """Ctrl-C is ignored by whatever a script starts in the background, this test run perhaps among it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_control_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = simulate_words(*write(tmp_path, study(rounds=ROUNDS), table()), tmp_path / "run")
    process = subprocess.Popen(
        [sys.executable, "-m", "wardround", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_control_c,
    )
    checkpoint = tmp_path / "run" / "federation" / "checkpoint.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "the same command goes on" in err


def test_a_reader_that_left_gets_141_and_a_finished_run(tmp_path: Path) -> None:
    words = simulate_words(*write(tmp_path, study(rounds=1), table()), tmp_path / "run")
    read, closed = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "wardround", *words, "--json"],
        stdout=closed,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(closed)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "run" / "results.json").read_text())["study"] == "small"


@pytest.mark.parametrize("absent", ["pandas", "jinja2"])
def test_without_the_extra_simulate_names_what_to_install(absent: str, tmp_path: Path) -> None:
    words = simulate_words(*write(tmp_path, study(rounds=1), table()), tmp_path / "run")
    lacking = f"import sys; sys.modules[{absent!r}] = None\nfrom wardround.cli import main\n"
    done = subprocess.run(
        [sys.executable, "-c", lacking + "sys.exit(main(sys.argv[1:]))", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "pip install 'wardround[simulation]'" in done.stderr
    assert not (tmp_path / "run").exists()
