"""The executor's side of a SuperNode: waits for tasks, and works on one in a child process.

Nothing of Flower's run, bundle or configuration is believed: a bundle with code is refused unread, the app is the
installed one, and whatever goes wrong leaves as one constant.
"""

import contextlib
import logging
import time
import traceback
from collections.abc import Callable
from threading import Event
from typing import Final

from flwr.app import Message
from flwr.clientapp import ClientApp

from wardround.common.durable import write_passing
from wardround.common.errors import StorageError, WardroundError
from wardround.common.flower.bundle import check_thin
from wardround.common.flower.heartbeat import heartbeat
from wardround.common.flower.internals_calls import (
    COMPLETED,
    FAILED,
    Patience,
    RuntimeHttpClient,
    close_task,
    node_client,
)
from wardround.common.flower.internals_task import (
    ClientTask,
    claim_client_task,
    failed,
    fetch,
    send_reply,
)
from wardround.common.flower.places import Desk

_SUPERNODE: Final = "the SuperNode of this site"
_LOOKS: Final = (0.05, 1.0)  # seconds between two looks for a task
_SHARE: Final = 0.05  # of the time already waited, so that looking never adds more than this
_AGAIN: Final = (0.2, 5.0)  # seconds until a SuperNode that is away is looked for again
_PATIENCE: Final = 60.0  # seconds a child waits for a SuperNode that went away
_log = logging.getLogger("wardround.executor")


class TaskSource:
    """Where tasks come from. It only asks; it never opens a message.

    Args:
        desk: Where SuperNode and executor meet.
        alive: Asked again and again; waiting ends when it says no.
    """

    def __init__(self, desk: Desk, alive: Callable[[], bool]) -> None:
        self._desk = desk
        self._alive = alive
        self._pause = _AGAIN[0]

    def wait(self) -> str | None:
        """The token of the next task; None if this process is to end.

        A SuperNode that is not there is looked for until it comes, with one line in the log.
        """
        while self._alive():
            try:
                with _client(self._desk, "", Patience(_SUPERNODE, limit=0.0)) as client:
                    return self._ask(client)
            except (WardroundError, OSError) as error:
                self._away(error)
        return None

    def _ask(self, client: RuntimeHttpClient) -> str | None:
        since = time.monotonic()
        while self._alive():
            token = claim_client_task(client)
            self._back()
            if token is not None:
                return token
            shortest, longest = _LOOKS
            time.sleep(min(longest, max(shortest, _SHARE * (time.monotonic() - since))))
        return None

    def _away(self, error: Exception) -> None:
        if self._pause == _AGAIN[0]:
            _log.info("waiting for %s: %s", _SUPERNODE, error)
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, _AGAIN[1])

    def _back(self) -> None:
        if self._pause != _AGAIN[0]:
            _log.info("%s is back", _SUPERNODE)
        self._pause = _AGAIN[0]


def run_task(app: ClientApp, token: str, desk: Desk) -> None:
    """Work on one task: for a child of `fork`, which ends after it.

    Raises:
        StudyError: The SuperNode went away.
    """
    stop = Event()
    with (
        _client(desk, token, Patience(_SUPERNODE, limit=_PATIENCE, stop=stop)) as client,
        heartbeat(client, stop),
    ):
        task = fetch(client)
        send_reply(client, _reply(app, task), task.context, asked=task.message)
        close_task(client, COMPLETED)
        desk.task.unlink(missing_ok=True)


def remember(token: str, desk: Desk) -> None:
    """Note a task before a child works on it, for whoever has to say that the child is gone.

    Where the disk is full the task goes on: the SuperNode notices a dead child itself, after a minute.
    """
    with contextlib.suppress(StorageError):
        write_passing(desk.task, token.encode(), mode=0o600)


def answer_for_the_dead(desk: Desk) -> None:
    """Tell the SuperNode that the child which worked on the last task is gone, if it left that task unfinished.

    The SuperNode then answers for it, by an error that is the same every time.
    """
    try:
        token = desk.task.read_text(encoding="ascii")
    except (OSError, ValueError):
        return
    with (
        contextlib.suppress(WardroundError, OSError),
        _client(desk, token, Patience(_SUPERNODE, limit=0.0)) as client,
    ):
        close_task(client, FAILED)
        _log.warning("the process that worked on a task died; its task was answered by an error")
    desk.task.unlink(missing_ok=True)


def _reply(app: ClientApp, task: ClientTask) -> Message:
    try:
        check_thin(task.bundle)
        return app(task.message, task.context)
    except Exception as error:
        _log.error("a task failed: %s", in_short(error))
        return failed(task.message)


def in_short(error: BaseException) -> str:
    """An error for a log that must not show a patient: our own words, or the kind and place of foreign errors."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    return "; after ".join(_one(link) for link in chain)


def _one(error: BaseException) -> str:
    if isinstance(error, WardroundError):
        return error.diagnostics()
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def _client(desk: Desk, token: str, patience: Patience) -> RuntimeHttpClient:
    return node_client(desk.address(), desk.certificate, desk.secret, patience, token=token)
