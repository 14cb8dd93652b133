"""What a supervisor says about itself in a file, for `status` and `down`; and the lock that only one holds.

`up.json` stands in the folder that is private to the role's processes. It is believed only as long as the process that
it names runs and was started when the file says: after a crash and a restart of the computer the same number may belong
to another program.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from wardround.common.durable import LockedError, exclusive, write_passing
from wardround.common.errors import StorageError, StudyError
from wardround.common.trust.ledgerfile import make_folder

FILE: Final = "up.json"
LOCK: Final = "up.lock"
_LOOK: Final = 0.1  # seconds

State = Literal["starting", "running", "waiting", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessState:
    """One supervised process.

    Attributes:
        name: Of the process.
        pid: Its number; 0 while it does not run.
        state: `waiting` means that it ended and is started again soon.
        since: When it was started, in seconds since 1970.
        restarts: How often it was started again.
        ready: Whether it does its work.
        last_error: The last line of its log that says what went wrong; empty if nothing did.
    """

    name: str
    pid: int = 0
    state: State = "stopped"
    since: float = 0.0
    restarts: int = 0
    ready: bool = False
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A supervisor and its processes.

    Attributes:
        pid: The supervisor's process.
        born: When the kernel started it, in ticks since the computer did; 0 where that cannot be known.
        since: When it was started, in seconds since 1970.
        processes: In the order of their start.
    """

    pid: int
    born: int
    since: float
    processes: tuple[ProcessState, ...]

    @property
    def alive(self) -> bool:
        """Whether that very process runs."""
        return _runs(self.pid) and born(self.pid) == self.born

    @property
    def ready(self) -> bool:
        """Whether all of its processes are."""
        return all(process.ready for process in self.processes)

    @property
    def stuck(self) -> bool:
        """Whether one of its processes ended and waits for another start."""
        return any(process.state == "waiting" for process in self.processes)


def born(pid: int) -> int:
    """When the kernel started a process, in its own ticks; 0 where that cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def write_standing(home: Path, standing: Standing) -> None:
    """Replace the file. A full disk is not this file's business: supervision goes on without it."""
    with contextlib.suppress(StorageError):
        write_passing(home / FILE, json.dumps(asdict(standing), indent=1).encode() + b"\n", mode=0o600)


def left_behind(home: Path) -> Standing | None:
    """What the file says, whether or not that supervisor still runs; None if there is none or it is damaged."""
    try:
        found = json.loads((home / FILE).read_bytes())
        processes = tuple(ProcessState(**one) for one in found.pop("processes"))
        return Standing(**found, processes=processes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def running(home: Path) -> Standing | None:
    """The supervisor of a folder; None if none runs.

    Args:
        home: The private folder of the role's processes.
    """
    found = left_behind(home)
    return found if found is not None and found.alive else None


@contextlib.contextmanager
def only_one(home: Path, what: str) -> Iterator[None]:
    """Hold the folder for one supervisor; the kernel lets go of it however that ends.

    Args:
        home: The private folder of the role's processes.
        what: What runs, for the message: `wardround site up`.

    Raises:
        StudyError: Another one runs.
        StorageError: The folder cannot be written.
    """
    make_folder(home)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(exclusive(home / LOCK))
        except LockedError:
            there = running(home)
            number = f" (process {there.pid})" if there else ""
            look, end = what.replace(" up", " status"), what.replace(" up", " down")
            raise StudyError(
                f"`{what}` runs already for this folder{number}",
                advice=f"look at it with `{look} DIR`, stop it with `{end} DIR`",
            ) from None
        held.callback((home / FILE).unlink, missing_ok=True)
        (home / FILE).unlink(missing_ok=True)
        yield


def stop(home: Path, *, patience: float) -> int:
    """Ask the supervisor of a folder to stop its processes and end, and wait for it.

    Args:
        home: The private folder of the role's processes.
        patience: Seconds to wait.

    Returns:
        The number of the process that ended; 0 if none ran.

    Raises:
        StudyError: It did not end in time, or belongs to another user.
    """
    there = running(home)
    if there is None:
        return 0
    try:
        os.kill(there.pid, signal.SIGTERM)
    except ProcessLookupError:
        return there.pid
    except PermissionError:
        raise StudyError(
            f"process {there.pid} belongs to another user", advice="run this command as that user"
        ) from None
    until = time.monotonic() + patience
    while there.alive:
        if time.monotonic() > until:
            raise StudyError(f"process {there.pid} did not end within {patience:g} s", advice="see its logs")
        time.sleep(_LOOK)
    return there.pid


def _runs(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return state.rpartition(")")[2].split()[0] != "Z"
    return True
