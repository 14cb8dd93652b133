"""What is happening at this site: round, budget, bytes out and the last release, read from ledger and outbox.

Nothing is written and no lock is taken, so it may be looked at every second while the site works. A line of the ledger
that is being written is left out. Everything shown follows from public terms and from how often this site answered:
no number here was computed from a patient.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from wardround.client.account import Account as Budget
from wardround.client.approvals import folder_of
from wardround.client.joining import Pinned
from wardround.client.office import OUTBOX
from wardround.client.policy import SitePolicy
from wardround.client.sitefile import FILE
from wardround.common.errors import WardroundError
from wardround.common.privacy.accounting import Against, epsilon
from wardround.common.privacy.events import NonPrivate
from wardround.common.study.bundle import STUDY
from wardround.common.study.reader import load
from wardround.common.trust.ledger import LEDGER
from wardround.common.trust.ledgerfile import read_bytes, split, verify
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import HELD_OUT, Pool, key_of
from wardround.common.trust.ledgerpools import Charge, falling_on
from wardround.common.trust.ledgerstate import Account, PoolState
from wardround.common.trust.signed import timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """A kept reply: when it was written, UTC, and its bytes."""

    time: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveStudy:
    """One study at this site.

    Attributes:
        name: The study.
        digest: Of its protocol.
        state: `open` while it has a reservation, else `finished`.
        round: Of the newest attempt that was charged; 0 before the first.
        rounds: Of the protocol; 0 where it is not known here.
        charged: Releases that were charged and stay so.
        reserved: Releases that were reserved.
        bytes_out: Bytes of all replies that left, about: each has the size of the last, up to a few digits.
        last_release: When the newest reply was let go, UTC; its day where the reply is not kept any more; empty if none
            was.
        private: Whether releases are charged one by one; without privacy the first charge stands for all of them, and
            the ledger knows neither later rounds nor replies.
    """

    name: str
    digest: str
    state: Literal["open", "finished"]
    round: int
    rounds: int
    charged: int
    reserved: int
    bytes_out: int
    last_release: str
    private: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveView:
    """A site at this moment.

    Attributes:
        site: Its name.
        pool: Its patient pool.
        delta: The pool's one lifetime delta.
        budgets: By who is assumed to collude: cap, spent and exposure of the patients who train.
        held_out: The same of the patients who are held out and evaluate; empty where none ever did.
        studies: In the order of their reservations.
    """

    site: str
    pool: str
    delta: float
    budgets: Mapping[Against, Budget]
    studies: tuple[LiveStudy, ...]
    held_out: Mapping[Against, Budget] = field(default_factory=dict)


def live_view(folder: Path) -> LiveView:
    """Look at the site of a folder.

    Raises:
        UsageError: It has not joined a consortium yet.
        TrustError: Its ledger was changed.
        StorageError: Something cannot be read.
    """
    policy = SitePolicy.load(folder / FILE)
    path = policy.ledger / LEDGER
    lines, _ = split(read_bytes(path) or b"")
    entries = verify(lines, Pinned.load(folder).site_key, str(path))
    keys = {key_of(entry.payload)[1] for entry in entries if entry.kind == "reserve"}
    return view_of(
        policy,
        entries,
        replies={digest: _last_reply(folder / OUTBOX, digest) for digest in keys},
        rounds={digest: _rounds(folder, digest) for digest in keys},
    )


def view_of(
    policy: SitePolicy, entries: Sequence[Entry], *, replies: Mapping[str, _Reply], rounds: Mapping[str, int]
) -> LiveView:
    """What verified entries say.

    Args:
        policy: The site's limits.
        entries: The ledger, oldest first.
        replies: Protocol digest -> its last reply.
        rounds: Protocol digest -> rounds of its protocol.
    """
    state = PoolState()
    for entry in entries[1:]:
        state.admit(entry.kind, entry.payload)
        state.apply(entry)
    spent = [one.charge(one.charged) for one in state.accounts]
    exposed = [one.charge(one.exposed) for one in state.accounts]
    evaluates = any(one.pool == HELD_OUT for one in exposed)
    trained = {key_of(one.reserved.payload)[1] for one in state.accounts if one.charge(0).pool == "training"}
    return LiveView(
        site=policy.site,
        pool=policy.pool,
        delta=policy.delta,
        budgets=_budgets(policy.caps, "training", policy.delta, spent, exposed),
        held_out=_budgets(policy.held_out_caps, HELD_OUT, policy.delta, spent, exposed) if evaluates else {},
        studies=tuple(
            _study(one, replies, rounds)
            for one in state.accounts
            if one.charge(0).pool == "training" or key_of(one.reserved.payload)[1] not in trained
        ),
    )


def _budgets(
    caps: Mapping[Against, float],
    pool: Pool,
    delta: float,
    spent: Sequence[Charge],
    exposed: Sequence[Charge],
) -> Mapping[Against, Budget]:
    return {
        against: Budget(
            cap=cap,
            spent=epsilon(falling_on(pool, spent), delta, against=against),
            exposure=epsilon(falling_on(pool, exposed), delta, against=against),
        )
        for against, cap in caps.items()
    }


def _study(account: Account, replies: Mapping[str, _Reply], rounds: Mapping[str, int]) -> LiveStudy:
    name, digest, _ = key_of(account.reserved.payload)
    newest = account.last
    last = next(reversed(account.settles.values()), None)
    reply = replies.get(digest, _Reply())
    return LiveStudy(
        name=name,
        digest=digest,
        state="finished" if account.closed else "open",
        round=newest[0] if newest else 0,
        rounds=rounds.get(digest, 0),
        charged=account.charged,
        reserved=account.releases,
        bytes_out=len(account.settles) * reply.size,
        last_release=_left(last, reply) if last else "",
        private=not isinstance(account.event, NonPrivate),
    )


def lines(view: LiveView) -> list[str]:
    """The view for a screen."""
    found = [f"Patient pool {view.pool!r}, per patient (add or remove one), at delta {view.delta:g}"]
    tolerated, alone = view.budgets["tolerated"], view.budgets["everyone-else"]
    found.append(_budget_line("if as many are honest as each study counts on", tolerated))
    if math.isfinite(alone.cap) or (alone.spent, alone.exposure) != (tolerated.spent, tolerated.exposure):
        found.append(_budget_line("if all others collude", alone))
    for against, budget in view.held_out.items():
        if against == "tolerated" or math.isfinite(budget.cap):
            whose = "honest as counted on" if against == "tolerated" else "all others collude"
            found.append(_budget_line(f"held-out patients, {whose}", budget))
    return [*found, *(_study_line(one) for one in view.studies)]


def _budget_line(whose: str, one: Budget) -> str:
    cap = "no cap" if math.isinf(one.cap) else f"cap {one.cap:g}, left {one.remaining:.4f}"
    return f"  {whose}: epsilon {_words(one.spent)} spent, {_words(one.exposure)} with reservations; {cap}"


def _study_line(one: LiveStudy) -> str:
    if not one.private:
        return (
            f"{one.name} ({one.state}): without privacy; the ledger counts neither rounds nor replies of it"
        )
    of = f" of {one.rounds}" if one.rounds else ""
    last = f"; last release {one.last_release}" if one.last_release else ""
    return (
        f"{one.name} ({one.state}): round {one.round}{of}, {one.charged} of {one.reserved} releases used, "
        f"about {one.bytes_out} bytes out{last}"
    )


def _words(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "infinite"


def _last_reply(outbox: Path, digest: str) -> _Reply:
    """The newest kept reply of a study, or none."""
    found = _Reply()
    for path in outbox.glob(f"{digest[:16]}-*.reply"):
        try:
            told = path.stat()
        except FileNotFoundError:  # a newer reply took its place
            continue
        time = timestamp(datetime.fromtimestamp(told.st_mtime, UTC))
        found = max(found, _Reply(time=time, size=told.st_size), key=lambda one: one.time)
    return found


def _left(settled: Entry, reply: _Reply) -> str:
    """The ledger, which is handed to auditors, holds the day; the reply's file, which is not, the second."""
    return reply.time if reply.time[:10] == settled.time[:10] else settled.time


@lru_cache(maxsize=64)
def _rounds(folder: Path, digest: str) -> int:
    try:
        return load(folder_of(folder, digest) / STUDY).federation.rounds
    except WardroundError:
        return 0
