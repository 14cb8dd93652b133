"""Lines of a study log as typed values. A signed line can still say nonsense: it is refused by name and number."""

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wardround.common.errors import TrustError, WardroundError
from wardround.common.privacy.events import DpEvent, decode
from wardround.common.trust.identity import Roster
from wardround.common.trust.signed import is_count, is_digest
from wardround.common.trust.studylog import LogEntry

NOT_ASKED: Final = "not asked"
"""How the reason begins for a site that was not asked in an attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteWord:
    """What a line says of one site in one attempt.

    Attributes:
        refused: Why it has no part in the result; empty where it has.
        body: SHA-256 of the body that the site signed; empty without an update.
        event: What it charged; None without a receipt.
        ledger: Number, from 0, and digest of its ledger's newest entry after the charge; None without a receipt.
        head: The head of its reply, signed by the site; empty in logs from before there was one.
        reply: SHA-256 of the whole reply: what its ledger settled and what the archive calls it; may be empty.
    """

    refused: str = ""
    body: str = ""
    event: DpEvent | None = None
    ledger: tuple[int, str] | None = None
    head: bytes = field(default=b"", repr=False)
    reply: str = ""

    @property
    def charged(self) -> bool:
        """Whether the site itself says that it was charged."""
        return self.event is not None

    @property
    def asked(self) -> bool:
        """Whether it was asked, and so may have been charged: a receipt shows it, whatever else the line says."""
        return self.charged or not self.refused.startswith(NOT_ASKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A `round`, `evaluation` or `void` line.

    Attributes:
        line: Its number in the log, from 1.
        counted: Whether it ended the round, or the evaluation.
        round, attempt: From 1.
        base_model, result_model: Digest of the model before and after.
        sites: Site -> what is said of it.
        members: Members of the secure sum; empty without one.
        sum: SHA-256 of the sum modulo 2^32; empty without one.
        table: SHA-256 of the table that an evaluation released; empty without one.
    """

    line: int
    counted: bool
    round: int
    attempt: int
    base_model: str
    result_model: str
    sites: Mapping[str, SiteWord]
    members: tuple[str, ...] = ()
    sum: str = ""
    table: str = ""

    @property
    def where(self) -> str:
        """For reports."""
        return f"line {self.line}, round {self.round} attempt {self.attempt}"

    @property
    def contributors(self) -> tuple[str, ...]:
        """Sites whose update is in the result, sorted."""
        return tuple(sorted(name for name, word in self.sites.items() if word.charged and not word.refused))


def attempt_of(entry: LogEntry) -> Attempt:
    """Read a `round`, `evaluation` or `void` line.

    Raises:
        TrustError: A field is missing or of another type.
    """
    match entry.data:
        case {
            "round": int(round_),
            "attempt": int(attempt),
            "base_model": base,
            "result_model": result,
            "sites": dict(sites),
        }:
            if is_count(round_) and is_count(attempt) and is_digest(base) and is_digest(result):
                members, sum_ = _secure_sum(entry)
                return Attempt(
                    line=entry.seq + 1,
                    counted=entry.kind != "void",
                    round=round_,
                    attempt=attempt,
                    base_model=str(base),
                    result_model=str(result),
                    sites={str(name): _word(said, entry) for name, said in sites.items()},
                    members=members,
                    sum=sum_,
                    table=str(entry.data.get("table", "")),
                )
    raise _nonsense(entry)


def roster_of(entry: LogEntry) -> Roster:
    """Read a `roster` line.

    Raises:
        TrustError: It holds no roster.
    """
    try:
        return Roster.from_dict(entry.data)
    except WardroundError as error:
        raise TrustError(f"line {entry.seq + 1} holds no roster: {error}") from None


def roster_in(entry: LogEntry, name: str) -> Roster:
    """A roster in a field of a line.

    Raises:
        TrustError: There is none.
    """
    found = entry.data.get(name)
    try:
        return Roster.from_dict(found if isinstance(found, dict) else {})
    except WardroundError as error:
        raise TrustError(f"line {entry.seq + 1} holds no roster: {error}") from None


def text_in(entry: LogEntry, name: str) -> str:
    """A text field of a line.

    Raises:
        TrustError: It is missing or no text.
    """
    value = entry.data.get(name)
    if not isinstance(value, str):
        raise _nonsense(entry)
    return value


def base64_of(value: object, entry: LogEntry) -> bytes:
    """Bytes in a field of a line.

    Raises:
        TrustError: It is no base64.
    """
    try:
        return b64decode(value, validate=True) if isinstance(value, str) else _fail(entry)
    except (binascii.Error, ValueError):
        raise _nonsense(entry) from None


def _word(said: object, entry: LogEntry) -> SiteWord:
    match said:
        case {"event": dict(event), "ledger_seq": int(seq), "ledger_head": head, **rest}:
            body = rest.get("update", rest.get("upload"))
            reply = rest.get("reply", "")
            if is_count(seq) and is_digest(head) and is_digest(body) and (not reply or is_digest(reply)):
                return SiteWord(
                    refused=str(rest.get("refused", "")),
                    body=str(body),
                    event=_event(event, entry),
                    ledger=(seq, str(head)),
                    head=base64_of(rest.get("head", ""), entry),
                    reply=str(reply),
                )
        case {"refused": str(why), **_rest}:
            return SiteWord(refused=why or "no reason given")
    raise _nonsense(entry)


def _event(found: Mapping[str, object], entry: LogEntry) -> DpEvent:
    try:
        return decode(found)
    except (WardroundError, ValueError):
        raise _nonsense(entry) from None


def _secure_sum(entry: LogEntry) -> tuple[tuple[str, ...], str]:
    match entry.data.get("secure_sum", {}):
        case {"members": list(members), **rest} if all(isinstance(one, str) for one in members):
            return tuple(members), str(rest.get("sum", ""))
        case dict(empty) if not empty:
            return (), ""
    raise _nonsense(entry)


def left_in(entries: Sequence[LogEntry]) -> Mapping[int, frozenset[str]]:
    """Line -> the sites that took part no more from there on, from `members` lines.

    Raises:
        TrustError: Such a line says something else.
    """
    found: dict[int, frozenset[str]] = {}
    for entry in entries:
        if entry.kind == "members":
            match entry.data:
                case {"left": dict(left)}:
                    found[entry.seq + 1] = frozenset(map(str, left))
                case _:
                    raise _nonsense(entry)
    return found


def _nonsense(entry: LogEntry) -> TrustError:
    return TrustError(f"line {entry.seq + 1} does not say what a {entry.kind!r:.40} line says")


def _fail(entry: LogEntry) -> bytes:
    raise _nonsense(entry)
