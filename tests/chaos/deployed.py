"""What must hold of a study between real processes that were killed while it ran: every violation, in words.

Independent of the bookkeeping under test, like `examination`: releases are counted in the coordinator's signed log,
charges in each hospital's signed ledger, and what lies in an outbox is hashed again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.examination import Book, Moment, log_is_whole, nothing_is_free
from tests.deployment.wards import Ward

from wardround.client.office import OUTBOX
from wardround.client.policy import SitePolicy
from wardround.common.errors import WardroundError
from wardround.common.formats import digest
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import LEDGER, read_ledger
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG
from wardround.server.enrolment import current_roster


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed and done.

    Attributes:
        name: Of the study.
        digest: Of its protocol.
        rounds: Of the protocol.
        crashes: Processes that were killed while it ran.
        before: Entries of each hospital's ledger before the study was approved.
        same_model: Whether its model must be that of an uninterrupted simulation.
    """

    name: str
    digest: str
    rounds: int
    crashes: int
    before: Mapping[str, int]
    same_model: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a study cost beyond its rounds, and what was wrong."""

    voids: int
    extra: int
    violations: tuple[str, ...]


def examine_study(made: Ward, terms: Terms) -> Verdict:
    """Everything that must hold of one finished study."""
    home = made.server.studies / terms.name
    if lost := [
        name for name in ("results.json", "model.safetensors") if not (home / "run" / name).is_file()
    ]:
        return Verdict(voids=0, extra=0, violations=tuple(f"no {name}" for name in lost))
    try:
        log = read_log(home / "federation" / LOG, current_roster(made.server.folder).roster)
        books = {site: open_book(made, site, terms.name, terms.before[site]) for site in made.sites}
        wrong = [
            *log_is_whole(log, terms.rounds, terms.crashes),
            *nothing_is_free(log, books, terms.rounds, terms.crashes),
            *(
                found
                for site, book in books.items()
                for found in outbox_is_settled(made.folder(site) / OUTBOX, book, terms.digest)
            ),
        ]
    except (WardroundError, ValueError) as error:
        return Verdict(voids=0, extra=0, violations=(f"unreadable: {error}",))
    if terms.same_model and made.model(terms.name) != made.uninterrupted(terms.name):
        wrong.append("the model differs from the uninterrupted one")
    most = max(len(book.spent) + len(book.of("torn")) for book in books.values())
    needed = 1 if terms.same_model else terms.rounds  # without privacy a study is charged once
    voids = sum(entry.kind == "void" for entry in log)
    return Verdict(voids=voids, extra=max(0, most - needed), violations=tuple(wrong))


def entries_of(made: Ward, site: str) -> int:
    """How many entries a hospital's ledger has."""
    path = SitePolicy.load(made.folder(site) / "site.toml").ledger / LEDGER
    return path.read_bytes().count(b"\n") if path.exists() else 0


def open_book(made: Ward, site: str, study: str, before: int) -> Book:
    """A hospital's ledger, verified, as far as it is about one study."""
    policy = SitePolicy.load(made.folder(site) / "site.toml")
    entries = read_ledger(policy.ledger / LEDGER, SigningKey.load(policy.identity).public)
    return Book(site=site, entries=entries, before=before, study=study)


def outbox_is_settled(outbox: Path, book: Book, protocol_digest: str) -> Iterator[str]:
    """A kept reply is one that the ledger settled, byte for byte; or that of the last attempt, which never left."""
    settled = {_moment(entry.payload): entry.payload["update"] for entry in book.of("settle")}
    last = max((_moment(entry.payload) for entry in book.of("spend")), default=(0, 0))
    for path in sorted(outbox.glob(f"{protocol_digest[:16]}-*.reply")):
        _, round_, attempt = path.stem.rsplit("-", 2)
        moment = int(round_), int(attempt)
        if moment in settled and settled[moment] != digest(path.read_bytes()):
            yield f"{book.site}: the kept reply of {moment} is not the one that was settled"
        if moment not in settled and moment != last:
            yield f"{book.site}: a reply of {moment} is kept that was never settled"


def _moment(payload: Mapping[str, object]) -> Moment:
    round_, attempt = payload["round"], payload["attempt"]
    assert isinstance(round_, int)
    assert isinstance(attempt, int)
    return round_, attempt
