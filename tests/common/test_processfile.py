"""One supervisor per folder; a file of an earlier one is never believed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wardround.common.errors import StudyError
from wardround.common.processfile import (
    FILE,
    ProcessState,
    Standing,
    born,
    left_behind,
    only_one,
    running,
    stop,
    write_standing,
)

UP = "wardround site up"


def mine() -> Standing:
    """This process as a supervisor."""
    one = ProcessState(name="one", pid=1, state="running", ready=True)
    return Standing(pid=os.getpid(), born=born(os.getpid()), since=1.0, processes=(one,))


def test_what_was_written_reads_back(tmp_path: Path) -> None:
    write_standing(tmp_path, mine())
    assert running(tmp_path) == mine()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_another_process_with_the_same_number_is_not_the_supervisor(tmp_path: Path) -> None:
    write_standing(tmp_path, replace(mine(), born=born(os.getpid()) - 1))
    assert running(tmp_path) is None
    assert left_behind(tmp_path) is not None
    assert stop(tmp_path, patience=1) == 0  # and it is not ended


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", json.dumps({"pid": 1, "processes": [{}]})])
def test_a_damaged_file_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    assert running(tmp_path) is None


def test_a_second_one_is_refused_and_told_about_the_first(tmp_path: Path) -> None:
    with only_one(tmp_path, UP):
        write_standing(tmp_path, mine())
        with (
            pytest.raises(StudyError, match=rf"runs already.*{os.getpid()}") as caught,
            only_one(tmp_path, UP),
        ):
            pytest.fail("two at once")
        assert "wardround site down DIR" in caught.value.advice
        assert running(tmp_path) == mine()
    with only_one(tmp_path, UP):
        assert running(tmp_path) is None


def test_a_dead_supervisor_leaves_no_lock(tmp_path: Path) -> None:
    text = (
        "import os, sys; from pathlib import Path; from wardround.common.processfile import only_one\n"
        f"with only_one(Path(sys.argv[1]), {UP!r}):\n    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", text, str(tmp_path)], check=False).returncode == -9
    with only_one(tmp_path, UP):
        pass


def test_a_child_that_ended_is_not_running() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not Standing(pid=child.pid, born=born(child.pid), since=0.0, processes=()).alive
