"""A coordinator that keeps no rule, with its genuine key, and what it tries in a secure sum; see `secsumtrial`.

The two other members are the auditor's own, so that every message is properly signed by whom it says.

Sources: Bonawitz et al. (2017), "Practical secure aggregation"; Pasquini et al. (2022), "Eluding secure aggregation",
for inconsistent models.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from wardround.common.learning.exchange import TASK
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import OPEN, ROSTER
from wardround.common.trust.sumwire import pack_messages
from wardround.simulations.conformanceexam import Examination
from wardround.simulations.conformancepatients import WITHOUT, Asked
from wardround.simulations.conformancesite import ANOTHER_RUN, COORDINATOR, PEERS, RUN, Grounds, Moment, Reply

ASKED: Final = Asked(name="secure-sum", mechanism="joint-noise", hidden=(16,), rounds=40)
HONEST: Final = 30
"""The round of the honest attempt; every lie has a round of its own before it."""


class Liar:
    """The coordinator and the two other members, in one attempt after another.

    Args:
        grounds: With the hospital.
    """

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds
        self.protocol: StudyProtocol = ASKED.protocol()
        grounds.admit(self.protocol, WITHOUT)
        self.base: Parameters = Examination(grounds).first(ASKED)
        self.digest = parameters_digest(self.base)

    def peer(
        self, name: str, round_: int, *, base: str = "", key: SigningKey | None = None, run: str = RUN
    ) -> SumSession:
        """A member's session: the auditor's own, or with another key a forged one."""
        return self.grounds.peer(
            name,
            WITHOUT,
            self.protocol,
            base or self.digest,
            Moment(round=round_),
            key=key or self.grounds.peer_key(name),
            run=run,
        )

    def open(self, round_: int, run: str = RUN) -> bytes:
        """The hospital's `ready`."""
        return self._ask(OPEN, b"", round_, run).data

    def propose(self, readies: Sequence[bytes], round_: int) -> bytes:
        """The hospital's `agreed`."""
        return self._ask(ROSTER, pack_messages(readies), round_).data

    def order(self, agreements: Sequence[bytes], round_: int, model: Parameters | None = None) -> Reply:
        """The hospital's masked upload."""
        body = pack_messages(agreements) + to_bytes(self.base if model is None else model)
        return self._ask(TASK, body, round_)

    def _ask(self, kind: str, body: bytes, round_: int, run: str = RUN) -> Reply:
        moments = [Moment(round=round_)]
        (reply,) = self.grounds.ask(
            WITHOUT, self.protocol, kind, body, base=self.digest, moments=moments, run=run
        )
        return reply

    def charged(self) -> int:
        """How many attempts the hospital's ledger holds."""
        return sum(entry.kind == "spend" for entry in self.grounds.book(WITHOUT))


Lie = Callable[[Liar, int], object]


def all_ready(liar: Liar, round_: int) -> tuple[bytes, list[SumSession]]:
    """The hospital's `ready`, and the two other members."""
    return liar.open(round_), [liar.peer(name, round_) for name in PEERS]


def swapped_key(liar: Liar, round_: int) -> object:
    """A member's fresh keys are replaced by the coordinator's own."""
    own, (_, second) = all_ready(liar, round_)
    forged = liar.peer(PEERS[0], round_, key=SigningKey.generate())
    return liar.propose([own, forged.ready, second.ready], round_)


def invented_member(liar: Liar, round_: int) -> object:
    """A hospital that nobody approved is added."""
    own, members = all_ready(liar, round_)
    stranger = liar.peer("invented", round_, key=SigningKey.generate())
    return liar.propose([own, *(member.ready for member in members), stranger.ready], round_)


def coordinator_joins(liar: Liar, round_: int) -> object:
    """The coordinator becomes a member, under its genuine key."""
    own, members = all_ready(liar, round_)
    itself = liar.peer(COORDINATOR, round_, key=liar.grounds.key)
    return liar.propose([own, *(member.ready for member in members), itself.ready], round_)


def short_roster(liar: Liar, round_: int) -> object:
    """Fewer members than this hospital asks for."""
    own, (first, _) = all_ready(liar, round_)
    return liar.propose([own, first.ready], round_)


def member_twice(liar: Liar, round_: int) -> object:
    """One member counts twice."""
    own, (first, second) = all_ready(liar, round_)
    again = liar.peer(PEERS[0], round_)
    return liar.propose([own, first.ready, again.ready, second.ready], round_)


def without_itself(liar: Liar, round_: int) -> object:
    """The hospital is left out of the roster that it shall sign."""
    _, members = all_ready(liar, round_)
    return liar.propose([member.ready for member in members], round_)


def replayed_keys(liar: Liar, round_: int) -> object:
    """Members' keys of an earlier round, whose secrets might be known by now."""
    own, (_, second) = all_ready(liar, round_)
    old = liar.peer(PEERS[0], round_ - 1)
    return liar.propose([own, old.ready, second.ready], round_)


def another_model_for_others(liar: Liar, round_: int) -> object:
    """Others start from another model, so that only this hospital's gradient is in the sum."""
    own, (_, second) = all_ready(liar, round_)
    misled = liar.peer(PEERS[0], round_, base="0" * 64)
    return liar.propose([own, misled.ready, second.ready], round_)


def keys_of_another_run(liar: Liar, round_: int) -> object:
    """A member's keys come from another run of the study, in which the coordinator had other members."""
    own, (_, second) = all_ready(liar, round_)
    elsewhere = liar.peer(PEERS[0], round_, run=ANOTHER_RUN)
    return liar.propose([own, elsewhere.ready, second.ready], round_)


def another_run(liar: Liar, round_: int) -> object:
    """After the first charge another run of the study: its attempts would come on top of those that were approved."""
    return liar.open(round_, run=ANOTHER_RUN)


def second_roster(liar: Liar, round_: int) -> object:
    """After one roster was signed, another one."""
    own, (first, second) = all_ready(liar, round_)
    liar.propose([own, first.ready, second.ready], round_)
    again = liar.peer(PEERS[0], round_)
    return liar.propose([own, again.ready, second.ready], round_)


def two_rosters(liar: Liar, round_: int) -> object:
    """A member signed another roster than this hospital did: masks would not cancel."""
    own, (first, second) = all_ready(liar, round_)
    readies = [own, first.ready, second.ready]
    agreed = [liar.propose(readies, round_), first.agree(readies)]
    other = liar.peer(PEERS[1], round_)
    return liar.order([*agreed, other.agree([own, first.ready, other.ready])], round_)


def false_dropout(liar: Liar, round_: int) -> object:
    """A member that agreed is said to have dropped out."""
    own, (first, second) = all_ready(liar, round_)
    readies = [own, first.ready, second.ready]
    return liar.order([liar.propose(readies, round_), first.agree(readies)], round_)


def another_model_in_the_task(liar: Liar, round_: int) -> object:
    """The model that comes with the task is not the one that everybody signed."""
    own, (first, second) = all_ready(liar, round_)
    readies = [own, first.ready, second.ready]
    agreements = [liar.propose(readies, round_), first.agree(readies), second.agree(readies)]
    return liar.order(agreements, round_, {name: array + 1 for name, array in liar.base.items()})


def without_roster(liar: Liar, round_: int) -> object:
    """A task before any roster."""
    liar.open(round_)
    return liar.order([], round_)


def never_opened(liar: Liar, round_: int) -> object:
    """A task of an attempt for which no keys were made."""
    return liar.order([], round_)


def beyond_the_reservation(liar: Liar, round_: int) -> object:
    """An attempt that the hospital never approved."""
    return liar.open(ASKED.rounds + 1)


LIES: Final[Mapping[str, Lie]] = {
    lie.__name__.replace("_", "-"): lie
    for lie in (
        swapped_key,
        invented_member,
        coordinator_joins,
        short_roster,
        member_twice,
        without_itself,
        replayed_keys,
        another_model_for_others,
        keys_of_another_run,
        second_roster,
        two_rosters,
        false_dropout,
        another_model_in_the_task,
        without_roster,
        never_opened,
        beyond_the_reservation,
    )
}
"""Name -> what the coordinator tries."""
