"""A site's privacy ledger: what its patient pool has spent, for its lifetime, across all studies.

    with Ledger.open(folder, key, head_path) as ledger:
        ledger.reserve("study", protocol.digest, protocol.event(), rounds * attempts)   # at approval
        ledger.spend("study", protocol.digest, 1, 1, base_model)                        # before training
        ledger.settle("study", protocol.digest, 1, 1, digest(reply))                    # before bytes leave
        ledger.give_back("study", protocol.digest, 1, 1)                                # instead: nothing will leave
        ledger.close_study("study", protocol.digest)                                    # the rest is returned

Each call is durable on return. All are safe to repeat after a crash: a repeated call finds its entry and adds none.
Whether a cap allows a reservation is decided by the caller from `exposure()`.

Guarantees:
    - What is charged is never less than what was released, whatever call a crash interrupts.
    - An edited, reordered, shortened or exchanged ledger is refused at opening.
    - Two openings at once are refused.

Assumes one owner of the folder, and a head file that is not backed up and restored together with it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wardround.common.durable import exclusive
from wardround.common.errors import StorageError, UsageError
from wardround.common.privacy.events import DpEvent, encode
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledgercopy import read_ledger
from wardround.common.trust.ledgerfile import LedgerFile, make_folder
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import HELD_OUT, Moment, Pool, attempt_of, of_log, of_pool, of_run
from wardround.common.trust.ledgeropen import load
from wardround.common.trust.ledgerpools import Charge, falling_on
from wardround.common.trust.ledgerstate import Account, PoolState
from wardround.common.trust.signed import utc_now
from wardround.common.trust.witness import Seen

__all__ = ["LEDGER", "LOCK", "Ledger", "read_ledger"]

LEDGER = "ledger.jsonl"
LOCK = "ledger.lock"


@dataclass(slots=True)
class _Book:
    """The open file, shared by the accounts in it; None once it is closed."""

    file: LedgerFile | None
    state: PoolState


class Ledger:
    """An open ledger; see the module for the order of calls. Made by `Ledger.open`.

    Attributes:
        pool: Whose account this is: calls that name a study mean its part in this pool.
    """

    def __init__(self, book: _Book, pool: Pool = "training") -> None:
        self._book = book
        self._state = book.state
        self.pool = pool

    @property
    def held_out(self) -> "Ledger":
        """The account of the patients who are kept out of training, in the same ledger."""
        return Ledger(self._book, HELD_OUT)

    def _account(self, study: str, protocol_digest: str) -> Account | None:
        return self._state.current.get((study, protocol_digest, self.pool))

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        folder: Path,
        key: SigningKey,
        head_path: Path,
        *,
        pool: str = "patients",
        clock: Callable[[], datetime] = utc_now,
    ) -> Iterator["Ledger"]:
        """Open a site's ledger, creating it where neither it nor its head exists.

        Args:
            folder: The ledger's own folder; created, readable by its owner only.
            key: The site's key.
            head_path: The witness file, outside `folder`, and not in the same backup.
            pool: Name of the patient pool; an existing ledger must be of the same pool.
            clock: The site's clock, for people only.

        Raises:
            StorageError: Somebody else has it open, the disk is full, or a newer release wrote it.
            TrustError: It was rolled back, edited, belongs to another key or pool, or lost its head.
        """
        if folder.resolve() in head_path.resolve().parents:
            raise UsageError(
                f"expected the head file outside the ledger's folder {folder}, found {head_path}"
            )
        for place in (folder, head_path.parent):
            make_folder(place)
        with exclusive(folder / LOCK):
            book = _Book(*load(folder / LEDGER, key, head_path, pool, clock))
            try:
                yield cls(book)
            finally:
                book.file = None

    @property
    def head(self) -> tuple[int, str]:
        """Number (from 0) and hash of the newest entry."""
        last = self._open_file().last
        return last.seq, last.hash

    def reserve(
        self, study: str, protocol_digest: str, event: DpEvent, releases: int, *, held_out: float = 0.0
    ) -> Entry:
        """Set aside `releases` times `event` (rounds x attempts) for a study that holds out this share of patients.

        Raises:
            PrivacyError: Reserved with other terms, or finished before.
            StorageError: Not durable.
        """
        share = {"held_out": repr(float(held_out))} if held_out else {}
        payload = self._named(study, protocol_digest) | {"event": encode(event), "releases": releases} | share
        account = self._account(study, protocol_digest)
        same = account and not account.closed and account.reserved.payload == payload
        return self._record("reserve", payload, account.reserved if account and same else None)

    def spend(
        self, study: str, protocol_digest: str, round_: int, attempt: int, base_model: str, *, run: str = ""
    ) -> Entry:
        """Charge one release, before training, in its run. The same unsettled attempt is charged once.

        Raises:
            PrivacyError: Not reserved, used up, or finished.
            TrustError: Not newer than the last attempt: a replay; or of another run.
            StorageError: Not durable; do not train.
        """
        moment = self._moment(study, protocol_digest, round_, attempt)
        payload = moment | {"base_model": base_model} | of_run(run)
        account = self._account(study, protocol_digest)
        done = account.charged_as(payload, (round_, attempt)) if account else None
        return self._record("spend", payload, done)

    def settle(
        self,
        study: str,
        protocol_digest: str,
        round_: int,
        attempt: int,
        update_digest: str,
        *,
        log: Seen | None = None,
    ) -> Entry:
        """Record the SHA-256 of the bytes an attempt releases, before they leave. Only these are resent.

        With them goes what the site cosigns of the study's log, if anything.

        Raises:
            PrivacyError: Not reserved, or finished.
            TrustError: Not the last attempt, or settled with other bytes.
            StorageError: Not durable; do not send.
        """
        moment = self._moment(study, protocol_digest, round_, attempt)
        payload = moment | {"update": update_digest} | of_log(log)
        account = self._account(study, protocol_digest)
        done = account.settles.get((round_, attempt)) if account else None
        return self._record("settle", payload, done if done and done.payload == payload else None)

    def give_back(self, study: str, protocol_digest: str, round_: int, attempt: int) -> Entry:
        """Return the charge of the last attempt, which was not settled; it is never settled or spent any more.

        Raises:
            PrivacyError: Not reserved, finished, or without privacy.
            TrustError: Not the last attempt, or settled.
            StorageError: Not durable.
        """
        account = self._account(study, protocol_digest)
        done = account.returns.get((round_, attempt)) if account else None
        return self._record("return", self._moment(study, protocol_digest, round_, attempt), done)

    def close_study(
        self, study: str, protocol_digest: str, *, run: str = "", log: Seen | None = None
    ) -> Entry:
        """End a study: what was not spent of its reservation is returned, and nothing more can be spent.

        With it goes what the site cosigns of the study's log, if anything; `run` is empty to end it in whatever run.

        Raises:
            PrivacyError: The study was never reserved.
            TrustError: It is in another run.
            StorageError: Not durable.
        """
        account = self._account(study, protocol_digest)
        payload = self._named(study, protocol_digest) | of_run(run) | of_log(log)
        return self._record("close", payload, account.closed if account else None)

    def allow_again(self, study: str, protocol_digest: str) -> Entry:
        """Let a finished study be reserved once more. What it spent stays charged, and both runs compose.

        Without this, a replayed task of a finished study could make a site reserve and spend anew. Only a person at
        the site, or a researcher who simulates on the site's own folder, calls it; no message ever does.

        Raises:
            PrivacyError: The study is not finished.
            StorageError: Not durable.
        """
        return self._record("again", self._named(study, protocol_digest), None)

    def check_run(self, study: str, protocol_digest: str, run: str) -> None:
        """Refuse a run that cannot be charged to the present reservation of a study.

        Raises:
            TrustError: The reservation is bound to another run, or an earlier one was bound to this.
        """
        self._state.check_run((study, protocol_digest, self.pool), run)

    def charges(self) -> list[Charge]:
        """What counts against caps, in both pools: finished studies as spent, open ones with all they reserved."""
        return [account.charge(account.exposed) for account in self._state.accounts]

    def exposure(self) -> list[DpEvent]:
        """Everything that counts against a cap of this pool; see `charges` and `ledgerpools`."""
        return falling_on(self.pool, self.charges())

    def spent(self, study: str | None = None) -> list[DpEvent]:
        """What is charged so far to this pool, torn lines included: of one study (all its runs), or of all."""
        accounts = (a for a in self._state.accounts if study in (None, a.reserved.payload["study"]))
        return falling_on(self.pool, [account.charge(account.charged) for account in accounts])

    def shares(self, protocol_digest: str) -> list[float]:
        """The share of patients that each reservation of this pool under a protocol holds out, in any study and run."""
        return self._state.shares(self.pool, protocol_digest)

    def protocols_about(self, model: str) -> frozenset[str]:
        """The protocols under which something was charged here that started from a model, in either pool."""
        return self._state.protocols_about(model)

    def settled(self, study: str, protocol_digest: str, round_: int, attempt: int) -> str | None:
        """The digest of the bytes that an attempt released; None if none left."""
        account = self._account(study, protocol_digest)
        entry = account.settles.get((round_, attempt)) if account else None
        return str(entry.payload["update"]) if entry else None

    def cosigned(self, study: str, protocol_digest: str) -> Mapping[str, Seen]:
        """Run of a study -> what the site cosigned last of its log, whichever reservation was charged for it."""
        return {run: logs[-1] for run, logs in self._state.logs(study, protocol_digest).items()}

    def last(self, study: str, protocol_digest: str) -> Moment | None:
        """(round, attempt) of the newest spend of a study; None before the first."""
        account = self._account(study, protocol_digest)
        return account.last if account else None

    def unsettled(self, study: str, protocol_digest: str) -> Moment | None:
        """(round, attempt) of the newest spend, if it may still be settled: nothing of it left."""
        account = self._account(study, protocol_digest)
        return account.unsettled if account else None

    def reservation(self, study: str, protocol_digest: str) -> Entry | None:
        """The entry that made the open reservation of a study; None where none is open."""
        account = self._account(study, protocol_digest)
        return None if account is None or account.closed else account.reserved

    def has_open(self, study: str, protocol_digest: str) -> bool:
        """Whether the study has a reservation that was not closed."""
        return self.reservation(study, protocol_digest) is not None

    def has_finished(self, study: str, protocol_digest: str) -> bool:
        """Whether the study was reserved and closed, and not allowed again since."""
        account = self._account(study, protocol_digest)
        return account is not None and account.closed is not None

    def _named(self, study: str, protocol_digest: str) -> dict[str, object]:
        return {"study": study, "protocol": protocol_digest} | of_pool(self.pool)

    def _moment(self, study: str, protocol_digest: str, round_: int, attempt: int) -> dict[str, object]:
        return attempt_of(study, protocol_digest, round_, attempt) | of_pool(self.pool)

    def _record(self, kind: str, payload: Mapping[str, object], existing: Entry | None) -> Entry:
        file = self._open_file()
        if existing is None:
            self._state.admit(kind, payload)
            existing = file.append(kind, payload)
            self._state.apply(existing)
        file.witness()
        return existing

    def _open_file(self) -> LedgerFile:
        if self._book.file is None:
            raise StorageError("the ledger is closed", advice="use it inside `with Ledger.open(...)`")
        return self._book.file
