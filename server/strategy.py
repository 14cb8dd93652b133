"""The Flower strategy: carries the study's tasks out and brings the replies in.

Flower's transport is not believed: which node belongs to which site is learned from signed answers to a roll call,
and whatever a node sends counts only after admission. Sites are asked explicitly, by the roster; nobody is sampled.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from wardround.common.errors import StudyError
from wardround.common.flower.records import pack
from wardround.common.learning.exchange import FINISH, FINISHED, NO_MODEL, PRESENT, ROLL_CALL, TASK
from wardround.common.learning.parameters import Parameters, to_bytes
from wardround.common.learning.study import RoundTask
from wardround.common.trust.sumroster import AGREED, MASKED, OPEN, READY, ROSTER
from wardround.server.admission import Admitted, Refused
from wardround.server.coordinator import Coordinator
from wardround.server.jointround import JointRound
from wardround.server.reminding import Make, Reminder
from wardround.server.rollcall import RollCall, signer
from wardround.server.waiting import Waiting, collect, content
from wardround.server.watching import Watch

_ABSENT = Refused(reason="not asked: it was not there")
_YOUNG = 1  # garbage of recent rounds only: a full collection costs more than a small round

RoundHook = Callable[[int], None]
Left = Callable[[], Mapping[str, str]]


class WardroundStrategy(Strategy):
    """Runs one study over a Flower grid.

    Args:
        coordinator: The coordinator's key, roster, study and files.
        on_round: Called after each completed round with its number.
        waiting: Time limits.
        left: Asked before every attempt: which sites of the roster take part no more, and why.
        watch: Told as the study goes on.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        *,
        on_round: RoundHook = lambda _: None,
        waiting: Waiting | None = None,
        left: Left = dict,
        watch: Watch | None = None,
    ) -> None:
        self._coordinator = coordinator
        self._on_round = on_round
        self._waiting = waiting or Waiting()
        self._left = left
        self._watch = watch or Watch()
        self._call: RollCall | None = None
        self._nodes: dict[str, int] = {}
        self._asked: dict[str, str] = {}  # message id -> site
        self._again: Make | None = None  # the message of the open exchange, for one site
        self._task: RoundTask | None = None
        self._joint: JointRound | None = None

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
            StudyError: No quorum of the roster appeared, or a round used up its attempts.
        """
        coordinator = self._coordinator
        self._call = call = RollCall(grid, coordinator, self._waiting, told=self._watch.attendance)
        nothing = ConfigRecord()
        while not coordinator.study.complete:
            coordinator.let_leave(self._left())
            for site in coordinator.unsure:
                call.forget(site)
            self._nodes = call.gather()
            number, evaluating = coordinator.study.progress.rounds + 1, coordinator.study.evaluating
            messages = self.configure_train(number, ArrayRecord(), nothing, grid)
            arrays, _ = self.aggregate_train(number, self._exchange(grid, messages))
            if arrays is not None and not evaluating:
                self._on_round(number)
        self._nodes = call.present() or call.gather()
        self._finish(grid)
        result = Result()
        result.arrays = _record(coordinator.study.model)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One signed task per site that is asked; the study says which, the arguments do not.

        Under joint noise the sites agree on keys and a roster first, and only its members are asked.
        """
        self._task = task = self._coordinator.study.task()
        self._watch.asked(task.round, task.attempt, len(self._nodes))
        model = to_bytes(task.base)
        if not self._coordinator.study.protocol.joint:
            return self._to(self._nodes, TASK, model)
        self._joint = joint = self._coordinator.joint_round(task)
        self._gather(grid, READY, self._to(self._nodes, OPEN, b""))
        if roster := joint.roster_body():
            self._gather(grid, AGREED, self._to(joint.members, ROSTER, roster))
        agreements = joint.agreements_body()
        return self._to(joint.members, TASK, agreements + model) if agreements else ()

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Admit, combine, log, checkpoint. Returns no arrays where the attempt was void."""
        if self._task is None:
            raise StudyError("replies arrived although no task was given")
        counted, problems = self._close(self._task, replies)
        self._watch.ended(self._task.round, self._task.attempt, problems)
        if not counted:
            return None, None
        return _record(self._coordinator.study.progress.parameters), None

    def _close(self, task: RoundTask, replies: Iterable[Message]) -> tuple[bool, Mapping[str, str]]:
        """End the attempt: whether it counts, and why sites do not."""
        absent = dict.fromkeys(
            (one for one in self._coordinator.study.sites if one not in self._nodes), _ABSENT
        )
        if (joint := self._joint) is not None:
            for site, why in absent.items():
                joint.take(MASKED, site, why)
            for site, reply in self._by_site(replies):
                joint.take(MASKED, site, content(reply))
            return self._coordinator.close_joint(joint), joint.refused
        verdicts = {**absent, **{site: self._judge(site, reply) for site, reply in self._by_site(replies)}}
        counted = self._coordinator.close(task, verdicts)
        silent = {site: "no reply" for site in self._nodes if site not in verdicts}
        refused = {site: found.reason for site, found in verdicts.items() if isinstance(found, Refused)}
        return counted, {**silent, **refused}

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

    def _to(self, sites: Iterable[str], kind: str, body: bytes) -> Iterator[Message]:
        """A signed message of the open attempt to each site, made when it is sent."""
        if (task := self._task) is None:
            raise StudyError("a message was addressed although no task was given")
        moment = task.round, task.attempt, task.base_model
        self._again = make = lambda site: self._message(site, kind, body, *moment)
        return map(make, sites)

    def _gather(self, grid: Grid, kind: str, messages: Iterable[Message]) -> None:
        """One step of a secure sum before anybody trains: short answers, for which nobody waits long."""
        if (joint := self._joint) is None:
            raise StudyError("answers of a secure sum were asked although none is open")
        for site, reply in self._by_site(self._exchange(grid, messages, limit=self._waiting.keys)):
            joint.take(kind, site, content(reply))

    def _message(
        self, site: str, kind: str, body: bytes, round_: int, attempt: int, base_model: str
    ) -> Message:
        envelope = self._coordinator.seal(site, kind, body, round_, attempt, base_model)
        message_type = MessageType.TRAIN if kind == TASK else MessageType.QUERY
        return Message(pack(envelope), self._nodes[site], message_type)

    def _exchange(
        self, grid: Grid, messages: Iterable[Message], *, limit: float | None = None
    ) -> Iterator[Message]:
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
        remind = self._reminder(grid).look
        return collect(grid, self._asked, self._waiting, limit=limit or self._waiting.replies, remind=remind)

    def _reminder(self, grid: Grid) -> Reminder:
        coordinator = self._coordinator
        if (again := self._again) is None:
            raise StudyError("answers were awaited although nothing was sent")
        return Reminder(
            grid,
            self._asked,
            call=lambda site: self._message(site, ROLL_CALL, b"", 0, 0, NO_MODEL),
            again=again,
            answers=lambda site, reply: signer(reply, coordinator, PRESENT) == site,
            first=self._waiting.doubt,
            told=self._watch.asked_again,
        )

    def _by_site(self, replies: Iterable[Message]) -> Iterator[tuple[str, Message]]:
        """Each reply with the site that was asked; Flower's own claim about the source is not used.

        A site that sent nothing is called again before it is asked next.
        """
        silent = set(self._asked.values())
        for reply in replies:
            site = self._asked.get(reply.metadata.reply_to_message_id)
            if site is not None:
                self._watch.answered(site)
                if not reply.has_error():
                    silent.discard(site)
                yield site, reply
        if (call := self._call) is not None:
            for site in silent:
                call.forget(site)

    def _judge(self, site: str, reply: Message) -> Admitted | Refused:
        data, coordinator = content(reply), self._coordinator
        if isinstance(data, Refused) or self._task is None:
            return data if isinstance(data, Refused) else Refused(reason="no task was given")
        return coordinator.admit(site, data, self._task)

    def _finish(self, grid: Grid) -> None:
        """Tell every site that the study is over, so that it returns the unused part of its reservation."""
        coordinator = self._coordinator
        coordinator.conclude()
        rounds = coordinator.study.progress.rounds
        self._again = make = lambda site: self._message(site, FINISH, b"", rounds, 0, NO_MODEL)
        limit = min(self._waiting.keys, self._waiting.replies)
        replies = self._by_site(self._exchange(grid, map(make, self._nodes), limit=limit))
        coordinator.finish(site for site, reply in replies if signer(reply, coordinator, FINISHED) == site)


def _record(parameters: Parameters) -> ArrayRecord:
    """A model as Flower's arrays, for `Result`."""
    return ArrayRecord({name: Array(array) for name, array in parameters.items()})
