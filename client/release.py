"""The one door through which anything computed from patients leaves a site.

Order, each step durable before the next: reserve the study (at approval), spend the attempt (before training), keep
the reply in the outbox, settle it in the ledger, let it go. A crash between any two can only over-count.

Guarantees:
    - Bytes leave only after their charge is on disk, and only the bytes whose digest the ledger holds.
    - Under a private mechanism the same attempt always gets identical bytes, and a new attempt is a new charge
      and fresh noise.
    - A charge is returned only for an attempt that was not settled and never can be any more: nothing of it left.
    - No reservation is made that could take the patient pool above the policy's lifetime cap.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from wardround.client.policy import SitePolicy
from wardround.common.durable import write_atomic
from wardround.common.errors import PolicyRefusal, PrivacyError, TrustError
from wardround.common.formats import digest
from wardround.common.learning.exchange import Receipt
from wardround.common.privacy.accounting import Against, epsilon
from wardround.common.privacy.events import NonPrivate, times
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.ledger import Ledger
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.witness import NOTHING, Seen

_ASSUMING: Final[Mapping[Against, str]] = {
    "tolerated": "against all parties that a study assumes curious",
    "everyone-else": "if everybody else colludes",
}

_BEGIN: Final = (-1, -1)  # before any attempt


class ReleaseDoor:
    """Charges the ledger and keeps what may leave.

    Args:
        policy: The site's own limits.
        ledger: The open ledger of the patient pool.
        outbox: Folder for replies; must exist.
    """

    def __init__(self, policy: SitePolicy, ledger: Ledger, outbox: Path) -> None:
        self._policy = policy
        self._ledger = ledger
        self._outbox = outbox

    def reserve(self, protocol: StudyProtocol) -> None:
        """Reserve the whole study, rounds times attempts, if the lifetime cap allows it.

        Raises:
            PolicyRefusal: The cap would be exceeded. The message is for the site; nothing of it is ever sent.
        """
        if self._ledger.has_open(protocol.study.name, protocol.digest):
            return
        releases = _releases(protocol)
        self._check_cap(protocol, releases)
        self._ledger.reserve(protocol.study.name, protocol.digest, protocol.event(), releases)

    def reserve_anew(self, protocol: StudyProtocol) -> None:
        """Reserve a study that this pool may have taken part in before: what it spent then stays charged.

        For a simulation that begins anew, where the researcher speaks for the site. An abandoned earlier run is
        closed first: nothing more can leave under it.

        Raises:
            PolicyRefusal: The cap would be exceeded by both runs together.
        """
        self.close(protocol)
        if self._ledger.has_finished(protocol.study.name, protocol.digest):
            self._check_cap(protocol, _releases(protocol))
            self._ledger.allow_again(protocol.study.name, protocol.digest)
        self.reserve(protocol)

    def _check_cap(self, protocol: StudyProtocol, releases: int) -> None:
        if self._policy.cohort != "private":
            return
        after = [*self._ledger.exposure(), *times(protocol.event(), releases)]
        for against, cap in self._policy.caps.items():
            claim = epsilon(after, self._policy.delta, against=against)
            if claim > cap:
                spent = epsilon(self._ledger.exposure(), self._policy.delta, against=against)
                raise PolicyRefusal(
                    f"study {protocol.study.name} could take this patient pool to epsilon {claim:g} at delta "
                    f"{self._policy.delta:g} {_ASSUMING[against]}; the lifetime cap is {cap:g} and {spent:g} is in use",
                    advice="ask for fewer rounds or attempts or more noise; only the site itself can raise its cap",
                )

    def reservation(self, protocol: StudyProtocol) -> Entry | None:
        """The ledger's entry that set the price of the whole study aside; None where the study is not open."""
        return self._ledger.reservation(protocol.study.name, protocol.digest)

    def check_run(self, protocol: StudyProtocol, run: str) -> None:
        """Refuse a message of another run than the one that the open reservation was first charged for.

        So a new run identifier buys nothing: a person at the site approves the study again, and both runs count.

        Raises:
            TrustError: The reservation belongs to another run, or this run ended here before.
        """
        self._ledger.check_run(protocol.study.name, protocol.digest, run)

    def check_next(self, protocol: StudyProtocol, round_: int, attempt: int) -> None:
        """Refuse an attempt that could not be charged any more; charges nothing.

        Raises:
            TrustError: A newer attempt was charged already, or this one was answered or given up.
            PrivacyError: There is no open reservation.
        """
        key = protocol.study.name, protocol.digest
        if not self._ledger.has_open(*key):
            raise PrivacyError(
                f"study {protocol.study.name!r} has no open reservation here",
                advice="the site approves a study before it takes part; a finished study is not continued",
            )
        last, moment = self._ledger.last(*key) or _BEGIN, (round_, attempt)
        if moment <= last and moment != self._ledger.unsettled(*key):
            raise TrustError(
                f"round {round_}, attempt {attempt} is over at this site",
                advice="the coordinator must start a new attempt, with fresh keys",
            )
        if moment > last:
            self._give_back(protocol)

    def _give_back(self, protocol: StudyProtocol) -> None:
        """Return the charge of the last attempt if nothing of it left.

        A reply leaves only after its settlement is on disk, and after the return no settlement is possible.
        """
        key = protocol.study.name, protocol.digest
        unsettled = self._ledger.unsettled(*key)
        if unsettled is not None and not _unlimited(protocol):
            self._path(protocol, *unsettled).unlink(missing_ok=True)
            self._ledger.give_back(*key, *unsettled)

    def charge(
        self, protocol: StudyProtocol, round_: int, attempt: int, base_model: str, *, run: str
    ) -> Receipt:
        """Charge one attempt, durably, before any patient is read for it; the first binds the reservation to its run.

        A release without privacy is charged once per reservation: after it epsilon is infinite, and no further
        charge could say more.

        Raises:
            TrustError: The attempt is a replay, out of order, or of another run.
            PrivacyError: It is beyond the reservation, or there is none.
        """
        key = protocol.study.name, protocol.digest
        said_already = _unlimited(protocol) and self._ledger.has_open(*key) and self._ledger.last(*key)
        if not said_already:
            if (round_, attempt) > (self._ledger.last(*key) or _BEGIN):
                self._give_back(protocol)
            self._ledger.spend(*key, round_, attempt, base_model, run=run)
        sequence, head = self._ledger.head
        return Receipt(event=protocol.event(), ledger_seq=sequence, ledger_head=head)

    def sent(self, protocol: StudyProtocol, round_: int, attempt: int) -> bytes | None:
        """The reply that already left for this attempt, or None where none did.

        Raises:
            TrustError: The ledger says that bytes left, and the outbox no longer holds them.
        """
        expected = self._ledger.settled(protocol.study.name, protocol.digest, round_, attempt)
        if expected is None:
            return None
        path = self._path(protocol, round_, attempt)
        reply = path.read_bytes() if path.exists() else b""
        if digest(reply) != expected:
            raise TrustError(
                f"the ledger says that round {round_}, attempt {attempt} was answered; the kept reply is not that",
                advice="the coordinator must start a new attempt; different bytes for one charge never leave",
            )
        return reply

    def cosigned(self, protocol: StudyProtocol, run: str) -> Seen:
        """What this site cosigned last of the log of a run; so a second log under one run is never cosigned."""
        return self._ledger.cosigned(protocol.study.name, protocol.digest).get(run, NOTHING)

    def let_go(
        self,
        protocol: StudyProtocol,
        round_: int,
        attempt: int,
        reply: bytes,
        *,
        log: Seen | None = None,
    ) -> bytes:
        """Keep the reply, settle its charge, and only then hand it out. Earlier replies of the study are dropped.

        Without privacy there is nothing to keep: the same attempt may be trained again at no further cost.

        With the reply goes `log`, what it cosigns of the run's log, remembered before it leaves; without privacy
        nothing remembers it, and a reply cosigns nothing.
        """
        if _unlimited(protocol):
            return reply
        path = self._path(protocol, round_, attempt)
        write_atomic(path, reply, mode=0o600)
        self._ledger.settle(protocol.study.name, protocol.digest, round_, attempt, digest(reply), log=log)
        for old in self._outbox.glob(f"{protocol.digest[:16]}-*.reply"):
            if old != path:
                old.unlink()
        return reply

    def close(self, protocol: StudyProtocol, *, run: str = "", log: Seen | None = None) -> None:
        """The study is over: what was reserved and never spent, or spent and never let go, is free again.

        Args:
            protocol: The study.
            run: The run that ended; empty where a person ends it, in whatever run it is.
            log: What the confirmation cosigns of the log of `run`.
        """
        if self._ledger.has_open(protocol.study.name, protocol.digest):
            self._give_back(protocol)
            self._ledger.close_study(protocol.study.name, protocol.digest, run=run, log=log)

    def _path(self, protocol: StudyProtocol, round_: int, attempt: int) -> Path:
        return self._outbox / f"{protocol.digest[:16]}-{round_}-{attempt}.reply"


def _unlimited(protocol: StudyProtocol) -> bool:
    return isinstance(protocol.event(), NonPrivate)


def _releases(protocol: StudyProtocol) -> int:
    return protocol.federation.rounds * protocol.federation.attempts
