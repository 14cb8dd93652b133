"""Sending a message again that was lost on its way, or whose answer was.

Flower's SuperLink forgets a message once a node has fetched it, and a node drops a reply that it could not send. Here
a site that does not answer for a while gets a roll call. A SuperNode answers one message after the other, the oldest
first: a site that answers the roll call while its answer to the earlier message is still not there has lost one of the
two. It is sent the same signed bytes again, and answers them with the bytes that it kept: nothing is charged twice.

Guarantees:
    The pauses double, so that a site which computes for hours finds a handful of roll calls in its queue, and one that
    answers nothing but roll calls is sent a handful of copies.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from wardround.common.errors import StudyError

Make = Callable[[str], Message]


@dataclass(slots=True, kw_only=True)
class _Doubt:
    """About one site.

    Attributes:
        due: When it is called next.
        pause: Seconds since the call before, or since it was asked.
        heard: Whether it answered a call after its task.
    """

    due: float
    pause: float
    heard: bool = False


class Reminder:
    """Watches one exchange.

    Args:
        grid: Where the nodes are.
        asked: Name of each message -> the site that it asked; copies are added.
        call: A roll call to a site.
        again: The site's message once more.
        answers: Whether a reply to a call is signed by the site.
        first: Seconds without an answer until a site is called; infinite for never.
        told: Called with a site that is asked again.
    """

    def __init__(
        self,
        grid: Grid,
        asked: dict[str, str],
        *,
        call: Make,
        again: Make,
        answers: Callable[[str, Message], bool],
        first: float,
        told: Callable[[str], None],
    ) -> None:
        self._grid = grid
        self._asked = asked
        self._call = call
        self._again = again
        self._answers = answers
        self._first = first
        self._told = told
        self._calls: dict[str, str] = {}  # name of a call -> site
        self._doubts: dict[str, _Doubt] = {}

    def look(self, missing: Collection[str], now: float) -> None:
        """To be called after every look for answers, so that what arrived before a call's answer was seen.

        Args:
            missing: Sites that have not answered.
            now: Seconds since they were asked.
        """
        for site in missing:
            doubt = self._doubts.setdefault(site, _Doubt(due=self._first, pause=self._first))
            if doubt.heard:
                doubt.heard = False
                self._told(site)
                self._asked[self._push(self._again(site))] = site
            elif now >= doubt.due:
                doubt.pause *= 2
                doubt.due = now + doubt.pause
                self._calls[self._push(self._call(site))] = site
        self._hear()

    def _hear(self) -> None:
        for reply in self._grid.pull_messages(list(self._calls)) if self._calls else ():
            site = self._calls.pop(reply.metadata.reply_to_message_id, None)
            if site is not None and self._answers(site, reply):
                self._doubts[site].heard = True

    def _push(self, message: Message) -> str:
        (identifier,) = self._grid.push_messages([message])
        if not identifier:
            raise StudyError("Flower took no message", advice="repeat the same command to resume the study")
        return identifier
