"""The executor of a hospital: `python -m wardround.client.executor DIR`. Waits, forks, and never computes.

Each message is answered by a child of its own, which starts with every library imported and dies with its task. The
parent opens no message, reads no patient and draws no random number: a child of a process that has used OpenMP can
hang, and an inherited stream of random numbers would repeat noise.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from wardround.client.app import SiteFor, client_app
from wardround.common.durable import exclusive
from wardround.common.errors import UsageError, WardroundError
from wardround.common.flower.executing import TaskSource, answer_for_the_dead, in_short, remember, run_task
from wardround.common.flower.lifeline import die_with_parent, orphaned
from wardround.common.flower.places import Desk, settle
from wardround.common.flower.plainlog import plain_log
from wardround.common.flower.version import require_supported

FLOWER: Final = "flower"  # in the site's folder: what SuperNode and executor share
_LOCK: Final = "executor.lock"
_LOOKS: Final = (0.005, 0.2)  # seconds between two looks whether the child has ended
_log = logging.getLogger("wardround.executor")


def main(arguments: Sequence[str]) -> int:
    """Answer for the site of a folder until SIGTERM or SIGINT.

    Returns:
        The exit code.
    """
    try:
        require_supported()
        from wardround.client.reception import site_for
        from wardround.common.code import package_digest

        package_digest()  # of the code that every child starts with, whatever is installed later
        if len(arguments) != 1:
            raise UsageError("expected one argument, the site's folder")
        plain_log()
        return run(Path(arguments[0]), site_for)
    except WardroundError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code


def run(folder: Path, site_for: Callable[[Path], SiteFor]) -> int:
    """Answer for the site of a folder until SIGTERM or SIGINT, or until the supervisor is gone.

    Args:
        folder: The site's folder.
        site_for: Called in every child with the folder: what was revoked a second ago counts.

    Raises:
        StorageError: Another executor works in this folder.
    """
    desk = Desk(home=folder / FLOWER)
    desk.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    settle(desk.home)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    with exclusive(desk.home / _LOCK):
        answer_for_the_dead(desk)
        app = client_app(lambda context: site_for(folder)(context))
        source = TaskSource(desk, alive=lambda: not orphaned())
        desk.wait_as(os.getpid())
        while (token := source.wait()) is not None:
            remember(token, desk)
            _in_a_child(partial(run_task, app, token, desk))
            answer_for_the_dead(desk)
    return 0


def _in_a_child(work: Callable[[], None]) -> None:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os._exit(_child(parent, work))
    try:
        if code := _ended(child):
            _log.warning("the child of a task ended with %d", code)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def _child(parent: int, work: Callable[[], None]) -> int:
    try:
        die_with_parent(parent)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        work()
    except BaseException as error:
        _log.error("a task could not be answered: %s", in_short(error))
        return 1
    return 0


def _ended(child: int) -> int:
    """Wait for a child; its exit code, negative for a signal. An orphaned executor gives up waiting."""
    since = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if orphaned():
            raise SystemExit(0)
        shortest, longest = _LOOKS
        time.sleep(min(longest, max(shortest, 0.05 * (time.monotonic() - since))))


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
