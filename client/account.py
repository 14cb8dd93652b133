"""What a patient pool has spent, in the words of a person: read from the ledger, nothing is written for it."""

import math
from dataclasses import dataclass

from wardround.client.policy import SitePolicy
from wardround.common.privacy.accounting import epsilon
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import LEDGER, Ledger, read_ledger
from wardround.common.trust.ledgerline import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpent:
    """One study of the pool.

    Attributes:
        name: The study.
        releases: Attempts that stay charged, whether or not their update arrived.
        epsilon: What they cost on their own, at the pool's delta; infinite without a mechanism.
    """

    name: str
    releases: int
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAccount:
    """The account of one patient pool, per patient, add or remove one, all studies together.

    Attributes:
        pool: Its name.
        cap: The site's lifetime cap on epsilon.
        delta: The one lifetime delta; goes with every epsilon here.
        spent: Epsilon of everything that was charged.
        exposure: Epsilon if every open study used its whole reservation; this is compared with the cap.
        studies: One entry per study, in order of its first reservation.
    """

    pool: str
    cap: float
    delta: float
    spent: float
    exposure: float
    studies: tuple[StudySpent, ...]

    @property
    def remaining(self) -> float:
        """Cap minus exposure, at least 0. Epsilon does not add up: a new study costs less than its own epsilon."""
        return max(0.0, self.cap - self.exposure) if math.isfinite(self.exposure) else 0.0

    def as_dict(self) -> dict[str, object]:
        """The JSON form; an infinite epsilon is null."""
        return {
            "pool": self.pool,
            "delta": self.delta,
            "cap": _finite(self.cap),
            "spent": _finite(self.spent),
            "exposure": _finite(self.exposure),
            "remaining": self.remaining,
            "studies": [
                {"name": study.name, "releases": study.releases, "epsilon": _finite(study.epsilon)}
                for study in self.studies
            ],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def read_account(policy: SitePolicy) -> PoolAccount:
    """Open and verify a site's ledger, and sum it up.

    Raises:
        StorageError: A run has it open, or it cannot be read.
        TrustError: It was changed or rolled back, or its witness is missing.
    """
    if not (policy.ledger / LEDGER).exists() and not policy.head.exists():
        return PoolAccount(
            pool=policy.pool, cap=policy.epsilon_cap, delta=policy.delta, spent=0.0, exposure=0.0, studies=()
        )
    key = SigningKey.load(policy.identity)
    with Ledger.open(policy.ledger, key, policy.head, pool=policy.pool) as ledger:
        entries = read_ledger(policy.ledger / LEDGER, key.public)
        names = dict.fromkeys(str(entry.payload["study"]) for entry in entries if entry.kind == "reserve")
        return PoolAccount(
            pool=policy.pool,
            cap=policy.epsilon_cap,
            delta=policy.delta,
            spent=epsilon(ledger.spent(), policy.delta),
            exposure=epsilon(ledger.exposure(), policy.delta),
            studies=tuple(_study(ledger, entries, name, policy.delta) for name in names),
        )


def _study(ledger: Ledger, entries: tuple[Entry, ...], name: str, delta: float) -> StudySpent:
    kinds = [entry.kind for entry in entries if entry.payload.get("study") == name]
    releases = kinds.count("spend") - kinds.count("return")
    return StudySpent(name=name, releases=releases, epsilon=epsilon(ledger.spent(name), delta))
