"""Enrolling, replacing and removing hospitals: each change is a signed line of a log that only grows.

`roster.json` is the newest roster, made from the log and signed; an invite is written for each hospital. What may
change at all is decided in `members`. Words are compared for every key that comes in.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wardround.common.durable import exclusive, write_atomic
from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.join import Invite, JoinRequest, open_request, seal_invite
from wardround.common.trust.ledgerfile import make_folder, read_bytes
from wardround.common.trust.rosterfile import SignedRoster, seal_roster
from wardround.common.trust.signed import utc_now
from wardround.common.trust.studylog import LogEntry, StudyLog, read_own_log
from wardround.common.trust.words import confirm
from wardround.server.members import ENROL, REMOVE, ROTATE, Change, Members
from wardround.server.serverfile import ServerFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What came of a request.

    Attributes:
        member: The hospital.
        change: `known` if nothing changed: the same request again.
        version: Of the roster now.
        invite: The invite, as it stands in `path`.
        path: Where the invite was written.
    """

    member: JoinRequest
    change: Change
    version: int
    invite: bytes
    path: Path


def enrol(
    folder: Path | str,
    request: bytes,
    *,
    words: str,
    replace: str = "",
    clock: Callable[[], datetime] = utc_now,
) -> Enrolment:
    """Let a hospital in, or give it new keys, and write its invite. The same request again changes nothing.

    Args:
        folder: The coordinator's.
        request: The bytes of `request.json`.
        words: The words of the hospital's key, as a person heard them from the hospital.
        replace: The name of the member whose keys this request replaces; empty for a new member.
        clock: For the log.

    Raises:
        TrustError: The request is damaged, its words are others, or its name or keys are taken.
        UsageError: `words` or `replace` cannot be meant.
        StorageError: Something could not be written; the same call again goes on from there.
    """
    asked = open_request(request)
    confirm(words, asked.key.fingerprint, whose=asked.name)
    with _changing(folder) as (server, key, before):
        if asked.name == server.name or asked.key == key.public:
            raise TrustError(
                "this request has the coordinator's own name or key", advice="a hospital has its own of both"
            )
        change = before.judge(asked, replace=replace)
        kind = ENROL if change == "enrolled" else ROTATE
        now = before if change == "known" else _append(server, key, before, kind, asked, clock)
        _write_roster(server, key, now)
        invite = _invite(server, key, asked)
        path = server.invites / f"{_file_name(asked.name)}.json"
        make_folder(server.invites)
        write_atomic(path, invite)
    return Enrolment(member=asked, change=change, version=now.version, invite=invite, path=path)


def remove(folder: Path | str, name: str, *, clock: Callable[[], datetime] = utc_now) -> int:
    """Take a hospital out: it is not in the next roster. Its name stays its own.

    Returns:
        The new version of the roster.

    Raises:
        UsageError: Nobody of that name is enrolled.
        StorageError: The log could not be written; nothing changed.
    """
    with _changing(folder) as (server, key, before):
        if name not in before.sites:
            raise UsageError(
                f"nobody called {name!r} is enrolled",
                advice=f"enrolled: {', '.join(before.sites) or 'nobody'}",
            )
        now = _append(server, key, before, REMOVE, before.sites[name], clock)
        _write_roster(server, key, now)
    return now.version


def current_roster(folder: Path | str) -> SignedRoster:
    """The roster of this moment, from the log. Nothing is written or locked, so it may be asked before each round.

    Raises:
        StudyError: Nobody is enrolled.
        TrustError: The log was changed or rolled back.
        StorageError: It cannot be read.
    """
    server = ServerFile.load(folder)
    key = server.key()
    return Members.read(server, key.public).roster(server, key.public)


def signed_roster(folder: Path | str) -> bytes:
    """The same as bytes to be sent: what `roster.json` holds.

    Raises:
        StudyError: Nobody is enrolled.
        TrustError: The log was changed or rolled back.
        StorageError: It cannot be read.
    """
    server = ServerFile.load(folder)
    key = server.key()
    signed = Members.read(server, key.public).roster(server, key.public)
    return seal_roster(key, signed.roster, signed.version)


def published_lists(folder: Path | str) -> tuple[Roster, ...]:
    """The members at every version of the list, oldest first.

    Raises:
        TrustError: The log was changed.
        StorageError: It cannot be read.
    """
    server = ServerFile.load(folder)
    key = server.key().public
    versions = (one for one in Members.versions(server.members, key) if one.sites)
    return tuple(one.roster(server, key).roster for one in versions)


def members(folder: Path | str) -> dict[str, str]:
    """Name -> node key (one OpenSSH line) of every hospital that may connect.

    Raises:
        TrustError: The log was changed or rolled back.
        StorageError: It cannot be read.
    """
    return {name: member.node_key for name, member in Members.load(folder).sites.items()}


def history(folder: Path | str) -> tuple[LogEntry, ...]:
    """Every change, oldest first.

    Raises:
        TrustError: The log was changed.
        StorageError: It cannot be read.
    """
    server = ServerFile.load(folder)
    return read_own_log(server.members, server.key().public)


@contextmanager
def _changing(folder: Path | str) -> Iterator[tuple[ServerFile, SigningKey, Members]]:
    """One change at a time: the log must not grow between what was judged and what is written."""
    server = ServerFile.load(folder)
    key = server.key()
    with exclusive(server.folder / ".enrolment.lock"):
        yield server, key, Members.read(server, key.public)


def _append(
    server: ServerFile,
    key: SigningKey,
    before: Members,
    kind: str,
    member: JoinRequest,
    clock: Callable[[], datetime],
) -> Members:
    StudyLog(server.members, key, clock=clock).append(kind, member.to_dict())
    return before.after(kind, member)


def _write_roster(server: ServerFile, key: SigningKey, now: Members) -> None:
    # The last member was removed: there is no roster of nobody, and the log alone says so.
    if now.sites:
        signed = now.roster(server, key.public)
        write_atomic(server.roster, seal_roster(key, signed.roster, signed.version))


def _invite(server: ServerFile, key: SigningKey, member: JoinRequest) -> bytes:
    ca = read_bytes(server.ca)
    if ca is None:
        raise StorageError(
            f"expected the consortium's certificate in {server.ca}, found none", advice="restore it"
        )
    invite = Invite(
        coordinator=server.name,
        coordinator_key=key.public,
        host=server.host,
        port=server.port,
        ca=ca.decode("ascii"),
        site=member,
    )
    return seal_invite(key, invite)


def _file_name(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:60]
    return safe if safe == name else f"{safe}-{digest(name.encode())[:8]}"
