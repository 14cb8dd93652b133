"""An executor whose site does what a message says: `python -m tests.toysite FOLDER`. For tests of the processes."""

import contextlib
import os
import signal
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

from flwr.app import Context, Message
from flwr.supercore.fab import Fab
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supernode.runtime import run_clientapp

from wardround.client.app import SiteFor
from wardround.client.executor import run
from wardround.common.flower.plainlog import plain_log

SECRET = "patient 12345"  # noqa: S105  (what must never leave)
PARENT_THREADS = threading.active_count()


class Toy:
    """Answers like a `Site`: bytes in, bytes out.

    Args:
        folder: The site's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answer(self, data: bytes) -> bytes:
        """Do what the first word says."""
        word, _, rest = data.partition(b" ")
        match word:
            case b"echo":
                return rest[::-1]
            case b"fail":
                raise ValueError(f"the row of {SECRET} is broken")
            case b"wait":
                (self._folder / "child.pid").write_text(f"{os.getpid()} {os.getppid()}", encoding="ascii")
                time.sleep(float(rest))
                return b"waited"
            case b"threads":
                return str(PARENT_THREADS).encode()
        raise ValueError(word)


def site_for(folder: Path) -> SiteFor:
    """The toy, opened anew for every message."""

    def opened(context: Context) -> AbstractContextManager[Toy]:
        if (folder / "revoked").exists():
            raise RuntimeError(f"the study of {SECRET} was revoked")
        return contextlib.nullcontext(Toy(folder))

    return opened


def die_first(folder: Path) -> None:
    """Have a child die before it has fetched its message, while a file says so."""
    stock = run_clientapp.pull_task_input

    def pull(client: RuntimeHttpClient) -> tuple[Message, Context, Run, Fab]:
        if (folder / "die-first").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return stock(client)

    run_clientapp.pull_task_input = pull


if __name__ == "__main__":
    plain_log()
    die_first(Path(sys.argv[1]))
    raise SystemExit(run(Path(sys.argv[1]), site_for))
