"""Kill a process before, within and after each durable call, and look at what it leaves behind.

Used by the crash tests of the ledger, the study log and whole studies. The calls are wrapped in a forked child, so
that the code under test knows nothing of it. A study makes hundreds of calls, and many ways to stop it leave the very
same bytes behind: `distinct_crash_points` takes one of each. Four ways to stop at the k-th call:

- `before` and `after`: the process is killed; what was written stays (the kernel holds it).
- `half`: only for writes: half of the bytes, then killed.
- `power cut`: killed before the call, and everything that was not synced is gone: bytes, new files, renames.
"""

import os
import select
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from tests.power import Unsynced, digest_of, files_of

Acknowledge = Callable[[str], None]
Action = Callable[[Path, Acknowledge], None]
Target = tuple[Any, str]

DURABLE: tuple[Target, ...] = ((os, "write"), (os, "fsync"), (os, "replace"), (os, "ftruncate"))
STOPPED = 77  # exit status of a child that was stopped on purpose
_real_write = os.write


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
    points = _points(root, action, prepare, targets, seconds)
    yield from (_stopped(root, action, prepare, targets, seconds, point) for point in points)


def distinct_crash_points(
    root: Path,
    action: Action,
    *,
    prepare: Callable[[Path], None] = lambda folder: None,
    targets: Sequence[Target] = DURABLE,
    seconds: float = 60.0,
    every: int = 1,
) -> Iterator[Crash]:
    """Like `crash_points`, but one crash for each state that any of them leaves on disk.

    Which states are equal is read off one uninterrupted run, byte by byte: before an fsync everything is as after
    the write, and a power cut within an atomic replacement leaves what was there before it. Of several crashes with
    one state the last is taken, by which time most was acknowledged; of `every` such crashes in a row, one.
    """
    points = _points(root, action, prepare, targets, seconds)
    last = {point.state: point for point in points}
    chosen = sorted(last.values(), key=lambda point: point.number)
    yield from (_stopped(root, action, prepare, targets, seconds, point) for point in chosen[::every])


@dataclass(frozen=True, kw_only=True)
class _Point:
    """One way to interrupt the action, and a digest of what would then be on disk."""

    number: int
    call: str
    how: str
    state: str


def _points(
    root: Path, action: Action, prepare: Callable[[Path], None], targets: Sequence[Target], seconds: float
) -> list[_Point]:
    folder = _new(root / "whole", prepare)
    status, lines = _in_child(action, folder, _Plan(0, "never", targets, folder), seconds)
    assert status == 0, "the action failed without any interruption; its traceback is above"
    found = [line.split(" ", 4)[1:] for line in lines if line.startswith("point ")]
    assert found, "the action made no durable call: nothing was tested"
    return [
        _Point(number=int(number), call=call, how=how.replace("-", " "), state=state)
        for number, call, how, state in found
    ]


def _stopped(
    root: Path,
    action: Action,
    prepare: Callable[[Path], None],
    targets: Sequence[Target],
    seconds: float,
    point: _Point,
) -> Crash:
    folder = _new(root / f"{point.number:03d}-{point.call}-{point.how.replace(' ', '-')}", prepare)
    plan = _Plan(point.number, point.how, targets, folder)
    status, lines = _in_child(action, folder, plan, seconds)
    assert status == STOPPED, f"{folder.name} ended with status {status}"
    acknowledged = tuple(line.removeprefix("done ") for line in lines if line.startswith("done "))
    return Crash(
        folder=folder, call=point.call, number=point.number, how=point.how, acknowledged=acknowledged
    )


def _new(folder: Path, prepare: Callable[[Path], None]) -> Path:
    folder.mkdir()
    prepare(folder)
    return folder


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
    folder: Path
    count: int = 0
    disk: Unsynced = field(default_factory=Unsynced)

    def install(self, speak: Callable[[str], None]) -> None:
        for owner, name in self.targets:
            setattr(owner, name, self._wrapped(getattr(owner, name), name, speak))

    def _wrapped(
        self, real: Callable[..., Any], name: str, speak: Callable[[str], None]
    ) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.number:
                self._stop(real, name, given, named)
            if self.number:
                self.disk.note(name, given)
                return real(*given, **named)
            return self._watched(real, name, given, named, speak)

        return call

    def _watched(
        self,
        real: Callable[..., Any],
        name: str,
        given: tuple[Any, ...],
        named: dict[str, Any],
        speak: Callable[[str], None],
    ) -> Any:
        """Make the call, and say what each way to stop at it would leave behind."""
        left = files_of(self.folder)
        states = {"before": digest_of(left), "power-cut": digest_of(self.disk.kept(left))}
        if name == "write":
            states["half"] = f"half of {self.count}"
        self.disk.note(name, given)
        count, result = self.count, real(*given, **named)
        states["after"] = digest_of(files_of(self.folder))
        for how, state in states.items():
            speak(f"point {count} {name} {how} {state}")
        return result

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
