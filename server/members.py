"""Who takes part, as the coordinator's log says: names, keys, and what a join request would change. Nothing is written.

`members.jsonl` is the truth: a signed log (format of `studylog`) with lines of kind `enrol`, `rotate` and `remove`. The
number of lines is the version of the roster.

Guarantees:
    - A name belongs to one key. Another key gets it only by a rotation, asked for by name; removing a member does not
      free its name.
    - A key that was replaced never comes back, and no key stands for two members.
    - A log that is behind `roster.json` was rolled back, and is refused: one version would name two rosters.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Final, Literal

from wardround.common.errors import StudyError, TrustError, UsageError
from wardround.common.trust.identity import PublicKey, Roster
from wardround.common.trust.join import JoinRequest
from wardround.common.trust.ledgerfile import read_bytes
from wardround.common.trust.rosterfile import SignedRoster, open_roster
from wardround.common.trust.signed import exact_keys
from wardround.common.trust.studylog import LogEntry, read_own_log
from wardround.common.trust.words import spoken
from wardround.server.serverfile import ServerFile

Change = Literal["enrolled", "rotated", "known"]

ENROL: Final = "enrol"
ROTATE: Final = "rotate"
REMOVE: Final = "remove"
_FIELDS: Final = frozenset({"name", "key", "node_key"})
_RESTORE: Final = (
    "this folder was restored from an old copy, or lines were deleted: put the newest members.jsonl and roster.json "
    "back. Hospitals would refuse a roster that is older than the one they have"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """What the log says.

    Attributes:
        sites: Name -> what is enrolled now, by name.
        last: Name -> the last key pair it ever had, removed or not.
        retired: Identity and node keys that were replaced.
        version: Number of changes; the roster's version.
    """

    sites: Mapping[str, JoinRequest] = field(default_factory=dict)
    last: Mapping[str, JoinRequest] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    version: int = 0

    @classmethod
    def load(cls, folder: Path | str) -> "Members":
        """Read the log of a coordinator's folder and check all of it. Nothing is written or locked.

        Raises:
            TrustError: A line was changed, moved or removed, or the log is behind the newest roster.
            StorageError: It cannot be read, or a newer release wrote it.
        """
        server = ServerFile.load(folder)
        return cls.read(server, server.key().public)

    @classmethod
    def read(cls, server: ServerFile, key: PublicKey) -> "Members":
        """The same, where the folder and its public key are at hand.

        Raises:
            TrustError: A line was changed, moved or removed, or the log is behind the newest roster.
            StorageError: It cannot be read, or a newer release wrote it.
        """
        found = cls.of_log(server.members, key)
        _check_not_behind(server, key, found)
        return found

    @classmethod
    def of_log(cls, path: Path, key: PublicKey) -> "Members":
        """What one log of enrolments says; nobody where there is no file.

        Raises:
            TrustError: A line was changed, moved or removed.
            StorageError: It cannot be read, or a newer release wrote it.
        """
        return cls.versions(path, key)[-1]

    @classmethod
    def versions(cls, path: Path, key: PublicKey) -> list["Members"]:
        """All that a log of enrolments ever said, oldest first.

        Raises:
            TrustError: A line was changed, moved or removed.
            StorageError: It cannot be read, or a newer release wrote it.
        """
        changes = ((entry.kind, _read_member(entry, path)) for entry in read_own_log(path, key))
        return list(accumulate(changes, lambda found, change: found.after(*change), initial=cls()))

    def after(self, kind: str, member: JoinRequest) -> "Members":
        """The members after one line of the log."""
        sites = {name: one for name, one in self.sites.items() if name != member.name}
        before = self.last.get(member.name)
        retired = set(self.retired)
        if kind == ROTATE and before:
            retired |= {before.key.encode(), before.node_key} - {member.key.encode(), member.node_key}
        if kind != REMOVE:
            sites[member.name] = member
        return Members(
            sites=dict(sorted(sites.items())),
            last={**self.last, member.name: member},
            retired=frozenset(retired),
            version=self.version + 1,
        )

    def roster(self, server: ServerFile, key: PublicKey) -> SignedRoster:
        """The roster of these members.

        Raises:
            StudyError: Nobody is enrolled.
        """
        if not self.sites:
            raise StudyError(
                "no hospital is enrolled",
                advice="wardround server enrol DIR REQUEST, for each request.json you received",
            )
        keys = {name: member.key for name, member in self.sites.items()}
        roster = Roster(coordinator=server.name, coordinator_key=key, sites=keys)
        return SignedRoster(roster=roster, version=self.version)

    def judge(self, asked: JoinRequest, *, replace: str) -> Change:
        """What a request would change.

        Args:
            asked: A request whose signature was checked.
            replace: The member whose keys it replaces; empty for a new member.

        Raises:
            TrustError: The name is another key's, or the key another member's, or it was replaced before.
            UsageError: `replace` names another hospital than the request, or nobody.
        """
        self._check_replace(asked, replace)
        self._check_keys(asked)
        if self.sites.get(asked.name) == asked:
            return "known"
        before = self.last.get(asked.name)
        if before is None or before == asked:
            return "enrolled"
        if replace:
            return "rotated"
        raise TrustError(
            f"{asked.name!r} is the name of another key than the one in this request. Enrolled: "
            f"{spoken(before.key.fingerprint)}. In the request: {spoken(asked.key.fingerprint)}"
            if before.key != asked.key
            else f"{asked.name!r} is enrolled with another node key",
            advice="call the hospital on a number that you knew before. If it made new keys: the same command with "
            f"--replace {asked.name!r}. If not, somebody uses its name",
        )

    def _check_replace(self, asked: JoinRequest, replace: str) -> None:
        if replace and replace != asked.name:
            raise UsageError(f"--replace names {replace!r}, and the request is from {asked.name!r}")
        if replace and replace not in self.last:
            raise UsageError(f"nobody called {replace!r} was enrolled before", advice="leave --replace out")
        alike = [name for name in self.last if _folded(name) == _folded(asked.name) and name != asked.name]
        if alike:
            raise TrustError(
                f"{asked.name!r} reads like {alike[0]!r}, which was enrolled before",
                advice="two people on the telephone could not tell them apart: the hospital takes another name",
            )

    def _check_keys(self, asked: JoinRequest) -> None:
        for what, text in (("identity key", asked.key.encode()), ("node key", asked.node_key)):
            if text in self.retired:
                raise TrustError(
                    f"the {what} in this request was replaced before and never comes back",
                    advice="this is an old request: ask the hospital for the one that it made last",
                )
        for name, other in self.last.items():
            if name != asked.name and (other.key == asked.key or other.node_key == asked.node_key):
                raise TrustError(
                    f"a key in this request belongs to {name!r} already",
                    advice="one hospital must not count twice; each makes its own keys with `wardround site init`",
                )


def _read_member(entry: LogEntry, path: Path) -> JoinRequest:
    where = f"{path}, line {entry.seq + 1}"
    exact_keys(dict(entry.data), _FIELDS, where=where)
    match entry.data:
        case {"name": str(name), "key": key, "node_key": str(node_key)} if entry.kind in (
            ENROL,
            ROTATE,
            REMOVE,
        ):
            return JoinRequest(name=name, key=PublicKey.decode(key), node_key=node_key)
    raise TrustError(f"expected an enrolment, a rotation or a removal in {where}")


def _check_not_behind(server: ServerFile, key: PublicKey, found: Members) -> None:
    data = read_bytes(server.roster)
    if data is None:
        return
    written = open_roster(data, key, where=str(server.roster))
    behind = written.version > found.version
    other = written.version == found.version and found.roster(server, key).digest != written.digest
    if behind or other:
        raise TrustError(
            f"expected at least version {written.version} of the roster in {server.members}, found "
            f"{'another one of that version' if other else found.version}",
            advice=_RESTORE,
        )


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())
