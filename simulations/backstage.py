"""Processes of a rehearsal: started with their output in files, watched, and all ended, whatever happens."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wardround.common.errors import StudyError
from wardround.common.flower.places import environment

GRACE: Final = 30.0  # seconds that all are given to end before they are killed
_LOOK: Final = 0.1  # seconds
_TAIL: Final = 5  # lines


@dataclass(slots=True)
class Backstage:
    """The processes of one rehearsal.

    Attributes:
        stop: Set when a process ended by itself.
        started: Name, process and log of each, in the order of starting.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    started: list[tuple[str, subprocess.Popen[bytes], Path]] = field(default_factory=list)
    _leaving: threading.Event = field(default_factory=threading.Event)

    def start(self, name: str, command: Sequence[str], log: Path) -> None:
        """Start a process in a session of its own, so that Ctrl-C reaches only us; it ends with this process."""
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  (our own module)
                command,
                env=environment(parent=os.getpid()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.started.append((name, process, log))

    def check(self) -> None:
        """Raise if a process ended by itself.

        Raises:
            StudyError: With the last lines of its log.
        """
        for name, process, log in self.started:
            if (code := process.poll()) is not None:
                raise StudyError(f"{name} ended with code {code}:\n{_tail(log)}", advice=f"see {log}")

    def wait_for(self, ready: Callable[[], bool], what: str, *, limit: float) -> None:
        """Wait until something is so.

        Raises:
            StudyError: It was not within `limit` seconds, or a process ended.
        """
        deadline = time.monotonic() + limit
        while not ready():
            self.check()
            if time.monotonic() >= deadline:
                raise StudyError(
                    f"{what} was not ready within {limit:g} s", advice="see the logs in the run folder"
                )
            time.sleep(_LOOK)

    def watch(self) -> None:
        """Set `stop` as soon as a process ends by itself; ends with the rehearsal."""
        while not self._leaving.wait(_LOOK):
            if any(process.poll() is not None for _, process, _ in self.started):
                self.stop.set()
                return

    def end(self) -> None:
        """End all, the last one first, and wait for each."""
        self._leaving.set()
        for _, process, _ in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + GRACE
        for _, process, _ in reversed(self.started):
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def backstage() -> Iterator[Backstage]:
    """Processes that are gone at the end, also after Ctrl-C or a failure."""
    made = Backstage()
    watcher = threading.Thread(target=made.watch, daemon=True)
    watcher.start()
    try:
        yield made
    finally:
        made.end()
        watcher.join()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_TAIL:]) or "(it said nothing)"
