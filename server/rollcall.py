"""The roll call: which Flower node speaks for which site, learned from signatures and never from Flower.

It stays open for the whole study: a site that comes later, or comes back, is found before the next round.
"""

import time
from collections.abc import Callable, Collection
from typing import Final

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from wardround.common.errors import StudyError
from wardround.common.flower.records import pack
from wardround.common.learning.exchange import EVERYONE, NO_MODEL, PRESENT, ROLL_CALL
from wardround.server.admission import Refused
from wardround.server.coordinator import Coordinator
from wardround.server.waiting import Waiting, content
from wardround.server.watching import Attendance

_AGAIN: Final = (
    0.05,
    10.0,
)  # seconds until a node that answered nothing of use is called again: first, longest
_LOOKS: Final = 10  # looks that a site which failed in the last attempt is given to answer

Told = Callable[[Attendance], None]


class RollCall:
    """Which nodes speak for the sites of a study.

    Args:
        grid: Where the nodes are.
        coordinator: Signs the call; knows the roster and who left it.
        waiting: Time limits.
        told: Called with who is there, at every look.
    """

    def __init__(
        self, grid: Grid, coordinator: Coordinator, waiting: Waiting, *, told: Told = lambda _: None
    ) -> None:
        self._grid = grid
        self._coordinator = coordinator
        self._waiting = waiting
        self._told = told
        self._named: dict[str, int] = {}
        self._open: dict[str, int] = {}  # message id -> node
        self._later: dict[int, tuple[float, float]] = {}  # node -> not before, pause
        self._missed: set[str] = set()
        self._patience: Callable[[], float] = lambda: waiting.sites

    def gather(self) -> dict[str, int]:
        """The nodes of the sites that can be asked now, in the order of the roster.

        The first time the whole roster is waited for, up to a limit; after that, and later on, a quorum is enough.

        Raises:
            StudyError: No quorum in time, or too few sites are left of the roster.
        """
        began, patience = time.monotonic(), self._patience()
        limit = self._waiting.sites + self._waiting.quorum
        while True:
            found = self._look()
            waited = time.monotonic() - began
            if not found.absent or (waited >= patience and found.enough):
                self._patience = self._brief
                self._missed.clear()
                return self._nodes(found)
            if waited >= limit:
                raise StudyError(
                    f"{', '.join(found.absent)} did not appear within {limit:g} s",
                    advice="start the missing sites and repeat the command; nothing was charged for waiting",
                )
            self._waiting.a_moment()

    def _nodes(self, found: Attendance) -> dict[str, int]:
        return {site: self._named[site] for site in found.present}

    def _brief(self) -> float:
        """Seconds to wait for sites that failed just now; nobody else is waited for where there is a quorum."""
        return _LOOKS * self._waiting.pause if self._missed else 0.0

    def present(self) -> dict[str, int]:
        """The nodes of the sites that are there at this moment; waits for nobody."""
        return self._nodes(self._look())

    def forget(self, site: str) -> None:
        """A site did not answer in an attempt: it is called again before it is asked anything else."""
        if self._named.pop(site, None) is not None:
            self._missed.add(site)

    def _look(self) -> Attendance:
        """Call whoever is new, hear who answered by now; never waits for anybody."""
        sites = self._coordinator.active
        if len(sites) < self._coordinator.study.quorum:
            raise StudyError(
                f"{len(sites)} sites are left of the roster, the study needs {self._coordinator.study.quorum}",
                advice="enrol them again or enrol others, and publish the study again for the new roster",
            )
        nodes = set(self._grid.get_node_ids())
        self._named = {site: node for site, node in self._named.items() if node in nodes}
        self._call(nodes)
        self._hear()
        found = Attendance(
            present=tuple(site for site in sites if site in self._named),
            absent=tuple(site for site in sites if site not in self._named),
            left=self._coordinator.left,
            quorum=self._coordinator.study.quorum,
        )
        self._told(found)
        return found

    def _call(self, nodes: Collection[int]) -> None:
        busy, now = {*self._open.values(), *self._named.values()}, time.monotonic()
        due = [node for node in nodes if node not in busy and self._later.get(node, (0.0, 0.0))[0] <= now]
        if not due:
            return
        call = pack(self._coordinator.seal(EVERYONE, ROLL_CALL, b"", 0, 0, NO_MODEL))
        messages = [Message(call, node, MessageType.QUERY) for node in due]
        self._open |= dict(zip(self._grid.push_messages(messages), due, strict=True))

    def _hear(self) -> None:
        """Take the answers; the first node that speaks for a site stands."""
        for reply in self._grid.pull_messages(list(self._open)) if self._open else ():
            node = self._open.pop(reply.metadata.reply_to_message_id, None)
            if node is None:
                continue
            name = signer(reply, self._coordinator, PRESENT)
            if name and self._named.setdefault(name, node) == node:
                self._later.pop(node, None)
            else:
                self._call_later(node)
        self._coordinator.keep_approvals()

    def _call_later(self, node: int) -> None:
        """A node that answered nothing of use is called again, less and less often."""
        first, longest = _AGAIN
        pause = min(longest, max(first, 2 * self._later.get(node, (0.0, 0.0))[1]))
        self._later[node] = (time.monotonic() + pause, pause)


def signer(reply: Message, coordinator: Coordinator, kind: str) -> str | None:
    """The site that signed an answer of this kind; None where nobody of the roster did."""
    found = content(reply)
    return None if isinstance(found, Refused) else coordinator.name_in(found, kind)
