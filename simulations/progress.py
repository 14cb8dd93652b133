"""Progress on a terminal: one line that says what is being done and how far it is.

On a terminal it is a moving bar; into a file or a pipe it is one line per step; with `--json` it goes to standard
error, so that standard output stays one JSON value.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wardround.simulations.run import Step

if TYPE_CHECKING:
    from rich.progress import TaskID


@contextlib.contextmanager
def shown(title: str) -> Iterator[Step]:
    """A `Step` that shows progress of one run on standard error."""
    if sys.stderr.isatty():
        with _bar(title) as step:
            yield step
    else:
        yield _Lines(title)


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
