"""Finding and killing processes of a deployment."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.flowerline import LIMIT


def child_of(pid: int, *, limit: float = LIMIT) -> int:
    """The child that an executor has at this moment; waited for."""
    found: list[int] = []

    def look() -> bool:
        path = Path(f"/proc/{pid}/task/{pid}/children")
        found[:] = [int(one) for one in path.read_text(encoding="ascii").split()]
        return bool(found)

    _quickly(look, limit)
    return found[0]


def _quickly(condition: Callable[[], bool], limit: float) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.001)


def listens(port: int) -> bool:
    """Whether anybody listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def kill(pid: int) -> None:
    """What cannot be caught."""
    assert pid > 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
