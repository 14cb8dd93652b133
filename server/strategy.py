"""The Flower strategy: carries the study's tasks out and brings the replies in.

Flower's transport is not believed: which node belongs to which site is learned from signed answers to a roll call,
and whatever a node sends counts only after admission. Sites are asked explicitly, by the roster; nobody is sampled.
"""

import gc
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from threading import Event

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from wardround.common.errors import StudyError, TrustError
from wardround.common.flower.records import pack, unpack
from wardround.common.learning.exchange import EVERYONE, FINISH, FINISHED, NO_MODEL, PRESENT, ROLL_CALL, TASK
from wardround.common.learning.parameters import Parameters, to_bytes
from wardround.server.admission import Admitted, Refused, admit
from wardround.server.coordinator import Coordinator
from wardround.server.study import RoundTask

_YOUNG = 1  # garbage of recent rounds only: a full collection costs more than a small round

RoundHook = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How long to wait, in seconds.

    Attributes:
        replies: For the replies of one attempt.
        sites: For every site of the roster to appear.
        pause: Between two looks.
        stop: Ends any waiting at once when another thread sets it.
    """

    replies: float = 3600.0
    sites: float = 60.0
    pause: float = 0.5
    stop: Event = field(default_factory=Event)

    def a_moment(self) -> None:
        """Wait for `pause`.

        Raises:
            StudyError: The study was stopped from outside.
        """
        if self.stop.wait(self.pause):
            raise StudyError("the study was stopped", advice="repeat the same command to resume it")


class WardroundStrategy(Strategy):
    """Runs one study over a Flower grid.

    Args:
        coordinator: The coordinator's key, roster, study and files.
        on_round: Called after each completed round with its number.
        waiting: Time limits.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        on_round: RoundHook = lambda _: None,
        waiting: Waiting | None = None,
    ) -> None:
        self._coordinator = coordinator
        self._on_round = on_round
        self._waiting = waiting or Waiting()
        self._nodes: dict[str, int] = {}
        self._asked: dict[str, str] = {}  # message id -> site
        self._task: RoundTask | None = None

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int = 0,
        timeout: float = 0,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run the study from its checkpoint to its end.

        The arguments after `grid` are Flower's; the protocol and the checkpoint decide instead of them.

        Raises:
            StudyError: A site of the roster never appeared, or a round used up its attempts.
        """
        coordinator = self._coordinator
        self._nodes = self._roll_call(grid)
        nothing = ConfigRecord()
        while not coordinator.study.complete:
            number = coordinator.study.progress.rounds + 1
            messages = self.configure_train(number, ArrayRecord(), nothing, grid)
            arrays, _ = self.aggregate_train(number, self._exchange(grid, messages))
            if arrays is not None:
                self._on_round(number)
        self._finish(grid)
        result = Result()
        result.arrays = _record(coordinator.study.model)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One signed task per site of the roster; the study says which, the arguments do not."""
        self._task = task = self._coordinator.study.task()
        body = to_bytes(task.base)
        return (
            self._message(site, TASK, body, MessageType.TRAIN, task.round, task.attempt, task.base_model)
            for site in self._nodes
        )

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Admit, combine, log, checkpoint. Returns no arrays where the attempt was void."""
        if self._task is None:
            raise StudyError("replies arrived although no task was given")
        verdicts = {site: self._judge(site, reply) for site, reply in self._by_site(replies)}
        counted = self._coordinator.close(self._task, verdicts)
        if not counted:
            return None, None
        return _record(self._coordinator.study.progress.parameters), None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing: an exact evaluation at a site would be an unaccounted release."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing was asked."""
        return None

    def summary(self) -> None:
        """Flower's hook for a log line; the study log is ours."""

    def _message(
        self, site: str, kind: str, body: bytes, message_type: str, round_: int, attempt: int, base_model: str
    ) -> Message:
        envelope = self._coordinator.seal(site, kind, body, round_, attempt, base_model)
        return Message(pack(envelope), self._nodes[site], message_type)

    def _exchange(self, grid: Grid, messages: Iterable[Message]) -> Iterator[Message]:
        """Send all and give what comes back in time, one by one; remembers which site each message asked.

        Nothing is gathered here: with many sites, all tasks and replies at once would be most of the memory.
        """
        sites = {node: site for site, node in self._nodes.items()}
        asked: list[str] = []

        def noted() -> Iterator[Message]:
            for message in messages:
                asked.append(sites[message.metadata.dst_node_id])
                yield message

        identifiers = list(grid.push_messages(noted()))
        self._asked = dict(zip(identifiers, asked, strict=True))
        # Flower's records refer to themselves: without this, updates of many rounds wait in memory.
        gc.collect(_YOUNG)
        return _collect(grid, identifiers, self._waiting)

    def _by_site(self, replies: Iterable[Message]) -> Iterator[tuple[str, Message]]:
        """Each reply with the site that was asked; Flower's own claim about the source is not used."""
        for reply in replies:
            site = self._asked.get(reply.metadata.reply_to_message_id)
            if site is not None:
                yield site, reply

    def _judge(self, site: str, reply: Message) -> Admitted | Refused:
        if self._task is None or reply.has_error():
            return Refused(reason=f"no reply (Flower error code {reply.error.code})")
        try:
            data = unpack(reply.content)
        except TrustError as error:
            return Refused(reason=str(error))
        coordinator = self._coordinator
        return admit(
            data, sender=site, task=self._task, protocol=coordinator.study.protocol, roster=coordinator.roster
        )

    def _roll_call(self, grid: Grid) -> dict[str, int]:
        """Which node speaks for which site, by signature. Waits until the whole roster has answered once.

        A node that never answers holds nobody up; one that answered with an error is asked again.
        """
        sites, deadline = self._coordinator.study.sites, time.monotonic() + self._waiting.sites
        open_questions: dict[str, int] = {}
        present: dict[str, int] = {}
        while True:
            busy = {*open_questions.values(), *present.values()}
            open_questions |= self._ask_names(
                grid, [node for node in grid.get_node_ids() if node not in busy]
            )
            present = {**self._names(grid, open_questions), **present}  # the first answer stands
            absent = [site for site in sites if site not in present]
            if not absent:
                return {site: present[site] for site in sites}
            if time.monotonic() >= deadline:
                raise StudyError(
                    f"{', '.join(absent)} did not appear within {self._waiting.sites:g} s",
                    advice="start the missing sites; nothing was asked of anybody and nothing was charged",
                )
            self._waiting.a_moment()

    def _ask_names(self, grid: Grid, nodes: Collection[int]) -> dict[str, int]:
        """Call some nodes; message id -> node."""
        if not nodes:
            return {}
        call = pack(self._coordinator.seal(EVERYONE, ROLL_CALL, b"", 0, 0, NO_MODEL))
        messages = [Message(call, node, MessageType.QUERY) for node in nodes]
        return dict(zip(grid.push_messages(messages), nodes, strict=True))

    def _names(self, grid: Grid, open_questions: dict[str, int]) -> dict[str, int]:
        """The sites that signed an answer by now, and their nodes; answered questions are taken off the list."""
        named: dict[str, int] = {}
        for reply in grid.pull_messages(list(open_questions)) if open_questions else ():
            node = open_questions.pop(reply.metadata.reply_to_message_id, None)
            if node is not None and (name := self._signer(reply, PRESENT)):
                named.setdefault(name, node)
        return named

    def _finish(self, grid: Grid) -> None:
        """Tell every site that the study is over, so that it returns the unused part of its reservation."""
        coordinator = self._coordinator
        rounds = coordinator.study.progress.rounds
        messages = (
            self._message(site, FINISH, b"", MessageType.QUERY, rounds, 0, NO_MODEL) for site in self._nodes
        )
        replies = self._by_site(self._exchange(grid, messages))
        coordinator.finish(site for site, reply in replies if self._signer(reply, FINISHED) == site)

    def _signer(self, reply: Message, kind: str) -> str | None:
        """The site that signed an answer of this kind; None where nobody of the roster did."""
        try:
            return None if reply.has_error() else self._coordinator.name_in(unpack(reply.content), kind)
        except TrustError:
            return None


def _record(parameters: Parameters) -> ArrayRecord:
    """A model as Flower's arrays, for `Result`."""
    return ArrayRecord({name: Array(array) for name, array in parameters.items()})


def _collect(grid: Grid, identifiers: list[str], waiting: Waiting) -> Iterator[Message]:
    """Every reply that arrives within the limit, polled at our own pace (Flower's own waits three seconds)."""
    deadline = time.monotonic() + waiting.replies
    missing = set(identifiers)
    while missing:
        for reply in grid.pull_messages(missing):
            missing.discard(reply.metadata.reply_to_message_id)
            yield reply
        if not missing or time.monotonic() >= deadline:
            break
        waiting.a_moment()
