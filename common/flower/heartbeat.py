"""Says every few seconds that whoever works on a task is alive; Flower gives a task up after a minute without."""

import contextlib
from collections.abc import Iterator
from threading import Event, Thread
from typing import Final

from wardround.common.errors import WardroundError
from wardround.common.flower.internals_calls import RuntimeHttpClient, beat

_BEAT: Final = 10.0  # seconds


@contextlib.contextmanager
def heartbeat(client: RuntimeHttpClient, stop: Event) -> Iterator[None]:
    """Beat while the body runs. That a task was given up shows in the body's own calls.

    Args:
        client: Of the task.
        stop: Set on the way out, so that whoever waits for the other side gives up too.
    """

    def beats() -> None:
        with contextlib.suppress(WardroundError):
            while beat(client) and not stop.wait(_BEAT):
                pass

    thread = Thread(target=beats, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
