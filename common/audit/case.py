"""A study under audit: its log, verified line by line, and what the log says of who takes part.

Everything that later checks lean on is established here or not at all: a log whose lines are not signed by the
coordinator, or do not follow each other, ends the audit with that finding.
"""

import contextlib
import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from wardround.common.audit.evidence import LOG, STUDY, Evidence
from wardround.common.audit.keys import OwnKeys
from wardround.common.audit.lines import Attempt, attempt_of, left_in, roster_of, text_in
from wardround.common.audit.ownledger import OwnLedger, ledger_files, open_ledger
from wardround.common.errors import TrustError, WardroundError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import loads
from wardround.common.trust.identity import PublicKey, Roster
from wardround.common.trust.studylog import LogEntry, read_own_log

ENDINGS: Final = ("round", "evaluation")
"""Kinds of lines that end a round."""

_LOOK: Final = 10  # lines among which the first roster stands


@dataclass(frozen=True, kw_only=True)
class Case:
    """What every check gets.

    Attributes:
        evidence: The files.
        keys: The auditor's own.
        protocol: As in the bundle; that the log is about it is a check of its own.
        entries: All lines, verified.
        named: Number of a line -> the roster from there on, as the log names it.
        rosters: The same, with the auditor's keys in each of them where there are any.
    """

    evidence: Evidence
    keys: OwnKeys
    protocol: StudyProtocol
    entries: tuple[LogEntry, ...]
    named: Mapping[int, Roster]
    rosters: Mapping[int, Roster]

    @property
    def roster(self) -> Roster:
        """The last one."""
        return self.rosters[max(self.rosters)]

    @property
    def run(self) -> str:
        """The run of the study, as its first line names it; every message must be of it.

        Raises:
            TrustError: No line names one.
        """
        return text_in(self.entries[0], "run")

    @property
    def said(self) -> Roster:
        """The last roster as the log names it, whatever keys the auditor brought."""
        return self.named[max(self.named)]

    def roster_at(self, line: int) -> Roster:
        """The roster that held when a line was written."""
        before = [number for number in self.rosters if number <= line]
        return self.rosters[max(before)] if before else self.roster

    @cached_property
    def releases(self) -> tuple[Attempt, ...]:
        """All `round`, `evaluation` and `void` lines: every attempt in which something may have left a site.

        Raises:
            TrustError: One of them says something else, or calls a round the evaluation or the reverse.
        """
        found = []
        for entry in self.entries:
            if entry.kind in (*ENDINGS, "void"):
                one = attempt_of(entry)
                if one.counted and self.protocol.evaluates(one.round) != (entry.kind == "evaluation"):
                    raise TrustError(f"{one.where}: a line of kind {entry.kind!r} is about another round")
                found.append(one)
        return tuple(found)

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """Those of training."""
        return tuple(one for one in self.releases if not self.protocol.evaluates(one.round))

    @cached_property
    def evaluations(self) -> tuple[Attempt, ...]:
        """Those of the evaluation."""
        return tuple(one for one in self.releases if self.protocol.evaluates(one.round))

    @cached_property
    def left(self) -> Mapping[int, frozenset[str]]:
        """Line -> the sites that took part no more from there on.

        Raises:
            TrustError: A `members` line says something else.
        """
        return left_in(self.entries)

    def left_at(self, line: int) -> frozenset[str]:
        """The sites that took part no more when a line was written."""
        before = [number for number in self.left if number < line]
        return self.left[max(before)] if before else frozenset()

    def ledger(self, name: str) -> OwnLedger:
        """A ledger among the files; verified once.

        Raises: as `open_ledger`.
        """
        if name not in self._verified:
            self._verified[name] = open_ledger(self.evidence, name, self.roster.sites)
        return self._verified[name]

    def ledgers(self) -> Iterator[OwnLedger]:
        """All that hold; what is wrong with the others, `check_ledgers` says."""
        for name in ledger_files(self.evidence):
            try:
                ledger = self.ledger(name)
            except WardroundError:
                continue
            yield ledger

    @cached_property
    def _verified(self) -> dict[str, OwnLedger]:
        return {}

    def of_kind(self, kind: str) -> list[LogEntry]:
        """All lines of a kind."""
        return [entry for entry in self.entries if entry.kind == kind]

    def key_of(self, site: str, line: int) -> PublicKey:
        """The key of a site when a line was written.

        Raises:
            TrustError: It was not in the roster.
        """
        return self.roster_at(line).key(site)


def open_case(evidence: Evidence, keys: OwnKeys) -> Case:
    """Verify the log and take over what it says of the parties.

    Raises:
        TrustError: The log was not written by the coordinator as it stands, or names no parties.
        StorageError: Log or protocol is missing, cannot be read, or is of a newer release.
        ProtocolError, PrivacyError: The protocol is not acceptable.
    """
    data = evidence.need(LOG)
    protocol = loads(evidence.need(STUDY).decode(errors="replace"), STUDY)
    if not data.endswith(b"\n"):
        raise TrustError(f"expected whole lines in {LOG}, found a torn last one")
    coordinator = keys.rings({0: _named(data)})[0].coordinator_key
    entries = read_own_log(evidence.files[LOG], coordinator)
    named = {entry.seq + 1: roster_of(entry) for entry in entries if entry.kind == "roster"}
    if not named:
        raise TrustError(f"no line of {LOG} holds a roster that its coordinator signed")
    return Case(
        evidence=evidence,
        keys=keys,
        protocol=protocol,
        entries=entries,
        named=named,
        rosters=keys.rings(named),
    )


def _named(data: bytes) -> Roster:
    """The first roster that a log names. Nothing is verified: it says under which name the writer's key is found."""
    for line in data.split(b"\n", _LOOK)[:_LOOK]:
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError, WardroundError):
            payload = json.loads(b64decode(json.loads(line)["payload"]))
            if payload["kind"] == "roster":
                return Roster.from_dict(payload["data"])
    raise TrustError(f"expected a line with the roster among the first {_LOOK} of {LOG}, found none")
