"""The rules of a patient pool's account: what may be reserved, spent, settled. Pure: entries in, charges out.

One state serves a new entry and a replayed one. `admit` checks without changing anything; `apply` changes. An
entry is written between the two, so that memory never runs ahead of the disk.

Guarantees:
    - What a study is charged never falls below what it spent, and while it is open never below its reservation.
    - (round, attempt) of a study only grows; a settled or returned attempt is never spent again.
    - A reservation is charged for one run. A run that its coordinator ended is never charged to a later reservation,
      and one that a person left only with attempts newer than all it was charged for.
    - A charge is returned only for the newest attempt, only before it was settled, and it is never settled after.

Source: rules 8 and 9 of the privacy design: reserve, spend, release; a crash may over-count, never under-count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wardround.common.errors import PrivacyError, TrustError
from wardround.common.privacy.events import DpEvent, NonPrivate, decode
from wardround.common.trust.ledgerfields import check_fields
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import Moment, Pool, StudyKey, key_of, moment_of, pool_of, run_of
from wardround.common.trust.ledgerpools import Charge
from wardround.common.trust.witness import Seen


@dataclass(slots=True, kw_only=True)
class Account:
    """One reservation of one study.

    Attributes:
        event: What one release costs.
        releases: How many were reserved.
        reserved: The entry that reserved them.
        spends: (round, attempt) -> entry, in order.
        settles: (round, attempt) -> entry.
        returns: (round, attempt) -> entry: charges that were returned, because nothing of the attempt left.
        run: The run that it was first charged for, or closed in; None before. Empty: entries that name none.
        torn: Torn lines found while it was open; each is charged as one release.
        closed: The entry that closed it; None while it is open.
    """

    event: DpEvent
    releases: int
    reserved: Entry
    spends: dict[Moment, Entry] = field(default_factory=dict)
    settles: dict[Moment, Entry] = field(default_factory=dict)
    returns: dict[Moment, Entry] = field(default_factory=dict)
    run: str | None = None
    torn: int = 0
    closed: Entry | None = None

    @property
    def charged(self) -> int:
        """Releases spent and not returned, torn lines included."""
        return len(self.spends) - len(self.returns) + self.torn

    @property
    def exposed(self) -> int:
        """Releases that must be counted against a cap: while open, the whole reservation."""
        return self.charged if self.closed else max(self.releases, self.charged)

    def charge(self, releases: int) -> Charge:
        """So many of its releases, and on whom they fall."""
        share = float(str(self.reserved.payload.get("held_out", "0")))
        pool = pool_of(self.reserved.payload)
        return Charge(pool=pool, share=share, event=self.event, releases=releases)

    @property
    def logs(self) -> tuple[Seen, ...]:
        """What was cosigned of the run's log, in order."""
        saying = [*self.settles.values(), *([self.closed] if self.closed else [])]
        return tuple(Seen.from_dict(entry.payload["log"]) for entry in saying if "log" in entry.payload)

    @property
    def last(self) -> Moment | None:
        """The newest attempt."""
        return next(reversed(self.spends), None)

    def charged_as(self, payload: Mapping[str, object], moment: Moment) -> Entry | None:
        """The spend of the newest attempt, if it is unsettled and says just this."""
        entry = self.spends.get(moment) if self.unsettled == moment else None
        return entry if entry and entry.payload == payload else None

    @property
    def ended(self) -> bool:
        """Whether the coordinator ended the run, not a person at the site."""
        return self.closed is not None and bool(run_of(self.closed.payload))

    @property
    def unsettled(self) -> Moment | None:
        """The newest attempt as long as it may still be settled: until then nothing of it left."""
        last = self.last
        return None if self.closed or last in self.settles or last in self.returns else last


@dataclass(slots=True)
class PoolState:
    """All accounts of one patient pool, in the order of their reservations."""

    accounts: list[Account] = field(default_factory=list)
    current: dict[StudyKey, Account] = field(default_factory=dict)

    def admit(self, kind: str, payload: Mapping[str, object]) -> None:
        """Check an entry against the rules; change nothing.

        Raises:
            PrivacyError: Not reserved, used up, or closed.
            TrustError: Replayed, out of order, or of an unknown kind.
            UsageError: A field has the wrong type or range.
        """
        check_fields(kind, payload)
        match kind:
            case "reserve":
                self._admit_reserve(payload)
            case "spend":
                self._admit_spend(payload)
            case "settle":
                self._admit_settle(payload)
            case "return":
                self._admit_return(payload)
            case "close":
                self.open_account(key_of(payload))
                if run := run_of(payload):
                    self.check_run(key_of(payload), run)
            case "again":
                self._admit_again(payload)

    def apply(self, entry: Entry) -> None:
        """Take over an admitted entry."""
        payload = entry.payload
        match entry.kind:
            case "reserve":
                self._reserve(entry)
            case "spend":
                account = self.current[key_of(payload)]
                account.spends[moment_of(payload)] = entry
                account.run = run_of(payload)
            case "settle":
                self.current[key_of(payload)].settles[moment_of(payload)] = entry
            case "return":
                self.current[key_of(payload)].returns[moment_of(payload)] = entry
            case "close":
                account = self.current[key_of(payload)]
                account.closed = entry
                account.run = run_of(payload) or account.run
            case "again":
                del self.current[key_of(payload)]
            case "torn":
                for account in self.current.values():
                    account.torn += account.closed is None

    def open_account(self, key: StudyKey) -> Account:
        """The open reservation of a study.

        Raises:
            PrivacyError: There is none, or it was closed.
        """
        account = self.current.get(key)
        if account is None:
            raise PrivacyError(
                f"study {key[0]!r} has no reservation in this ledger under this protocol",
                advice="approve the study at the site; the reservation is made then",
            )
        if account.closed:
            raise _closed(key)
        return account

    def check_run(self, key: StudyKey, run: str) -> None:
        """Refuse a run that is not that of the present reservation, or that ended in an earlier one.

        Raises:
            TrustError: Either.
        """
        account = self.current.get(key)
        if account is not None and account.run not in (None, run):
            raise TrustError(
                f"study {key[0]!r} is in run {account.run or 'without a name'} at this site, found run {run}",
                advice="a message of another run, or the coordinator began anew: a person at the site approves the "
                "study again, and both runs count",
            )
        if any(one.ended for one in self._of_run(key, run) if one is not account):
            raise TrustError(f"run {run} of study {key[0]!r} ended at this site; an old message came again")

    def logs(self, study: str, protocol_digest: str) -> Mapping[str, tuple[Seen, ...]]:
        """Run -> what was cosigned of its log, in order, under whichever reservations of either pool."""
        found: dict[str, tuple[Seen, ...]] = {}
        for account in self.accounts:
            named = key_of(account.reserved.payload)[:2] == (study, protocol_digest)
            if named and account.run and account.logs:
                found[account.run] = (*found.get(account.run, ()), *account.logs)
        # A log only grows, and both pools' charges cosign the same one.
        return {run: tuple(sorted(logs, key=lambda seen: seen.size)) for run, logs in found.items()}

    def shares(self, pool: Pool, protocol_digest: str) -> list[float]:
        """The share that each reservation of a pool under a protocol holds out."""
        named = [(pool_of(one.reserved.payload), one.reserved.payload["protocol"]) for one in self.accounts]
        return [
            one.charge(0).share
            for one, name in zip(self.accounts, named, strict=True)
            if name == (pool, protocol_digest)
        ]

    def protocols_about(self, model: str) -> frozenset[str]:
        """The protocols under which something was charged that started from a model, in either pool."""
        return frozenset(
            str(one.reserved.payload["protocol"])
            for one in self.accounts
            if any(spend.payload.get("base_model") == model for spend in one.spends.values())
        )

    def _of_run(self, key: StudyKey, run: str) -> list[Account]:
        """All reservations that were charged for a run; none for entries that name no run."""
        same = (one for one in self.accounts if key_of(one.reserved.payload) == key)
        return [one for one in same if run and one.run == run]

    def _admit_reserve(self, payload: Mapping[str, object]) -> None:
        key = key_of(payload)
        if account := self.current.get(key):
            raise (
                _closed(key)
                if account.closed
                else PrivacyError(
                    f"study {key[0]!r} is reserved already, with another event or number of releases"
                )
            )

    def _admit_spend(self, payload: Mapping[str, object]) -> None:
        account, moment = self.open_account(key_of(payload)), moment_of(payload)
        self.check_run(key_of(payload), run_of(payload))
        charged = [one.last for one in (account, *self._of_run(key_of(payload), run_of(payload))) if one.last]
        if charged and moment <= (last := max(charged)):
            raise TrustError(
                f"expected something newer than round {last[0]} attempt {last[1]} of study "
                f"{payload['study']!r}, found round {moment[0]} attempt {moment[1]}",
                advice="an old task was delivered again, or two tasks share one attempt; nothing was charged",
            )
        if account.charged >= account.releases:
            raise PrivacyError(
                f"all {account.releases} reserved releases of study {payload['study']!r} are used up",
                advice="a new study with its own reservation is needed; torn lines count as releases",
            )

    def _admit_settle(self, payload: Mapping[str, object]) -> None:
        _require_unsettled(
            self.open_account(key_of(payload)),
            payload,
            advice="an attempt is charged first, released once, and only resent after that",
        )

    def _admit_return(self, payload: Mapping[str, object]) -> None:
        account = self.open_account(key_of(payload))
        if isinstance(account.event, NonPrivate):
            raise PrivacyError(
                "a release without privacy is never settled: nothing shows that it did not leave"
            )
        _require_unsettled(
            account,
            payload,
            advice="what was settled may have left, and stays charged; so does what came before",
        )

    def _admit_again(self, payload: Mapping[str, object]) -> None:
        account = self.current.get(key_of(payload))
        if account is None or not account.closed:
            raise PrivacyError(f"study {payload['study']!r} is not finished in this ledger")

    def _reserve(self, entry: Entry) -> None:
        match entry.payload:
            case {"event": dict(event), "releases": int(releases)}:
                account = Account(event=decode(event), releases=releases, reserved=entry)
                self.accounts.append(account)
                self.current[key_of(entry.payload)] = account


def _require_unsettled(account: Account, payload: Mapping[str, object], *, advice: str) -> None:
    moment = moment_of(payload)
    if moment != account.unsettled:
        raise TrustError(
            f"expected the unsettled last attempt of study {payload['study']!r}, found round {moment[0]} "
            f"attempt {moment[1]}",
            advice=advice,
        )


def _closed(key: StudyKey) -> PrivacyError:
    return PrivacyError(
        f"study {key[0]!r} is finished in this ledger under this protocol",
        advice="to run it once more, a person at the site allows it again; both runs count",
    )
