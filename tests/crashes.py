"""Kill a process before, within and after each durable call, and look at what it leaves behind.

Used by the crash tests of the ledger, the study log and whole studies. The calls are wrapped in a forked child, so
that the code under test knows nothing of it. Four ways to stop at the k-th call:

- `before` and `after`: the process is killed; what was written stays (the kernel holds it).
- `half`: only for writes: half of the bytes, then killed.
- `power cut`: killed before the call, and everything that was not synced is gone: bytes, new files, renames.
"""

import contextlib
import os
import select
import signal
import stat
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

Acknowledge = Callable[[str], None]
Action = Callable[[Path, Acknowledge], None]
Target = tuple[Any, str]

DURABLE: tuple[Target, ...] = ((os, "write"), (os, "fsync"), (os, "replace"), (os, "ftruncate"))
STOPPED = 77  # exit status of a child that was stopped on purpose
_real_write, _real_replace = os.write, os.replace


@dataclass(frozen=True, kw_only=True)
class Crash:
    """One interrupted run.

    Attributes:
        folder: Where the action worked, as the crash left it.
        call: Name of the call, e.g. `fsync`.
        number: Which durable call of the run it was, from 1.
        how: `before`, `after`, `half` or `power cut`.
        acknowledged: What the action had acknowledged by then, in order.
    """

    folder: Path
    call: str
    number: int
    how: str
    acknowledged: tuple[str, ...]


def crash_points(
    root: Path,
    action: Action,
    *,
    prepare: Callable[[Path], None] = lambda folder: None,
    targets: Sequence[Target] = DURABLE,
    seconds: float = 60.0,
) -> Iterator[Crash]:
    """Run `action` once for each way to interrupt it; yield what is left each time.

    Args:
        root: An empty folder; each run gets its own folder in it.
        action: Called as action(folder, acknowledge) in a forked child. It calls `acknowledge(text)` after each
            thing that a caller was told is done.
        prepare: Called with each new folder in this process, before the fork, without interruptions.
        targets: (object, attribute) of the calls to interrupt; append e.g. (grid, "push_messages").
        seconds: A child that takes longer fails the test.

    Raises:
        AssertionError: An uninterrupted action failed, or made no durable call at all.
    """
    calls = _dry_run(root / "whole", action, prepare, targets, seconds)
    assert calls, "the action made no durable call: nothing was tested"
    for number, call in enumerate(calls, start=1):
        for how in ("before", "after", "power cut", *(("half",) if call == "write" else ())):
            folder = _new(root / f"{number:03d}-{call}-{how.replace(' ', '-')}", prepare)
            status, lines = _in_child(action, folder, _Plan(number, how, targets), seconds)
            assert status == STOPPED, f"{folder.name} ended with status {status}"
            yield Crash(folder=folder, call=call, number=number, how=how, acknowledged=_spoken(lines))


def _dry_run(
    folder: Path,
    action: Action,
    prepare: Callable[[Path], None],
    targets: Sequence[Target],
    seconds: float,
) -> list[str]:
    status, lines = _in_child(action, _new(folder, prepare), _Plan(0, "never", targets), seconds)
    assert status == 0, "the action failed without any interruption; its traceback is above"
    return [line.removeprefix("call ") for line in lines if line.startswith("call ")]


def _new(folder: Path, prepare: Callable[[Path], None]) -> Path:
    folder.mkdir()
    prepare(folder)
    return folder


def _spoken(lines: list[str]) -> tuple[str, ...]:
    return tuple(line.removeprefix("done ") for line in lines if line.startswith("done "))


def _in_child(action: Action, folder: Path, plan: "_Plan", seconds: float) -> tuple[int, list[str]]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(action, folder, plan, writer)
    os.close(writer)
    try:
        data = _read_all(reader, time.monotonic() + seconds)
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), data.decode().splitlines()


def _read_all(reader: int, deadline: float) -> bytes:
    data = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError("the interrupted process neither ended nor crashed")
        piece = os.read(reader, 65536)
        if not piece:
            return data
        data += piece


def _child(action: Action, folder: Path, plan: "_Plan", writer: int) -> NoReturn:
    def speak(text: str) -> None:
        _real_write(writer, text.encode() + b"\n")

    status = 1
    try:
        plan.install(speak)
        action(folder, lambda text: speak(f"done {text}"))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


@dataclass
class _Plan:
    """Stops this process at one call. Lives in the child only."""

    number: int
    how: str
    targets: Sequence[Target]
    count: int = 0
    disk: "_Unsynced" = field(default_factory=lambda: _Unsynced())

    def install(self, speak: Callable[[str], None]) -> None:
        for owner, name in self.targets:
            setattr(owner, name, self._wrapped(getattr(owner, name), name, speak))

    def _wrapped(
        self, real: Callable[..., Any], name: str, speak: Callable[[str], None]
    ) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.count += 1
            speak(f"call {name}")
            if self.count == self.number:
                self._stop(real, name, given, named)
            self.disk.note(name, given)
            return real(*given, **named)

        return call

    def _stop(
        self, real: Callable[..., Any], name: str, given: tuple[Any, ...], named: dict[str, Any]
    ) -> NoReturn:
        match self.how:
            case "after":
                real(*given, **named)
            case "half":
                descriptor, data = given
                _real_write(descriptor, bytes(data)[: len(data) // 2])
            case "power cut":
                self.disk.forget()
        os._exit(STOPPED)


@dataclass
class _Unsynced:
    """What a power cut takes away: the pessimistic disk keeps nothing that was not synced."""

    sizes: dict[str, int] = field(default_factory=dict)  # file -> bytes that are on the platter
    names: dict[str, bytes | None] = field(default_factory=dict)  # name -> what its folder still says

    def note(self, name: str, given: tuple[Any, ...]) -> None:
        match name:
            case "write":
                self._written(given[0])
            case "fsync":
                self._synced(given[0])
            case "replace":
                self._renamed(str(given[0]), str(given[1]))

    def forget(self) -> None:
        for path, size in self.sizes.items():
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, size)
        for path, content in self.names.items():
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            if content is not None:
                Path(path).write_bytes(content)

    def _written(self, descriptor: int) -> None:
        path, found = _path(descriptor), os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            self.sizes.setdefault(path, found.st_size)
            if found.st_size == 0:
                self.names.setdefault(path, None)

    def _synced(self, descriptor: int) -> None:
        path = _path(descriptor)
        self.sizes.pop(path, None)
        self.names = {name: old for name, old in self.names.items() if os.path.dirname(name) != path}

    def _renamed(self, source: str, target: str) -> None:
        old = Path(target).read_bytes() if Path(target).exists() else None
        self.names.setdefault(os.path.realpath(target), old)
        self.names.pop(os.path.realpath(source), None)
        size = self.sizes.pop(os.path.realpath(source), None)
        if size is not None:
            self.sizes[os.path.realpath(target)] = size


def _path(descriptor: int) -> str:
    return os.path.realpath(f"/proc/self/fd/{descriptor}")
