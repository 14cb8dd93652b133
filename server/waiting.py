"""How long a coordinator waits, and how it collects replies."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event

from flwr.app import Message
from flwr.serverapp import Grid

from wardround.common.errors import StudyError, TrustError
from wardround.common.flower.records import unpack
from wardround.server.admission import Refused

Remind = Callable[[Collection[str], float], None]


def nobody(missing: Collection[str], passed: float) -> None:
    """Nobody is reminded of anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long to wait, in seconds.

    Attributes:
        replies: For the replies of one attempt.
        keys: For the short answers of a secure sum, before anybody trains.
        sites: For every site of the roster to appear; after it a quorum is enough.
        quorum: Further seconds for a quorum to appear; infinite for no limit.
        pause: Between two looks.
        doubt: Without a reply, until a site is asked whether it lost its task; infinite for never. Only for nodes that
            answer one message after the other.
        stop: Ends any waiting at once when another thread sets it.
    """

    replies: float = 3600.0
    keys: float = 60.0
    sites: float = 60.0
    quorum: float = 0.0
    pause: float = 0.5
    doubt: float = math.inf
    stop: Event = field(default_factory=Event)

    def a_moment(self) -> None:
        """Wait for `pause`.

        Raises:
            StudyError: The study was stopped from outside.
        """
        if self.stop.wait(self.pause):
            raise StudyError("the study was stopped", advice="repeat the same command to resume it")


def collect(
    grid: Grid, asked: Mapping[str, str], waiting: Waiting, *, limit: float, remind: Remind = nobody
) -> Iterator[Message]:
    """The first reply of every site that arrives within `limit` seconds, one by one.

    Polled at our own pace: Flower's own waits three seconds.

    Args:
        grid: Where the nodes are.
        asked: Name of each message -> the site that it asked; `remind` may add to it.
        waiting: The pause, and whether to stop.
        limit: Seconds.
        remind: Called after each look with the sites that are missing and the seconds that passed.
    """
    began = time.monotonic()
    missing = set(asked.values())
    while missing:
        for reply in grid.pull_messages([name for name, site in asked.items() if site in missing]):
            site = asked.get(reply.metadata.reply_to_message_id)
            if site in missing:
                missing.remove(site)
                yield reply
        passed = time.monotonic() - began
        if not missing or passed >= limit:
            break
        remind(missing, passed)
        waiting.a_moment()


def content(reply: Message) -> bytes | Refused:
    """The envelope in a reply, or why there is none."""
    if reply.has_error():
        return Refused(reason=f"no reply (Flower error code {reply.error.code})")
    try:
        return unpack(reply.content)
    except TrustError as error:
        return Refused(reason=str(error))
