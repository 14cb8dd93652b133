"""What a patient pool has spent, in the words of a person: read from the ledger, nothing is written for it.

There are two accounts of the same releases, and a cap for each. Noise of one's own counts fully in both; of joint
noise the first counts the noise of as many honest sites as each study says, the second only the site's own share.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from wardround.client.policy import SitePolicy
from wardround.common.formats import or_null
from wardround.common.privacy.accounting import Against, epsilon
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import LEDGER, Ledger, read_ledger
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import Pool, pool_of

ACCOUNTS: Final[tuple[Against, ...]] = get_args(Against)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpent:
    """One study of the pool.

    Attributes:
        name: The study.
        releases: Attempts that stay charged to those who train, whether or not their update arrived.
        epsilon: What they cost on their own, at the pool's delta; infinite without a mechanism. By account.
        tables: Attempts of its evaluation, charged to those held out.
        tables_epsilon: What these cost on their own.
    """

    name: str
    releases: int
    epsilon: Mapping[Against, float]
    tables: int
    tables_epsilon: Mapping[Against, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account of a pool and the cap that limits it.

    Attributes:
        cap: The site's lifetime cap on epsilon; infinite for none.
        spent: Epsilon of everything that was charged.
        exposure: Epsilon if every open study used its whole reservation; this is compared with the cap.
    """

    cap: float
    spent: float = 0.0
    exposure: float = 0.0

    @property
    def remaining(self) -> float:
        """Cap minus exposure, at least 0. Epsilon does not add up: a new study costs less than its own epsilon."""
        return max(0.0, self.cap - self.exposure) if math.isfinite(self.exposure) else 0.0

    def as_dict(self) -> dict[str, float | None]:
        """The JSON form; an infinite epsilon, and what is left without a cap, are null."""
        values = {
            "cap": self.cap,
            "spent": self.spent,
            "exposure": self.exposure,
            "remaining": self.remaining,
        }
        return {name: or_null(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAccount:
    """The account of one patient pool, per patient, add or remove one, all studies together.

    Attributes:
        pool: Its name.
        delta: The one lifetime delta; goes with every epsilon here.
        accounts: By who is assumed to collude.
        studies: One entry per study, in order of its first reservation.
        held_out: The same accounts of the patients who are held out and evaluate; empty where none ever did.
    """

    pool: str
    delta: float
    accounts: Mapping[Against, Account]
    studies: tuple[StudySpent, ...] = ()
    held_out: Mapping[Against, Account] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """The JSON form; an infinite epsilon is null."""
        return {
            "pool": self.pool,
            "delta": self.delta,
            **self.accounts["tolerated"].as_dict(),
            "everyone_else": self.accounts["everyone-else"].as_dict(),
            "held_out": {against: one.as_dict() for against, one in self.held_out.items()},
            "studies": [
                {
                    "name": study.name,
                    "releases": study.releases,
                    "epsilon": or_null(study.epsilon["tolerated"]),
                    "epsilon_everyone_else": or_null(study.epsilon["everyone-else"]),
                    "tables": study.tables,
                    "tables_epsilon": or_null(study.tables_epsilon["tolerated"]),
                    "tables_epsilon_everyone_else": or_null(study.tables_epsilon["everyone-else"]),
                }
                for study in self.studies
            ],
        }


def read_account(policy: SitePolicy) -> PoolAccount:
    """Open and verify a site's ledger, and sum it up.

    Raises:
        StorageError: A run has it open, or it cannot be read.
        TrustError: It was changed or rolled back, or its witness is missing.
    """
    if not (policy.ledger / LEDGER).exists() and not policy.head.exists():
        nothing = {against: Account(cap=cap) for against, cap in policy.caps.items()}
        return PoolAccount(pool=policy.pool, delta=policy.delta, accounts=nothing)
    key = SigningKey.load(policy.identity)
    with Ledger.open(policy.ledger, key, policy.head, pool=policy.pool) as ledger:
        entries = read_ledger(policy.ledger / LEDGER, key.public)
        names = dict.fromkeys(str(entry.payload["study"]) for entry in entries if entry.kind == "reserve")
        return PoolAccount(
            pool=policy.pool,
            delta=policy.delta,
            accounts=_accounts(policy.caps, ledger, policy.delta),
            held_out=_accounts(policy.held_out_caps, ledger.held_out, policy.delta)
            if ledger.held_out.exposure()
            else {},
            studies=tuple(_study(ledger, entries, name, policy.delta) for name in names),
        )


def _accounts(caps: Mapping[Against, float], ledger: Ledger, delta: float) -> Mapping[Against, Account]:
    return {
        against: Account(
            cap=cap,
            spent=epsilon(ledger.spent(), delta, against=against),
            exposure=epsilon(ledger.exposure(), delta, against=against),
        )
        for against, cap in caps.items()
    }


def _study(ledger: Ledger, entries: tuple[Entry, ...], name: str, delta: float) -> StudySpent:
    kinds = [(pool_of(entry.payload), entry.kind) for entry in entries if entry.payload.get("study") == name]
    training, held_out = (
        kinds.count((pool, "spend")) - kinds.count((pool, "return")) for pool in get_args(Pool)
    )
    costs, tables = (
        {against: epsilon(account.spent(name), delta, against=against) for against in ACCOUNTS}
        for account in (ledger, ledger.held_out)
    )
    return StudySpent(name=name, releases=training, epsilon=costs, tables=held_out, tables_epsilon=tables)
