"""A supervisor: starts processes in order, watches them, starts them again, and stops them in reverse order.

It knows nothing of what they do. Each process writes into a log of its own that rotates, is told whose child it is so
that it ends with the supervisor, and gets a session of its own, so that Ctrl-C reaches the supervisor alone and the
order of stopping holds.

Guarantees:
    A process that ends again and again at once is given up, with its last error: no restart for ever.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

from wardround.common.errors import StudyError
from wardround.common.flower.places import PARENT
from wardround.common.processfile import ProcessState, Standing, born, write_standing
from wardround.common.processlogs import Keep, RotatingLog, alarming, every_line

STEADY: Final = 60.0  # seconds after which a process counts as well, and the next death as its first
DEATHS: Final = 8  # in a row, each before that time (and all before, or all after, it was ready): given up
FIRST_PAUSE: Final = 1.0  # seconds before the first restart; doubled every time
LONGEST_PAUSE: Final = 30.0  # seconds
JITTER: Final = 0.25  # of a pause, so that hospitals do not come back all at once
PATIENCE: Final = 10.0  # seconds between asking a process to end and ending it
_TICK: Final = 0.2  # seconds
_GLANCE: Final = (1.0, 10.0)  # seconds between two looks whether a process is ready: before, and once it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a supervisor starts.

    Attributes:
        name: Of the process and of its log.
        command: The command and its arguments.
        environment: All of its environment; may hold a passphrase.
        ready: Whether the process of a number does its work; asked often, answers in two seconds.
        keep: What is written of a line of its output.
        announces: What stands in its output once it can do its work; empty if it does not say so.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    ready: Callable[[int], bool] = field(repr=False)
    keep: Keep = field(default=every_line, repr=False)
    announces: str = ""


def pause_after(deaths: int, jitter: random.Random) -> float:
    """Seconds to wait after so many deaths in a row: doubled each time up to a limit, plus up to a quarter.

    Example:
        >>> [round(pause_after(n, random.Random(1)), 2) for n in (1, 2, 5, 60)]
        [1.03, 2.07, 16.54, 31.01]
    """
    whole = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 1, 30))
    return whole * (1 + JITTER * jitter.random())


class Runner:
    """One program over all its lives.

    Args:
        program: What to start.
        logs: The folder of logs.
        say: Gets one line per event.
        jitter: For the pauses.
    """

    def __init__(
        self, program: Program, logs: Path, say: Callable[[str], None], jitter: random.Random
    ) -> None:
        self.program = program
        self.state = ProcessState(name=program.name)
        self._log = RotatingLog(logs / f"{program.name}.log", program.keep)
        self._say = say
        self._jitter = jitter
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._started, self._worked = 0.0, False
        self._false_starts, self._short_lives = 0, 0
        # These are written by the reader's thread too; of a life that said nothing wrong, the end is the error.
        self._alarm, self._calm, self._announced = "", True, False
        self._next_start, self._next_glance = 0.0, 0.0

    def look(self, now: float) -> None:
        """Start what is due, notice what ended, and ask whether it is ready.

        Args:
            now: Seconds that never go back.

        Raises:
            StudyError: The program died too often at once.
        """
        if self._process is None:
            if now >= self._next_start:
                self._start(now)
        elif (code := self._process.poll()) is not None:
            how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
            self._ended(how, now)
        elif now >= self._next_glance:
            self._glance(self._process.pid, now)
        if self._alarm != self.state.last_error:
            self.state = replace(self.state, last_error=self._alarm)

    def ask_to_end(self) -> None:
        """Send SIGTERM, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def end(self, patience: float) -> None:
        """Wait for the end; after `patience` seconds, force it."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            self._say(f"{self.program.name} did not end in {patience:g} s and was killed")
            self._process.kill()
            self._process.wait()
        self._read_rest()
        self._process = None
        self.state = replace(self.state, state="stopped", pid=0, ready=False)

    def _start(self, now: float) -> None:
        self._started = self._next_glance = now
        self._worked, self._calm, self._announced = False, True, not self.program.announces
        try:
            process = self._process = subprocess.Popen(  # noqa: S603  (our own command)
                list(self.program.command),
                env={**self.program.environment, PARENT: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._ended(f"before it began ({error.strerror or error})", now)
            return
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()
        again = self.state.restarts + (self.state.since > 0)
        self.state = replace(
            self.state, pid=process.pid, state="starting", since=time.time(), restarts=again, ready=False
        )
        self._say(f"{self.program.name} started (process {process.pid})")

    def _ended(self, how: str, now: float) -> None:
        self._read_rest()
        self._process = None
        deaths = self._counted(now - self._started)
        if self._calm:
            self._alarm = f"it ended {how}"
        self.state = replace(self.state, state="waiting", pid=0, ready=False)
        if deaths >= DEATHS:
            raise StudyError(
                f"{self.program.name} ended {deaths} times in a row soon after its start, the last time {how};"
                f" its last error: {self._alarm}",
                advice=f"see {self._log.path}, and `wardround doctor DIR`",
            )
        pause = pause_after(deaths, self._jitter)
        self._next_start = now + pause
        self._say(f"{self.program.name} ended {how}; it is started again in {pause:.0f} s")

    def _counted(self, seconds: float) -> int:
        """Deaths in a row, this one included, after a life of so many seconds.

        Lives that ended before they were ready are counted apart: for a minute a SuperLink refuses a SuperNode
        that was killed, and two kills soon after one another must not add up to a hospital that is given up.
        """
        if seconds >= STEADY:
            self._false_starts, self._short_lives = 0, 1
        elif self._worked:
            self._false_starts, self._short_lives = 0, self._short_lives + 1
        else:
            self._false_starts += 1
        return max(self._false_starts, self._short_lives)

    def _glance(self, pid: int, now: float) -> None:
        ready = self._announced and self.program.ready(pid)
        if ready != self.state.ready:
            self._say(f"{self.program.name} is {'ready' if ready else 'not ready any more'}")
        self._worked |= ready
        self.state = replace(self.state, ready=ready, state="running" if ready else self.state.state)
        self._next_glance = now + _GLANCE[ready]

    def _read(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                written = self._log.write(line.decode(errors="replace"))
                self._announced |= self.program.announces in written
                if alarming(written):
                    self._alarm, self._calm = written, False

    def _read_rest(self) -> None:
        # A grandchild may hold the pipe open; its lines are not worth waiting for.
        if self._reader is not None:
            self._reader.join(timeout=1.0)


class Supervisor:
    """Runs programs until it is asked to stop.

    Args:
        programs: In the order of their start.
        home: The private folder of the role's processes, held by `only_one`.
        logs: The folder of logs.
        say: Gets one line per event.
        jitter: For the pauses between restarts.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        home: Path,
        logs: Path,
        say: Callable[[str], None],
        jitter: random.Random,
    ) -> None:
        log = RotatingLog(logs / "up.log")
        self._home = home
        self._screen = say
        self._own_log = log
        self._runners = [Runner(program, logs, self.say, jitter) for program in programs]
        self._ending = False
        self._saying = threading.Lock()
        self._written: Standing | None = None
        self._since = time.time()

    def say(self, line: str) -> None:
        """Tell the person at the terminal, and the supervisor's own log."""
        with self._saying:
            self._screen(line)
            self._own_log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")

    def stop(self) -> None:
        """Ask for the end; from anywhere, also from a signal handler."""
        self._ending = True

    @property
    def ending(self) -> bool:
        """Whether the end was asked for."""
        return self._ending

    @property
    def standing(self) -> Standing:
        """What there is to say now."""
        pid = os.getpid()
        states = tuple(runner.state for runner in self._runners)
        return Standing(pid=pid, born=born(pid), since=self._since, processes=states)

    def run(self) -> None:
        """Supervise until `stop`; every process has ended on return.

        Raises:
            StudyError: A process died too often at once; the others were stopped.
        """
        try:
            while not self._ending:
                for runner in self._runners:
                    runner.look(time.monotonic())
                self._write()
                time.sleep(_TICK)
        except StudyError as error:
            self.say(str(error))
            raise
        finally:
            self._ending = True
            self._end_all()

    def _end_all(self) -> None:
        for runner in reversed(self._runners):
            runner.ask_to_end()
            runner.end(PATIENCE)
        self.say("all processes have ended")

    def _write(self) -> None:
        standing = self.standing
        if standing != self._written:
            write_standing(self._home, standing)
            self._written = standing


def end_on_signals(supervisor: Supervisor) -> None:
    """Let SIGTERM, Ctrl-C and a closed terminal ask for the end; in the main thread only."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *given: supervisor.stop())
