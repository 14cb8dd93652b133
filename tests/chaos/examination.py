"""What must hold after a run was killed, repeated, and completed: each function returns the violations it found.

Independent of the run's own bookkeeping: releases are counted in the coordinator's signed log, charges in each
site's signed ledger, and the two are compared entry by entry.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from wardround.client.policy import SitePolicy
from wardround.common.errors import WardroundError
from wardround.common.privacy.events import NonPrivate, decode
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.ledger import LEDGER, read_ledger
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.studylog import LogEntry, read_log
from wardround.server.coordinator import LOG
from wardround.simulations.federation import COORDINATOR

Moment = tuple[int, int]  # round and attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """A site's ledger, and how many entries it had before the run began.

    Attributes:
        study: Name of the run's study, where others may have gone on beside it; empty if none did.
    """

    site: str
    entries: tuple[Entry, ...]
    before: int
    study: str = ""

    def of(self, kind: str) -> list[Entry]:
        """The run's own entries of a kind; a torn line may have been anybody's and counts for all."""
        own = self.entries[self.before :]
        if self.study:
            own = tuple(entry for entry in own if entry.payload.get("study", self.study) == self.study)
        return [entry for entry in own if entry.kind == kind]

    @property
    def spent(self) -> list[Moment]:
        """The attempts that stay charged."""
        returned = {_moment(entry.payload) for entry in self.of("return")}
        return [at for at in (_moment(entry.payload) for entry in self.of("spend")) if at not in returned]


def open_books(sites: Path, before: Mapping[str, int]) -> dict[str, Book]:
    """All ledgers below a folder of sites, verified."""
    found = {}
    for home in sorted(path.parent for path in sites.glob("*/site.toml")):
        policy = SitePolicy.load(home / "site.toml")
        if (policy.ledger / LEDGER).exists():
            entries = read_ledger(policy.ledger / LEDGER, SigningKey.load(policy.identity).public)
            found[policy.site] = Book(site=policy.site, entries=entries, before=before.get(policy.site, 0))
    return found


def roster_of(run: Path, sites: Path) -> Roster:
    """Everybody's public keys, read from their own folders."""
    policies = [SitePolicy.load(path) for path in sorted(sites.glob("*/site.toml"))]
    known = {one.site: SigningKey.load(one.identity).public for one in policies if one.identity.exists()}
    taking_part = json.loads((run / "ledger.json").read_bytes())["sites"]
    return Roster(
        coordinator=COORDINATOR,
        coordinator_key=SigningKey.load(run / "federation" / "coordinator.pem").public,
        sites={name: known[name] for name in taking_part},
    )


def examine(run: Path, sites: Path, *, rounds: int, crashes: int, before: Mapping[str, int]) -> list[str]:
    """Everything that must hold of one completed run.

    Args:
        run: Its folder.
        sites: The folder of its sites' folders.
        rounds: Of the protocol.
        crashes: How often it was killed.
        before: Entries of each site's ledger before the run.
    """
    for name in ("results.json", "report.html", "model.safetensors", "ledger.json"):
        if not (run / name).is_file():
            return [f"no {name}"]
    try:
        json.loads((run / "results.json").read_bytes())
        log = read_log(run / "federation" / LOG, roster_of(run, sites))
        books = open_books(sites, before)
    except (WardroundError, ValueError) as error:
        return [f"unreadable: {error}"]
    return [*log_is_whole(log, rounds, crashes), *nothing_is_free(log, books, rounds, crashes)]


def log_is_whole(log: tuple[LogEntry, ...], rounds: int, crashes: int) -> Iterator[str]:
    """The coordinator's log: each round once, one after the other, from begin to finish."""
    kinds = [entry.kind for entry in log]
    if kinds[:2] != ["protocol", "roster"] or kinds[-1] != "finish" or kinds.count("finish") != 1:
        yield f"the log begins with {kinds[:2]} and ends with {kinds[-1]}"
    counted = [entry.data["round"] for entry in log if entry.kind == "round"]
    if counted != list(range(1, rounds + 1)):
        yield f"rounds in the log: {counted}"
    if kinds.count("void") > crashes:
        yield f"{kinds.count('void')} void attempts after {crashes} crashes"
    models = [
        (entry.data["base_model"], entry.data["result_model"]) for entry in log if entry.kind == "round"
    ]
    if any(base != result for (_, result), (base, _) in pairwise(models)):
        yield "a round does not start from the model that the one before ended with"


def nothing_is_free(
    log: tuple[LogEntry, ...], books: Mapping[str, Book], rounds: int, crashes: int
) -> Iterator[str]:
    """No release without its charge, and no more charges than rounds and crashes."""
    for site, released in _released(log).items():
        book = books[site]
        once = _without_privacy(book)
        uncharged = [] if once and book.spent else [at for at, _ in released if at not in book.spent]
        if uncharged:
            yield f"{site} released {uncharged} without a charge"
        for at, receipt in released:
            if book.entries[_number(receipt, "ledger_seq")].hash != receipt["ledger_head"]:
                yield f"{site}: the receipt of {at} names a ledger entry that is not there"
        charged = len(book.spent) + len(book.of("torn"))
        most = 1 + crashes if once else rounds + crashes
        if charged > most:
            yield f"{site} was charged {charged} times for {rounds} rounds and {crashes} crashes"
        if site in _confirmed(log) and not book.of("close"):
            yield f"{site}: the study is still open in the ledger"


def _confirmed(log: tuple[LogEntry, ...]) -> list[str]:
    """Who told the coordinator that the study is closed."""
    match log[-1]:
        case LogEntry(kind="finish", data={"confirmed": list(sites)}):
            return sites
    return []


def _released(log: tuple[LogEntry, ...]) -> dict[str, list[tuple[Moment, Mapping[str, object]]]]:
    """For each site what reached the coordinator: (round, attempt) and the receipt."""
    found: dict[str, list[tuple[Moment, Mapping[str, object]]]] = {}
    for entry in log:
        match entry:
            case LogEntry(kind="round" | "void", data={"sites": dict(sites)}):
                for site, said in sites.items():
                    if "update" in said or "upload" in said:
                        found.setdefault(site, []).append((_moment(entry.data), said))
    return found


def _without_privacy(book: Book) -> bool:
    """A study without privacy is charged once: after it epsilon is infinite."""
    events = [entry.payload["event"] for entry in book.of("reserve")]
    return all(isinstance(event, dict) and decode(event) == NonPrivate() for event in events)


def _moment(data: Mapping[str, object]) -> Moment:
    return _number(data, "round"), _number(data, "attempt")


def _number(data: Mapping[str, object], name: str) -> int:
    value = data[name]
    if not isinstance(value, int):
        raise TypeError(f"{name} is no number")
    return value
