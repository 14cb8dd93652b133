"""One attempt of a round under joint noise at the coordinator: fresh keys, one roster, one sum. Without Flower.

Sites that are not ready when the roster closes are left out of the attempt; whoever fails later voids it. All the
coordinator learns is the sum over the roster, noise included.

Assumes that replies come with the site that was asked; who signed them is checked here.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import TrustError
from wardround.common.formats import digest
from wardround.common.learning.exchange import Receipt
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.study import RoundTask, summed_values
from wardround.common.privacy.jointnoise import grid_of, opened_sum
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import head_of, open_head
from wardround.common.trust.identity import Roster
from wardround.common.trust.sumroster import AGREED, MASKED, READY, ROSTER, SumContext
from wardround.common.trust.sumround import SumRound, SumVoid
from wardround.server.admission import Refused, check_receipt, refused_by_site, said_of_log
from wardround.server.archive import Archive

_TAIL: Final = 12.0  # standard deviations of the summed noise that no honest sum exceeds, as in `grid`


class JointRound:
    """Replies of one attempt, in the order ready, agreed, masked.

    Args:
        protocol: The public terms.
        roster: Public keys.
        task: The attempt.
        run: The run of the study.
        fewest: Sites that must be ready.
        archive: Where the messages of the attempt are kept; None for nowhere.

    Attributes:
        members: The sites of the attempt's roster; none until it is closed, or where too few were ready.
        refused: Site -> why it is not in the sum, in words that may be logged.
        rejected: Site -> SHA-256 of a reply that was not acceptable. Where the site's own ledger settled that digest,
            the site sent it so; where it settled another one, the reply was altered on its way.
        receipts: Site -> what its upload cost.
        heads: Site -> head of its upload's envelope: its own word on round, body and receipt.
        replies: Site -> SHA-256 of that whole envelope, as its ledger settled it.
        logs: Site -> what its answer to the task says of the study's log.
    """

    def __init__(
        self,
        protocol: StudyProtocol,
        roster: Roster,
        task: RoundTask,
        *,
        run: str,
        fewest: int,
        archive: Archive | None = None,
    ) -> None:
        self.task = task
        self.members: tuple[str, ...] = ()
        self.refused: dict[str, str] = {}
        self.rejected: dict[str, str] = {}
        self.receipts: dict[str, Receipt] = {}
        self.heads: dict[str, bytes] = {}
        self.replies: dict[str, str] = {}
        self.logs: dict[str, str] = {}
        self._archive = archive or Archive(None)
        self._protocol = protocol
        self._privacy = protocol.privacy_of(task.round)
        self._roster = roster
        self._run = run
        self._fewest = fewest
        self._ready: set[str] = set()
        self._agreed = False
        context = SumContext(
            study=protocol.study.name,
            protocol_digest=protocol.digest,
            run=run,
            round=task.round,
            attempt=task.attempt,
            base_model=task.base_model,
            coordinator=roster.coordinator,
        )
        self._sum = SumRound(context, keys=roster, length=summed_values(protocol, task.base, task.round))

    def take(self, kind: str, site: str, reply: bytes | Refused) -> None:
        """Take a site's `ready`, `agreed` or `masked`; whatever is wrong with it is noted, never raised."""
        if kind == MASKED and isinstance(reply, bytes):
            self.logs[site] = said_of_log(reply, site, self._roster)
        if isinstance(reply, Refused):
            reason = reply.reason
        elif not (reason := self._declined(site, reply)):
            reason = self._fault(kind, site, reply)
        if reason:
            self.refused.setdefault(site, reason)

    def _declined(self, site: str, reply: bytes) -> str:
        return refused_by_site(reply, site, self.task, self._run, self._protocol, self._roster)

    def _fault(self, kind: str, site: str, reply: bytes) -> str:
        """Take what is no refusal; what is wrong with it, or nothing."""
        try:
            self._take(kind, site, reply)
        except TrustError as error:
            self.rejected.setdefault(site, digest(reply))
            return str(error)
        return ""

    def _take(self, kind: str, site: str, reply: bytes) -> None:
        if kind == READY:
            self._sum.ready(site, reply)
            self._ready.add(site)
        elif kind == AGREED:
            self._sum.agreed(site, reply)
        else:
            receipt, head = Receipt.from_bytes(self._sum.masked(site, reply)), head_of(reply)
            check_receipt(receipt, open_head(head, self._roster).header, self._protocol)
            self.replies[site] = self._archive.keep(self.task.round, self.task.attempt, reply)
            self.receipts[site], self.heads[site] = receipt, head

    def roster_body(self) -> bytes:
        """Close the roster; the body of its message, empty where too few sites were ready."""
        if len(self._ready) < self._fewest:
            return b""
        try:
            body = self._sum.roster_body()
        except TrustError as error:  # no suite that all of them offer
            self.refused.update(dict.fromkeys(self._ready, str(error)))
            return b""
        self.members = self._sum.roster.members
        self._archive.keep_messages(self.task.round, self.task.attempt, ROSTER, body)
        return body

    def agreements_body(self) -> bytes:
        """Close the agreements; what stands before the model in the task, empty where a member did not agree."""
        try:
            body = self._sum.agreements_body() if self.members else b""
        except SumVoid as void:
            self._note(void)
            return b""
        if body:
            self._agreed = True
            self._archive.keep_messages(self.task.round, self.task.attempt, "agreements", body)
        return body

    def total(self) -> NDArray[np.float64] | None:
        """The opened sum of all members, noise included; None where the attempt is void."""
        if not self.members or any(site in self.refused for site in self.members):
            return None
        try:
            total = opened_sum(self._privacy, self._sum.total(), sites=len(self.members))
        except SumVoid as void:
            self._note(void)
            return None
        return total if self._is_possible(total) else None

    def _is_possible(self, total: NDArray[np.float64]) -> bool:
        """Whether clipped patients and noise can add up to this.

        If not, masks did not cancel, a member lied, or there are more patients than `most_patients`; nobody can tell
        which member it was. Looking at the sum after the noise costs no privacy.
        """
        sites = len(self.members)
        grid = grid_of(self._privacy, sites=sites, coordinates=total.size)
        most = grid.largest + sites * grid.step / 2 + _TAIL * math.sqrt(sites) * grid.share_deviation
        if np.all(np.abs(total) <= most):
            return True
        self.refused |= dict.fromkeys(
            self.members, "the sum is beyond what all patients and the noise can add up to"
        )
        return False

    def record(self) -> dict[str, object]:
        """What the study log says of the sum: who took part, and the digests that bind it."""
        if not self.members:
            return {}
        found: dict[str, object] = {"members": list(self.members), "suite": self._sum.roster.suite}
        found["roster"] = self._sum.roster.digest
        if self._agreed:
            found["transcript"] = self._sum.transcript.digest
        if len(self.receipts) == len(self.members):
            found["sum"] = digest(self._sum.total().tobytes())
        return found

    def upload(self, site: str) -> str:
        """SHA-256 of the body that a member signed."""
        return self._sum.uploads[site]

    def _note(self, void: SumVoid) -> None:
        for site, why in void.causes.items():
            self.refused.setdefault(site, why)


def check_sums(protocol: StudyProtocol, base: Parameters, *, sites: int) -> None:
    """Refuse a study whose sums no grid can hold, before anybody is asked.

    Raises:
        PrivacyError: Too many values, or too little noise for so many patients.
    """
    last = protocol.federation.rounds
    for round_ in (1, last, last + 1) if protocol.evaluation else (1, last):
        privacy = protocol.privacy_of(round_)
        grid_of(privacy, sites=sites, coordinates=summed_values(protocol, base, round_))
