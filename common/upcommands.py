"""`up`, `down`, `status` and `logs`: the same four commands for a coordinator and for a hospital.

`up` stays in the foreground, as systemd and Compose want it; `--detach` starts it in the background and returns once
everything is ready, or says what went wrong.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wardround.common.processfile import ProcessState, Standing

_Groups = argparse._SubParsersAction
NOT_READY: Final = 8  # exit code of `status`, that of a StudyError
_LINES: Final = 40
_START: Final = 60.0  # seconds that `--detach` waits for everything to be ready
_STOP: Final = 60.0  # seconds that `down` waits
_LOOK: Final = 0.2  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Whose processes these are.

    Attributes:
        group: `server` or `site`.
        names: Of its processes, in the order of their start.
        home: Its folder -> the private folder of its processes.
        logs: Its folder -> the folder of their logs.
        check: Refuses a folder that is none.
    """

    group: str
    names: Sequence[str]
    home: Callable[[Path], Path] = field(repr=False)
    logs: Callable[[Path], Path] = field(repr=False)
    check: Callable[[Path], object] = field(repr=False)

    @property
    def command(self) -> str:
        """As a person types it."""
        return f"wardround {self.group}"


def add_up(commands: "_Groups[argparse.ArgumentParser]", text: str, whose: str) -> argparse.ArgumentParser:
    """Add `up`; the caller sets what it runs."""
    up = _command(commands, "up", "start and supervise the processes", text, whose)
    up.add_argument("--detach", action="store_true", help="in the background; returns when all is ready")
    return up


def add_others(
    commands: "_Groups[argparse.ArgumentParser]", whose: str, runs: Mapping[str, Callable[..., int]]
) -> argparse.ArgumentParser:
    """Add `down`, `status` and `logs`; gives `status`, for options of the role's own."""
    text = "Stop the processes in order and wait for their end. What was under way is done again after the next `up`."
    _command(commands, "down", "stop the processes", text, whose).set_defaults(run=runs["down"])
    text = (
        "Which processes run, since when, their restarts and last errors. Exit code 8 if not all are ready."
    )
    status = _command(
        commands,
        "status",
        "which processes run, and how well",
        text,
        whose,
    )
    status.add_argument("--json", action="store_true", help="print it as JSON")
    status.set_defaults(run=runs["status"])
    text = "The last lines of the logs, which rotate and never show a patient."
    logs = _command(commands, "logs", "the last lines of the logs", text, whose)
    logs.add_argument(
        "process",
        nargs="?",
        default="up",
        metavar="PROCESS",
        help="one of its processes; by default 'up', the supervisor itself",
    )
    logs.add_argument("--lines", type=int, default=_LINES, metavar="N", help=f"how many ({_LINES})")
    logs.add_argument("--follow", action="store_true", help="go on with new lines until Ctrl-C")
    logs.set_defaults(run=runs["logs"])
    return status


def detach(role: Role, folder: Path, *, options: Sequence[str] = (), secret: Mapping[str, str]) -> int:
    """Start `up` in the background and wait until everything is ready.

    Args:
        role: Whose.
        folder: Its folder.
        options: Further options of `up`.
        secret: What only the environment of the new process may hold.

    Returns:
        The exit code: 0 once all is ready, or all runs and still gets ready; that of `up` if it ended.
    """
    from wardround.common.processfile import running
    from wardround.common.trust.ledgerfile import make_folder

    make_folder(role.logs(folder))
    log = role.logs(folder) / "detached.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as out:
        process = subprocess.Popen(  # noqa: S603  (our own command)
            [sys.executable, "-m", "wardround", role.group, "up", str(folder), *options],
            env={**os.environ, **secret},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    until = time.monotonic() + _START
    while time.monotonic() < until:
        if (code := process.poll()) is not None:
            print(log.read_text(encoding="utf-8", errors="replace").rstrip(), file=sys.stderr)
            return code or NOT_READY
        there = running(role.home(folder))
        if there and there.pid == process.pid and (there.stuck or (there.processes and there.ready)):
            break
        time.sleep(_LOOK)
    return show_status(role, folder)


def stop_all(role: Role, folder: Path) -> int:
    """`down`."""
    from wardround.common.processfile import stop

    role.check(folder)
    ended = stop(role.home(folder), patience=_STOP)
    print("All processes have ended." if ended else "Nothing runs here.")
    return 0


def show_status(role: Role, folder: Path, *, more: Callable[[], Sequence[str]] = tuple) -> int:
    """`status` for a person.

    Args:
        role: Whose.
        folder: Its folder.
        more: Further lines, if the processes run.
    """
    from wardround.common.processfile import running

    role.check(folder)
    there = running(role.home(folder))
    if there is None:
        print(f"Nothing runs here. Start it: {role.command} up DIR")
        return NOT_READY
    for line in (*_lines(there), *more()):
        print(line)
    return 0 if there.ready else NOT_READY


def show_json(role: Role, folder: Path) -> int:
    """`status --json`."""
    from wardround.common.processfile import running

    role.check(folder)
    there = running(role.home(folder))
    shown = asdict(there) | {"ready": there.ready} if there else {"pid": 0, "ready": False, "processes": []}
    print(json.dumps(shown, indent=2))
    return 0 if there and there.ready else NOT_READY


def show_logs(role: Role, folder: Path, arguments: argparse.Namespace) -> int:
    """`logs`."""
    from wardround.common.checks import one_of, positive
    from wardround.common.processlogs import follow, tail

    role.check(folder)
    one_of(("up", *role.names), process=arguments.process)
    positive(lines=arguments.lines)
    path = role.logs(folder) / f"{arguments.process}.log"
    for line in tail(path, arguments.lines):
        print(line)
    if arguments.follow:
        for line in follow(path, lambda: time.sleep(_LOOK)):
            print(line, flush=True)
    return 0


def say(line: str) -> None:
    """Print a line of the supervisor at once."""
    print(line, flush=True)


def _lines(there: "Standing") -> list[str]:
    head = f"Up since {_clock(there.since)} (process {there.pid})."
    return [head, *(line for process in there.processes for line in _process_lines(process))]


def _process_lines(process: "ProcessState") -> list[str]:
    state = "ready" if process.ready else process.state
    often = f"restarts: {process.restarts}"
    number = f"process {process.pid}" if process.pid else "no process"
    line = f"  {process.name:<10} {state:<8}  {number}, since {_clock(process.since)}, {often}"
    return [line, f"             last error: {process.last_error}"] if process.last_error else [line]


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _command(
    commands: "_Groups[argparse.ArgumentParser]", name: str, line: str, text: str, whose: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=line, description=text)
    command.add_argument("folder", type=Path, metavar="DIR", help=whose)
    return command
