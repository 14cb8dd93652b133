"""A site's own policy, `site.toml`: private, never sent, and it can only tighten what a study asks.

    format = "wardround-site"
    version = 1
    site = "north"
    table = "patients.csv"
    cohort = "private"
    pool = "north-patients"
    epsilon_cap = 3.0
    delta = 1e-5
    smallest_cohort = 30
    mechanisms = ["site-noise"]
    [columns]
    age = "AGE_AT_DX"

Nothing from a server, a run or a message can change it: there is no setter, no merge and no override.

Guarantees:
    - `minimum_patients` is never below the protocol's, and `check` only ever refuses.
    - A policy cannot be pickled or copied, so it cannot travel in a message by accident; its text hides paths.

Source: rule 14 of the privacy design, "site policy wins".
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn

from wardround.common.checks import in_range, not_negative, positive
from wardround.common.errors import PolicyRefusal, ProtocolError, UsageError
from wardround.common.formats import check_header, digest
from wardround.common.privacy.accounting import Against
from wardround.common.study.decode import (
    as_table,
    convert,
    parse,
    read_text,
    refuse_missing,
    refuse_unknown,
)
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.agreement import HYBRID, installed_suites
from wardround.common.trust.ledgernames import HELD_OUT, Pool

FORMAT: Final = "wardround-site"
VERSION: Final = 1

CohortKind = Literal["private", "public", "synthetic"]
KeyAgreement = Literal["hybrid", "any"]

_REQUIRED: Final[Mapping[str, Any]] = {
    "site": str,
    "table": str,
    "cohort": CohortKind,
    "pool": str,
    "epsilon_cap": float,
    "delta": float,
    "smallest_cohort": int,
    "mechanisms": tuple[str, ...],
}
_OPTIONAL: Final[Mapping[str, Any]] = {
    "purposes": tuple[str, ...],
    "epsilon_cap_alone": float,
    "epsilon_cap_held_out": float,
    "tolerated_collusion": int,
    "key_agreement": KeyAgreement,
    "ledger": str,
    "head": str,
    "identity": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePolicy:
    """The limits of one site.

    Attributes:
        site: Name of the site, as in the roster.
        cohort: `private` unless every patient's data is `public` or `synthetic` already.
        pool: Name of the patient pool whose lifetime privacy loss is limited.
        epsilon_cap: Largest epsilon of the pool over its lifetime, at `delta`, > 0. Under joint noise it is that
            against everybody but the honest sites that a study counts on.
        epsilon_cap_alone: The same if everybody else colludes, so that only this site's own share of a joint noise
            is left; infinite for no limit.
        epsilon_cap_held_out: As `epsilon_cap`, for the patients who are held out of training and evaluate models;
            0 for the same as `epsilon_cap`.
        tolerated_collusion: t, members of a secure sum that may collude, at least 1: a roster must have h + t.
        key_agreement: `hybrid` to sum only where every member's keys need X25519 and ML-KEM-768 to be broken; `any` to
            accept X25519 alone, whose recorded sums open to whoever breaks it one day.
        delta: The pool's one lifetime delta.
        smallest_cohort: Fewest patients with which this site takes part.
        mechanisms: Privacy mechanisms that this site allows.
        purposes: Purposes that the patients' consent covers; empty for any.
        columns: The protocol's column name to the site's own.
        table, ledger, head, identity: Where the patients, the ledger's folder, its outside witness and the key are.
    """

    site: str
    cohort: CohortKind
    pool: str
    epsilon_cap: float
    delta: float
    smallest_cohort: int
    mechanisms: tuple[str, ...]
    purposes: tuple[str, ...] = ()
    epsilon_cap_alone: float = math.inf
    epsilon_cap_held_out: float = 0.0
    tolerated_collusion: int = 1
    key_agreement: KeyAgreement = "hybrid"
    columns: Mapping[str, str] = field(default_factory=dict, repr=False)
    table: Path = field(repr=False)
    ledger: Path = field(repr=False)
    head: Path = field(repr=False)
    identity: Path = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse limits that cannot be meant.

        Raises:
            ProtocolError: Naming the key.
        """
        positive(epsilon_cap=self.epsilon_cap, delta=self.delta, smallest_cohort=self.smallest_cohort)
        positive(tolerated_collusion=self.tolerated_collusion)
        in_range(0, 0.1, delta=self.delta)
        if not self.epsilon_cap_alone > 0:
            raise ProtocolError("epsilon_cap_alone must be above 0; leave it out for no limit")
        not_negative(epsilon_cap_held_out=self.epsilon_cap_held_out)
        for key, name in (("site", self.site), ("pool", self.pool)):
            if not name.strip():
                raise ProtocolError(f"{key} is empty")
        if not self.mechanisms:
            raise ProtocolError("mechanisms is empty: list those that this site allows")
        if self.ledger.absolute() in self.head.absolute().parents:
            raise ProtocolError(
                "head lies inside the ledger's own folder, where one backup restores both",
                advice="keep it elsewhere, or leave `head` out",
            )
        if len(set(self.columns.values())) != len(self.columns):
            raise ProtocolError("[columns] maps two of the protocol's names to one own column")

    @classmethod
    def load(cls, path: Path | str) -> "SitePolicy":
        """Read a `site.toml`; paths in it are relative to its folder.

        Raises:
            ProtocolError: A key is unknown, missing, of another type or out of range.
            StorageError: It is another kind of file, or was written for a newer release.
        """
        where = Path(path).absolute()
        top = parse(read_text(where), where.name)
        check_header(top, name=FORMAT, version=VERSION, where=where.name)
        known = {**_REQUIRED, **_OPTIONAL}
        refuse_unknown(top, ("format", "version", *known, "columns"), f"{where.name}:")
        refuse_missing(top, _REQUIRED, f"{where.name}:")
        terms: dict[str, Any] = {
            key: convert(kind, top[key], f"{where.name}: {key}") for key, kind in known.items() if key in top
        }
        columns = _columns(top.get("columns", {}), where.name)
        try:
            return cls(**{**terms, **_places(terms, where.parent), "columns": columns})
        except (ProtocolError, UsageError) as error:
            raise ProtocolError(f"{where.name}: {error}", advice=error.advice) from None

    @property
    def caps(self) -> Mapping[Against, float]:
        """The lifetime caps, by who is assumed to collude."""
        return {"tolerated": self.epsilon_cap, "everyone-else": self.epsilon_cap_alone}

    @property
    def held_out_caps(self) -> Mapping[Against, float]:
        """The lifetime caps of the patients who are held out."""
        return {**self.caps, "tolerated": self.epsilon_cap_held_out or self.epsilon_cap}

    @property
    def all_caps(self) -> Iterator[tuple[Pool, Against, float]]:
        """Every lifetime cap with whom it protects."""
        yield from (("training", against, cap) for against, cap in self.caps.items())
        yield from ((HELD_OUT, against, cap) for against, cap in self.held_out_caps.items())

    def minimum_patients(self, protocol: StudyProtocol) -> int:
        """Fewest patients for this study here: the larger of the study's and the site's own."""
        return max(self.smallest_cohort, protocol.cohort.minimum_patients)

    def check(self, protocol: StudyProtocol) -> None:
        """Refuse a study that this site does not allow. The lifetime cap is checked where the ledger is open.

        Raises:
            PolicyRefusal: Naming the rule. The message is for the site's own staff and is never sent.
        """
        mechanism = protocol.privacy.mechanism
        if mechanism not in self.mechanisms:
            raise PolicyRefusal(
                f"study {protocol.study.name} asks for mechanism {mechanism!r}; "
                f"this site allows {', '.join(self.mechanisms)}",
                advice="only the site itself can change `mechanisms`",
            )
        if mechanism == "none" and self.cohort == "private":
            raise PolicyRefusal(
                f"study {protocol.study.name} has no privacy mechanism, and this cohort is private",
                advice="ask for 'joint-noise' or 'site-noise'; `cohort` is 'public' only if anybody may read the table",
            )
        self._check_purpose(protocol)
        self._check_delta(protocol)
        if protocol.joint:
            self._check_keys(protocol)

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of key agreement that this site offers in a secure sum."""
        return (HYBRID,) if self.key_agreement == "hybrid" else installed_suites()

    def _check_keys(self, protocol: StudyProtocol) -> None:
        if not set(self.suites) <= set(installed_suites()):
            raise PolicyRefusal(
                f"study {protocol.study.name} sums under keys, which this site wants to agree on with ML-KEM-768 too; "
                "the installed `cryptography` cannot do that",
                advice='install a newer `cryptography`; or write `key_agreement = "any"`, if a record of this sum may '
                "open to whoever breaks X25519 one day",
            )

    def _check_purpose(self, protocol: StudyProtocol) -> None:
        if self.purposes and protocol.study.purpose not in self.purposes:
            raise PolicyRefusal(
                f"study {protocol.study.name} has a purpose that this site's patients did not consent to: "
                f"{protocol.study.purpose!r}",
                advice=f"covered here: {', '.join(self.purposes)}",
            )

    def _check_delta(self, protocol: StudyProtocol) -> None:
        asked = max(protocol.privacy.delta, protocol.evaluation.delta if protocol.evaluation else 0.0)
        if protocol.private and asked > self.delta:
            raise PolicyRefusal(
                f"study {protocol.study.name} states epsilon at delta {asked:g}; "
                f"this pool's lifetime delta is {self.delta:g}",
                advice="ask for a study with a delta no larger than this",
            )

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a site policy is private and is never serialised")

    def __getstate__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise TypeError("a site policy is private and is never serialised")


def _columns(table: object, where: str) -> Mapping[str, str]:
    found = as_table(table, f"{where}: [columns]")
    return MappingProxyType(
        {name: str(convert(str, own, f"{where}: [columns] {name}")) for name, own in found.items()}
    )


def _places(terms: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    return {
        "table": folder / terms["table"],
        "ledger": folder / terms.get("ledger", "ledger"),
        "identity": folder / terms.get("identity", "identity.pem"),
        "head": folder / terms["head"] if "head" in terms else default_head(terms["pool"], folder),
    }


def default_head(pool: str, folder: Path) -> Path:
    """Where the ledger's witness stands unless `head` says otherwise: outside the site's folder.

    A backup that restores the folder does not restore this file, so a ledger that was rolled back is noticed.
    """
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    safe = "".join(letter if letter.isalnum() else "-" for letter in pool)
    name = f"{safe}-{digest(os.fsencode(folder.absolute()))[:16]}.json"
    return Path(state) / "wardround" / "heads" / name
