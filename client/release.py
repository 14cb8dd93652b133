"""The one door through which anything computed from patients leaves a site.

Order, each step durable before the next: reserve the study (at approval), spend the attempt (before training), keep
the reply in the outbox, settle it in the ledger, let it go. A crash between any two can only over-count.

Guarantees:
    - Bytes leave only after their charge is on disk, and only the bytes whose digest the ledger holds.
    - Under a private mechanism the same attempt always gets identical bytes, and a new attempt is a new charge
      and fresh noise.
    - A charge is returned only for an attempt that was not settled and never can be any more: nothing of it left.
    - No reservation is made that could take the patients who train, or those held out, above their lifetime cap.
    - Training is charged to the patients who train and the evaluation to those held out; where studies hold out
      different shares, what some patients share is charged to both (`common.trust.ledgerpools`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from wardround.client.monitored import check_untrained
from wardround.client.policy import SitePolicy
from wardround.common.durable import write_atomic
from wardround.common.errors import PolicyRefusal, PrivacyError, TrustError
from wardround.common.formats import digest
from wardround.common.learning.exchange import Receipt
from wardround.common.privacy.accounting import Against, epsilon
from wardround.common.privacy.events import NonPrivate
from wardround.common.study.parts import Part, parts
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.ledger import Ledger
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import Pool
from wardround.common.trust.ledgerpools import falling_on
from wardround.common.trust.witness import NOTHING, Seen

_ASSUMING: Final[Mapping[Against, str]] = {
    "tolerated": "against all parties that a study assumes curious",
    "everyone-else": "if everybody else colludes",
}

POOLS: Final[Mapping[Pool, str]] = {
    "training": "this patient pool",
    "held-out": "the held-out patients of this pool",
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
        """Reserve the whole study, every attempt of training and of the evaluation, if the lifetime caps allow it.

        Raises:
            PolicyRefusal: A cap would be exceeded, or patients who trained a model would judge it. The message is for
                the site; nothing of it is ever sent.
        """
        check_untrained(protocol, self._policy.site, self._ledger)
        key = protocol.study.name, protocol.digest
        missing = [one for one in self._parts(protocol) if not one.account(self._ledger).has_open(*key)]
        self._check_caps(protocol, missing)
        for one in missing:
            one.account(self._ledger).reserve(*key, one.event, one.releases, held_out=one.share)

    def reserve_anew(self, protocol: StudyProtocol) -> None:
        """Reserve a study that this pool may have taken part in before: what it spent then stays charged.

        For a simulation that begins anew, where the researcher speaks for the site. An abandoned earlier run is
        closed first: nothing more can leave under it.

        Raises:
            PolicyRefusal: A cap would be exceeded by both runs together, or as `reserve`.
        """
        check_untrained(protocol, self._policy.site, self._ledger)
        self.close(protocol)
        key = protocol.study.name, protocol.digest
        self._check_caps(protocol, self._parts(protocol))
        for one in self._parts(protocol):
            if one.account(self._ledger).has_finished(*key):
                one.account(self._ledger).allow_again(*key)
        self.reserve(protocol)

    def _parts(self, protocol: StudyProtocol) -> tuple[Part, ...]:
        return parts(protocol, self._policy.site)

    def _account(self, protocol: StudyProtocol, round_: int) -> Ledger:
        """The account that a round is charged to: held-out patients never pay for training, nor the reverse."""
        return self._ledger.held_out if protocol.evaluates(round_) else self._ledger

    def _check_caps(self, protocol: StudyProtocol, asked: Sequence[Part]) -> None:
        if self._policy.cohort != "private" or not asked:
            return
        before = self._ledger.charges()
        after = [*before, *(one.charge() for one in asked)]
        for pool, against, cap in self._policy.all_caps:
            claim = epsilon(falling_on(pool, after), self._policy.delta, against=against)
            if claim > cap:
                spent = epsilon(falling_on(pool, before), self._policy.delta, against=against)
                raise PolicyRefusal(
                    f"study {protocol.study.name} could take {POOLS[pool]} to epsilon {claim:g} at delta "
                    f"{self._policy.delta:g} {_ASSUMING[against]}; the lifetime cap is {cap:g} and {spent:g} is in use",
                    advice="ask for fewer rounds or attempts or more noise; only the site itself can raise its cap",
                )

    def reservation(self, protocol: StudyProtocol) -> Entry | None:
        """The ledger's entry that set the price of training aside; None where the study is not open.

        At an external site that of the evaluation, which is all there is.
        """
        found = self.reservations(protocol)
        return next(iter(found.values()), None)

    def reservations(self, protocol: StudyProtocol) -> Mapping[Pool, Entry]:
        """All open reservations of a study, that of training first."""
        key = protocol.study.name, protocol.digest
        found = {one.pool: one.account(self._ledger).reservation(*key) for one in self._parts(protocol)}
        return {pool: entry for pool, entry in found.items() if entry is not None}

    def check_run(self, protocol: StudyProtocol, run: str) -> None:
        """Refuse a message of another run than the one that the open reservation was first charged for.

        So a new run identifier buys nothing: a person at the site approves the study again, and both runs count.

        Raises:
            TrustError: The reservation belongs to another run, or this run ended here before.
        """
        for one in self._parts(protocol):
            one.account(self._ledger).check_run(protocol.study.name, protocol.digest, run)

    def check_next(self, protocol: StudyProtocol, round_: int, attempt: int) -> None:
        """Refuse an attempt that could not be charged any more; charges nothing.

        Raises:
            TrustError: A newer attempt was charged already, or this one was answered or given up.
            PrivacyError: There is no open reservation.
        """
        key, account = (protocol.study.name, protocol.digest), self._account(protocol, round_)
        if not account.has_open(*key):
            raise PrivacyError(
                f"study {protocol.study.name!r} has no open reservation here",
                advice="the site approves a study before it takes part; a finished study is not continued",
            )
        last, moment = account.last(*key) or _BEGIN, (round_, attempt)
        if moment <= last and moment != account.unsettled(*key):
            raise TrustError(
                f"round {round_}, attempt {attempt} is over at this site",
                advice="the coordinator must start a new attempt, with fresh keys",
            )
        if moment > last:
            self._give_back(protocol, account)

    def _give_back(self, protocol: StudyProtocol, account: Ledger) -> None:
        """Return the charge of the last attempt if nothing of it left.

        A reply leaves only after its settlement is on disk, and after the return no settlement is possible.
        """
        key = protocol.study.name, protocol.digest
        unsettled = account.unsettled(*key)
        if unsettled is not None and not _unlimited(protocol):
            self._path(protocol, *unsettled).unlink(missing_ok=True)
            account.give_back(*key, *unsettled)

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
        key, account = (protocol.study.name, protocol.digest), self._account(protocol, round_)
        said_already = _unlimited(protocol) and account.has_open(*key) and account.last(*key)
        if not said_already:
            if (round_, attempt) > (account.last(*key) or _BEGIN):
                self._give_back(protocol, account)
            account.spend(*key, round_, attempt, base_model, run=run)
        sequence, head = account.head
        return Receipt(event=protocol.event_of(round_), ledger_seq=sequence, ledger_head=head)

    def sent(self, protocol: StudyProtocol, round_: int, attempt: int) -> bytes | None:
        """The reply that already left for this attempt, or None where none did.

        Raises:
            TrustError: The ledger says that bytes left, and the outbox no longer holds them.
        """
        account = self._account(protocol, round_)
        expected = account.settled(protocol.study.name, protocol.digest, round_, attempt)
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
        account = self._account(protocol, round_)
        account.settle(protocol.study.name, protocol.digest, round_, attempt, digest(reply), log=log)
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
        key = protocol.study.name, protocol.digest
        for one in reversed(self._parts(protocol)):  # training last: until it is closed, the study is open
            account = one.account(self._ledger)
            if account.has_open(*key):
                self._give_back(protocol, account)
                account.close_study(*key, run=run, log=log)

    def _path(self, protocol: StudyProtocol, round_: int, attempt: int) -> Path:
        return self._outbox / f"{protocol.digest[:16]}-{round_}-{attempt}.reply"


def _unlimited(protocol: StudyProtocol) -> bool:
    return isinstance(protocol.event(), NonPrivate)
