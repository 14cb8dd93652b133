"""A site's signed approval, read strictly: what it says has its type and its range, and it says nothing else.

Whether these are the terms of a study is for the reader to compare: the coordinator before it writes one into the log,
an auditor for each one that stands there. Both read it here, so that what was logged can be judged.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Never, TypeVar

from wardround.common.errors import TrustError, WardroundError
from wardround.common.privacy.events import DpEvent, decode, encode
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.signed import exact_keys, is_count, is_digest, timestamp
from wardround.common.trust.statement import APPROVAL, read_statement

LONGEST: Final = 1 << 14
"""Bytes; a real one takes about 1,500, and whatever a member sends stays in the log for ever."""

MOST: Final = 2**31
"""No version, release or number of a ledger's entry is as large."""

T = TypeVar("T")

_FIELDS: Final = frozenset(
    {"site", "study", "protocol", "roster", "roster_version", "by", "time", "event", "releases", "delta"}
    | {"ledger", "code", "package"}
)
_PRICE: Final = frozenset({"event", "releases", "delta", "ledger"})
_BY: Final = ("person", "simulation")
_PACKAGE: Final = re.compile(r"[0-9A-Za-z.+!-]{1,64}")  # PEP 440


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedPrice:
    """What a site set aside for the evaluation, beside what it set aside for training. Fields as in `ApprovedTerms`."""

    event: DpEvent
    releases: int
    delta: float
    ledger: tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedTerms:
    """What a site signed.

    Attributes:
        site: Who signed.
        study: Name of the study.
        protocol, roster: Digests.
        roster_version: Version of the coordinator's list; 0 where lists have none.
        by: `person`, or `simulation`.
        time: UTC, when the ledger reserved.
        event: Price of one release of training; at an external site of the evaluation.
        releases: Reserved: rounds times attempts.
        delta: In (0, 1).
        ledger: Number, from 1, and digest of the entry that reserved.
        code, package: Digest and version of the installed code, as the site says.
        evaluation: What was set aside for held-out patients, beside training; None without.
    """

    site: str
    study: str
    protocol: str
    roster: str
    roster_version: int
    by: str
    time: str
    event: DpEvent
    releases: int
    delta: float
    ledger: tuple[int, str]
    code: str
    package: str
    evaluation: ApprovedPrice | None = None


def read_approved(data: bytes, *, site: str, signer: PublicKey, where: str = "an approval") -> ApprovedTerms:
    """Check an approval and read it.

    Args:
        data: The bytes, from anybody.
        site: Whose it must be.
        signer: That site's key.
        where: For messages.

    Guarantees:
        Returns only what the holder of `signer` signed in the name of `site`, whole and in range.

    Raises:
        TrustError: Anything else.
        StorageError: A newer version.
    """
    if len(data) > LONGEST:
        raise TrustError(f"expected an approval of at most {LONGEST} bytes in {where}, found {len(data)}")
    said = read_statement(data, kind=APPROVAL, signer=signer, where=where).fields
    exact_keys(dict(said), _FIELDS | ({"evaluation"} & said.keys()), where=where)
    if said["site"] != site:
        raise TrustError(f"expected {site!r:.80} to approve in {where}, found another name")

    def field(name: str, read: Callable[[object], T]) -> T:
        try:
            return read(said[name])
        except (WardroundError, ValueError, ArithmeticError):
            raise TrustError(f"expected another {name!r} in {where}: wrong type, or out of range") from None

    return ApprovedTerms(
        site=site,
        study=field("study", _text),
        protocol=field("protocol", _digest),
        roster=field("roster", _digest),
        roster_version=field("roster_version", _count),
        by=field("by", _by),
        time=field("time", _time),
        event=field("event", _event),
        releases=field("releases", _count),
        delta=field("delta", _delta),
        ledger=field("ledger", _entry),
        code=field("code", _digest),
        package=field("package", _package),
        evaluation=field("evaluation", _price) if "evaluation" in said else None,
    )


def _price(value: object) -> ApprovedPrice:
    if not isinstance(value, dict) or value.keys() != _PRICE:
        return _refuse()
    return ApprovedPrice(
        event=_event(value["event"]),
        releases=_count(value["releases"]),
        delta=_delta(value["delta"]),
        ledger=_entry(value["ledger"]),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else _refuse()


def _digest(value: object) -> str:
    return value if isinstance(value, str) and is_digest(value) else _refuse()


def _count(value: object) -> int:
    return value if isinstance(value, int) and is_count(value) and value < MOST else _refuse()


def _by(value: object) -> str:
    return _text(value) if value in _BY else _refuse()


def _time(value: object) -> str:
    return _text(value) if timestamp(datetime.fromisoformat(_text(value))) == value else _refuse()


def _event(value: object) -> DpEvent:
    """Its one spelling and no other, so that equal terms are equal bytes."""
    found = decode(value) if isinstance(value, dict) else _refuse()
    return found if encode(found) == value else _refuse()


def _delta(value: object) -> float:
    found = float(_text(value))
    return found if 0 < found < 1 and repr(found) == value else _refuse()


def _entry(value: object) -> tuple[int, str]:
    match value:
        case {"seq": seq, "hash": head, **rest} if seq and not rest:  # entry 0 opens a ledger
            return _count(seq), _digest(head)
    return _refuse()


def _package(value: object) -> str:
    return _text(value) if _PACKAGE.fullmatch(_text(value)) else _refuse()


def _refuse() -> Never:
    raise ValueError
