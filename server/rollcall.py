"""The roll call: which Flower node speaks for which site, learned from signatures and never from Flower."""

import time
from collections.abc import Collection

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from wardround.common.errors import StudyError
from wardround.common.flower.records import pack
from wardround.common.learning.exchange import EVERYONE, NO_MODEL, PRESENT, ROLL_CALL
from wardround.server.admission import Refused
from wardround.server.coordinator import Coordinator
from wardround.server.waiting import Waiting, content


def roll_call(grid: Grid, coordinator: Coordinator, waiting: Waiting) -> dict[str, int]:
    """Which node speaks for which site, by signature. Waits until the whole roster has answered once.

    A node that never answers holds nobody up; one that answered with an error is asked again.

    Raises:
        StudyError: A site did not appear in time.
    """
    sites, deadline = coordinator.study.sites, time.monotonic() + waiting.sites
    open_questions: dict[str, int] = {}
    present: dict[str, int] = {}
    while True:
        busy = {*open_questions.values(), *present.values()}
        open_questions |= _ask_names(
            grid, coordinator, [node for node in grid.get_node_ids() if node not in busy]
        )
        present = {**_names(grid, coordinator, open_questions), **present}  # the first answer stands
        absent = [site for site in sites if site not in present]
        if not absent:
            return {site: present[site] for site in sites}
        if time.monotonic() >= deadline:
            raise StudyError(
                f"{', '.join(absent)} did not appear within {waiting.sites:g} s",
                advice="start the missing sites; nothing was asked of anybody and nothing was charged",
            )
        waiting.a_moment()


def _ask_names(grid: Grid, coordinator: Coordinator, nodes: Collection[int]) -> dict[str, int]:
    """Call some nodes; message id -> node."""
    if not nodes:
        return {}
    call = pack(coordinator.seal(EVERYONE, ROLL_CALL, b"", 0, 0, NO_MODEL))
    messages = [Message(call, node, MessageType.QUERY) for node in nodes]
    return dict(zip(grid.push_messages(messages), nodes, strict=True))


def _names(grid: Grid, coordinator: Coordinator, open_questions: dict[str, int]) -> dict[str, int]:
    """The sites that signed an answer by now, and their nodes; answered questions are taken off the list."""
    named: dict[str, int] = {}
    for reply in grid.pull_messages(list(open_questions)) if open_questions else ():
        node = open_questions.pop(reply.metadata.reply_to_message_id, None)
        if node is not None and (name := signer(reply, coordinator, PRESENT)):
            named.setdefault(name, node)
    return named


def signer(reply: Message, coordinator: Coordinator, kind: str) -> str | None:
    """The site that signed an answer of this kind; None where nobody of the roster did."""
    found = content(reply)
    return None if isinstance(found, Refused) else coordinator.name_in(found, kind)
