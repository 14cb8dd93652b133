"""How much each node has uploaded of each reply: no hospital can fill the coordinator's disk.

Flower bounds one request, and one announced reply may be announced again with other parts. A reply answers one message
of the coordinator, so that what a node can store in a run is bounded by what it was asked.
"""

from typing import Final, TypeVar

LARGEST_REPLY: Final = 2**30  # bytes; a model of 268 million parameters
_KEPT: Final = 10_000  # replies and announcements that are remembered; the oldest are forgotten

Key = TypeVar("Key")
Value = TypeVar("Value")
Reply = tuple[int, int, str]  # node, run, name of the message that is answered


class Tally:
    """Counts the bytes of every reply.

    Args:
        largest: Bytes that one reply may have, announced again or not.
    """

    def __init__(self, largest: int = LARGEST_REPLY) -> None:
        self._largest = largest
        self._sessions: dict[str, Reply] = {}
        self._bytes: dict[Reply, int] = {}

    def announce(self, session: str, node: int, run: int, answers: str) -> None:
        """A node was given an upload session for its reply to a message."""
        _put(self._sessions, session, (node, run, answers))

    def take(self, session: str, node: int, run: int, size: int) -> bool:
        """Count a part; False if it would make the reply too large. A part that was refused is not counted.

        Sessions from before a restart count together, as one reply of the node.
        """
        reply = self._sessions.get(session, (node, run, ""))
        total = self._bytes.get(reply, 0) + size
        if total > self._largest:
            return False
        _put(self._bytes, reply, total)
        return True


def _put(kept: dict[Key, Value], key: Key, value: Value) -> None:
    kept[key] = value
    if len(kept) > _KEPT:
        del kept[next(iter(kept))]
