"""Private names of the SuperLink's database: what nobody here reads is not written. Verified: flwr 1.41.

Flower writes into its database at every request, reading ones too: it looks for tasks whose time is over, and counts
bytes for its accounts. Both are transactions that wait for each other, and half of the time of a small exchange.
"""

import time
from collections.abc import Callable
from typing import Final

from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore import sql_mixin
from flwr.supercore.constant import SQLITE_PRAGMAS
from flwr.supercore.corestate.sql_corestate import SqlCoreState

from wardround.common.flower.replacing import replace_in

_EXPIRE: Final = 1.0  # seconds between two looks for tasks whose time, a minute, is over
_PRAGMAS: Final = (
    (
        "page_size",
        "32768",
    ),  # bytes, of a new file: an update of megabytes is a few hundred pages, not thousands
    ("wal_autocheckpoint", "2048"),  # pages: 64 MB, so that what is deleted soon is seldom copied
)


def lighten() -> None:
    """Put ours in the place of what costs every request a transaction."""
    replace_in(
        SqlCoreState, "_cleanup_expired_task_tokens", NowAndThen(SqlCoreState._cleanup_expired_task_tokens)
    )
    replace_in(SqlLinkState, "store_traffic", lambda *given, **named: None)
    replace_in(SqlLinkState, "add_clientapp_runtime", lambda *given, **named: None)
    replace_in(sql_mixin, "SQLITE_PRAGMAS", (*_PRAGMAS, *SQLITE_PRAGMAS))


class NowAndThen:
    """A method that runs at most once in `_EXPIRE` seconds; calls between do nothing.

    Args:
        method: Flower's.
        clock: Seconds that never go back.
    """

    def __init__(
        self, method: Callable[[SqlCoreState], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._method = method
        self._clock = clock
        self._due = clock()

    def __get__(self, state: SqlCoreState, owner: type[SqlCoreState]) -> Callable[[], None]:
        """As a function in a class would do."""
        return lambda: self._run(state)

    def _run(self, state: SqlCoreState) -> None:
        if (now := self._clock()) >= self._due:
            self._due = now + _EXPIRE
            self._method(state)
