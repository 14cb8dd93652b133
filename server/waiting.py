"""How long a coordinator waits, and how it collects replies."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Event

from flwr.app import Message
from flwr.serverapp import Grid

from wardround.common.errors import StudyError, TrustError
from wardround.common.flower.records import unpack
from wardround.server.admission import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long to wait, in seconds.

    Attributes:
        replies: For the replies of one attempt.
        keys: For the short answers of a secure sum, before anybody trains.
        sites: For every site of the roster to appear; after it a quorum is enough.
        quorum: Further seconds for a quorum to appear; infinite for no limit.
        pause: Between two looks.
        stop: Ends any waiting at once when another thread sets it.
    """

    replies: float = 3600.0
    keys: float = 60.0
    sites: float = 60.0
    quorum: float = 0.0
    pause: float = 0.5
    stop: Event = field(default_factory=Event)

    def a_moment(self) -> None:
        """Wait for `pause`.

        Raises:
            StudyError: The study was stopped from outside.
        """
        if self.stop.wait(self.pause):
            raise StudyError("the study was stopped", advice="repeat the same command to resume it")


def collect(grid: Grid, identifiers: list[str], waiting: Waiting, *, limit: float) -> Iterator[Message]:
    """Every reply that arrives within `limit` seconds, polled at our own pace (Flower's own waits three seconds)."""
    deadline = time.monotonic() + limit
    missing = set(identifiers)
    while missing:
        for reply in grid.pull_messages(missing):
            missing.discard(reply.metadata.reply_to_message_id)
            yield reply
        if not missing or time.monotonic() >= deadline:
            break
        waiting.a_moment()


def content(reply: Message) -> bytes | Refused:
    """The envelope in a reply, or why there is none."""
    if reply.has_error():
        return Refused(reason=f"no reply (Flower error code {reply.error.code})")
    try:
        return unpack(reply.content)
    except TrustError as error:
        return Refused(reason=str(error))
