"""Progress on a terminal: one line that says what is being done and how far it is.

On a terminal it is a moving bar; into a file or a pipe it is one line per step; with `--json` it goes to standard
error, so that standard output stays one JSON value.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from wardround.simulations.run import Step

if TYPE_CHECKING:
    from rich.progress import TaskID


@contextlib.contextmanager
def shown(title: str) -> Iterator[Step]:
    """A `Step` that shows progress of one run on standard error, and at which Ctrl-C is never lost."""
    with _remembered_interrupts() as check:
        if sys.stderr.isatty():
            with _bar(title) as step:
                yield _both(check, step)
        else:
            yield _both(check, _Lines(title))


def _both(check: Callable[[], None], step: Step) -> Step:
    def checked(stage: str, done: int, total: int) -> None:
        check()
        step(stage, done, total)

    return checked


@contextlib.contextmanager
def _remembered_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C raises at once as usual, and again at the next check if somebody's code swallowed it.

    A KeyboardInterrupt that is raised inside a finalizer, a weak reference's callback or a library's bare `except`
    is lost without a trace; the run would go on as if nobody had asked it to stop.
    """
    asked = threading.Event()

    def note(signum: int, frame: FrameType | None) -> None:
        asked.set()
        raise KeyboardInterrupt

    def check() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield check  # whoever started this in the background asked that Ctrl-C does not reach it
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


class _Lines:
    """One line whenever another kind of work begins."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        kind = stage.split(" ")[0]
        if kind != self._stage or (kind == "round" and done == total):
            self._stage = kind
            print(f"{self._title}: {stage}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _bar(title: str) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        task: TaskID = progress.add_task(title, total=1)

        def step(stage: str, done: int, total: int) -> None:
            progress.update(task, description=f"{title}: {stage}", completed=done, total=total)

        yield step
