"""The supervisor over real processes: order, restarts, giving up, and nobody left behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from tests.flowerline import alive, until

from wardround.common import processes
from wardround.common.errors import StudyError
from wardround.common.processes import LONGEST_PAUSE, Program, Supervisor, pause_after
from wardround.common.processfile import left_behind, only_one, running
from wardround.common.processlogs import own_lines

# Notes its name when it starts and when it is asked to end.
WELL = """
import signal, sys, time
note = open(sys.argv[1], "a", buffering=1)
def leave(*given):
    note.write(sys.argv[2] + " ends\\n")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, leave)
note.write(sys.argv[2] + " starts\\n")
while True:
    time.sleep(0.05)
"""
BROKEN = "import sys; sys.exit('StorageError: the disk is full')"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


class Stage:
    """A supervisor in this process, and what it said."""

    def __init__(self, root: Path, *programs: Program) -> None:
        self.root = root
        self.said: list[str] = []
        self.supervisor = Supervisor(
            programs,
            home=root / "flower",
            logs=root / "logs",
            say=self.said.append,
            jitter=Random(1),  # noqa: S311
        )

    def run(self, then: Callable[[], None]) -> None:
        """Supervise while `then` runs beside it, and stop."""
        failures: list[BaseException] = []

        def beside() -> None:
            try:
                then()
            except BaseException as error:
                failures.append(error)
            finally:
                self.supervisor.stop()

        thread = threading.Thread(target=beside)
        with only_one(self.root / "flower", "wardround site up"):
            thread.start()
            try:
                self.supervisor.run()
            finally:
                self.supervisor.stop()
                thread.join()
        if failures:
            raise failures[0]

    def pid(self, number: int = 0) -> int:
        """The process that runs a program now."""
        return self.supervisor.standing.processes[number].pid

    def ready(self) -> bool:
        """Whether all are."""
        return self.supervisor.standing.ready


def program(
    name: str, text: str, *arguments: object, ready: Callable[[int], bool] = lambda _: True
) -> Program:
    return Program(
        name=name,
        command=[sys.executable, "-S", "-c", text, *map(str, arguments)],
        environment=dict(os.environ),
        ready=ready,
    )


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses."""
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(processes, "_GLANCE", (0.05, 0.05))


@pytest.mark.usefixtures("hasty")
def test_processes_start_in_order_and_stop_in_reverse_order(tmp_path: Path) -> None:
    note = tmp_path / "note"
    stage = Stage(tmp_path, *(program(name, WELL, note, name) for name in ("first", "second")))

    def both_started() -> bool:
        return note.exists() and note.read_text().count("starts") == 2

    stage.run(lambda: until(both_started))
    assert note.read_text().splitlines()[2:] == ["second ends", "first ends"]
    assert [line.split()[0] for line in stage.said[:2]] == ["first", "second"]
    assert running(tmp_path / "flower") is None


@pytest.mark.usefixtures("hasty")
def test_what_was_killed_is_started_again_and_the_file_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path, program("one", WELL, tmp_path / "note", "one"))

    def kill() -> None:
        until(stage.ready)
        before = stage.pid()
        os.kill(before, signal.SIGKILL)
        until(lambda: stage.pid() not in (0, before) and stage.ready())
        until(lambda: (there := running(tmp_path / "flower")) is not None and there.ready)
        there = running(tmp_path / "flower")
        assert there is not None
        assert there.pid == os.getpid()
        assert (there.processes[0].restarts, there.processes[0].pid) == (1, stage.pid())
        assert there.processes[0].last_error == "it ended by SIGKILL"

    stage.run(kill)
    assert any("ended by SIGKILL; it is started again" in line for line in stage.said)


@pytest.mark.usefixtures("hasty")
def test_what_dies_again_and_again_is_given_up_with_its_last_error(tmp_path: Path) -> None:
    stage = Stage(tmp_path, program("well", WELL, tmp_path / "note", "well"), program("broken", BROKEN))
    started: list[int] = []

    def watch() -> None:
        until(lambda: stage.pid(0) > 0)
        started.append(stage.pid(0))
        until(lambda: stage.supervisor.ending)

    with pytest.raises(StudyError, match=r"broken ended 8 times.*exit code 1.*the disk is full") as caught:
        stage.run(watch)
    assert "broken.log" in caught.value.advice
    assert not alive(started[0])
    assert (tmp_path / "note").read_text().splitlines()[-1] == "well ends"


@pytest.mark.usefixtures("hasty")
def test_a_program_that_is_not_there_is_given_up_too(tmp_path: Path) -> None:
    absent = Program(name="absent", command=[str(tmp_path / "no")], environment={}, ready=lambda _: True)
    stage = Stage(tmp_path, absent)
    with pytest.raises(StudyError, match="No such file"):
        stage.run(lambda: until(lambda: stage.supervisor.ending))


@pytest.mark.usefixtures("hasty")
def test_deaths_after_a_steady_life_are_not_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STEADY", 0.1)
    monkeypatch.setattr(processes, "DEATHS", 2)
    stage = Stage(tmp_path, program("mortal", "import time; time.sleep(0.3)"))
    stage.run(lambda: until(lambda: stage.supervisor.standing.processes[0].restarts >= 3))


REFUSED_FOR_A_WHILE = """
import pathlib, sys, time
lives, sign = map(pathlib.Path, sys.argv[1:])
life = len(lives.read_text()) + 1 if lives.exists() else 1
lives.write_text("x" * life)
if life in (2, 3, 5, 6):
    sys.exit("refused")
sign.touch()
time.sleep(0.7 if life < 7 else 60)
sign.unlink()
"""


@pytest.mark.usefixtures("hasty")
def test_what_is_refused_for_a_while_after_each_of_two_kills_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "DEATHS", 4)
    lives, sign = tmp_path / "lives", tmp_path / "ready"
    stage = Stage(tmp_path, program("node", REFUSED_FOR_A_WHILE, lives, sign, ready=lambda _: sign.exists()))
    stage.run(lambda: until(lambda: lives.exists() and lives.read_text() == "x" * 7 and stage.ready()))


@pytest.mark.usefixtures("hasty")
def test_what_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE", 0.3)
    stage = Stage(tmp_path, program("deaf", DEAF))
    seen: list[int] = []

    def once_deaf() -> None:
        until(lambda: (tmp_path / "logs" / "deaf.log").exists())
        seen.append(stage.pid())

    stage.run(once_deaf)
    assert not alive(seen[0])
    assert any("was killed" in line for line in stage.said)


@pytest.mark.usefixtures("hasty")
def test_what_a_process_prints_passes_the_filter_of_its_log(tmp_path: Path) -> None:
    text = "print('Jane Roe, 71', flush=True); int('Jane Roe')"
    loud = Program(
        name="loud",
        command=[sys.executable, "-S", "-c", text],
        environment=dict(os.environ),
        ready=lambda _: True,
        keep=own_lines,
    )
    stage = Stage(tmp_path, loud)
    with pytest.raises(StudyError, match=r"its last error: ValueError$"):
        stage.run(lambda: until(lambda: stage.supervisor.ending))
    everything = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "ValueError" in everything
    assert "Jane" not in everything


@pytest.mark.usefixtures("hasty")
def test_what_has_not_said_that_it_is_connected_is_not_ready(tmp_path: Path) -> None:
    text = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.05)\n"
    text += "print('let in', flush=True); time.sleep(60)"
    guest = replace(program("guest", text, tmp_path / "door"), announces="let in")
    stage = Stage(tmp_path, guest)

    def wait_and_open() -> None:
        until(lambda: stage.pid() > 0)
        time.sleep(0.5)
        assert not stage.ready()
        (tmp_path / "door").touch()
        until(stage.ready)

    stage.run(wait_and_open)


def test_pauses_double_up_to_a_limit_and_differ_between_hospitals() -> None:
    pauses = [pause_after(deaths, Random(3)) for deaths in range(1, 40)]  # noqa: S311
    assert pauses == sorted(pauses)
    assert 1.0 <= pauses[0] <= 1.25
    assert LONGEST_PAUSE <= pauses[-1] <= 1.25 * LONGEST_PAUSE
    assert len({pause_after(3, Random(seed)) for seed in range(20)}) == 20  # noqa: S311
    assert sum(pauses[: processes.DEATHS - 1]) > 60  # the SuperLink refuses a returning node for so long


def test_the_file_is_gone_after_an_orderly_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path, program("one", WELL, tmp_path / "note", "one"))
    stage.run(lambda: until(lambda: left_behind(tmp_path / "flower") is not None))
    assert left_behind(tmp_path / "flower") is None
