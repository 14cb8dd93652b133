"""What the hospitals of a conformance run wrote into their ledgers, against what left them: the auditor owns both."""

from collections.abc import Iterator
from typing import Final

from wardround.common.errors import WardroundError
from wardround.common.formats import digest
from wardround.common.privacy.events import encode
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import attempt_of, of_run
from wardround.simulations.conformanceexam import Examination, Seen
from wardround.simulations.conformancepatients import FEW, WITH, WITHOUT, Asked
from wardround.simulations.conformancesite import RUN, Moment
from wardround.simulations.conformancestats import Check, certain

_STUDY: Final = "conduct"
_KINDS: Final = {"open", "reserve", "spend", "settle"}

INTERRUPTED: Final = Asked(name="interrupted", rounds=2, attempts=2)


def ledger(exam: Examination) -> Iterator[Check]:
    """Checks of every hospital's book, and of what it says of work that failed."""
    for site in (WITHOUT, WITH, FEW):
        yield _charges(exam, site)
    yield _interrupted(exam)


def written(exam: Examination, site: str) -> bytes:
    """A hospital's ledger as it is on disk: for a comparison, which needs no verification; `ledger` verifies it."""
    return (exam.grounds.folder(site) / "ledger" / "ledger.jsonl").read_bytes()


def _charges(exam: Examination, site: str) -> Check:
    """Entry by entry: the receipt names its own charge, the settlement the very bytes, and nothing was returned."""
    book = exam.grounds.book(site)
    released = [seen for seen in exam.seen if seen.site == site and seen.releases]
    studies = {seen.asked.name: seen.asked for seen in released}
    wrong = sum(not _is_charged(book, seen) for seen in released)
    wrong += sum(not _is_reserved(book, asked) for asked in studies.values())
    for kind in ("spend", "settle"):
        wrong += abs(sum(entry.kind == kind for entry in book) - len(released))
    wrong += sum(entry.kind not in _KINDS for entry in book)
    return Check(
        study=_STUDY,
        name=f"charges of {site}",
        claim="every reply was charged once, as its protocol implies, before it left; nothing else was",
        expected="none",
        found=f"{wrong} of {len(released)} otherwise",
        p=certain(not wrong and bool(released)),
    )


def _is_charged(book: tuple[Entry, ...], seen: Seen) -> bool:
    receipt, protocol = seen.receipt(), seen.asked.protocol()
    moment = attempt_of(seen.asked.name, protocol.digest, seen.moment.round, seen.moment.attempt)
    spends = [entry for entry in book if entry.payload == moment | {"base_model": seen.base} | of_run(RUN)]
    settles = [entry for entry in book if entry.payload == moment | {"update": digest(seen.reply.data)}]
    if (len(spends), len(settles)) != (1, 1):
        return False
    named = (receipt.ledger_seq, receipt.ledger_head) == (spends[0].seq, spends[0].hash)
    ordered = spends[0].seq < settles[0].seq
    return named and ordered and receipt.event == seen.asked.event() == protocol.event()


def _is_reserved(book: tuple[Entry, ...], asked: Asked) -> bool:
    expected = {
        "study": asked.name,
        "protocol": asked.protocol().digest,
        "event": encode(asked.event()),
        "releases": asked.releases,
    }
    return [
        entry.payload for entry in book if entry.kind == "reserve" and entry.payload["study"] == asked.name
    ] == [expected]


def _interrupted(exam: Examination) -> Check:
    """Patients cannot be read: an attempt is charged before that, goes on when they can, and is over when given up."""
    grounds, folder = exam.grounds, exam.grounds.folder(FEW)
    known = set(folder.rglob("cohort-*.npz"))
    protocol = exam.admit(INTERRUPTED, FEW)
    (cohort,) = set(folder.rglob("cohort-*.npz")) - known
    base, data = exam.first(INTERRUPTED), cohort.read_bytes()

    def asked(moment: Moment, patients: bytes) -> tuple[bool, list[str]]:
        """Whether a reply came, and the entries that were written meanwhile."""
        cohort.write_bytes(patients)
        before = len(grounds.book(FEW))
        try:
            grounds.updates(FEW, protocol, base, [moment])
        except WardroundError:
            return False, [entry.kind for entry in grounds.book(FEW)[before:]]
        return True, [entry.kind for entry in grounds.book(FEW)[before:]]

    first, second, again = Moment(round=1), Moment(round=2), Moment(round=2, attempt=2)
    found = [
        asked(first, data + b"\0") == (False, ["spend"]),
        asked(first, data) == (True, ["settle"]),
        asked(second, data + b"\0") == (False, ["spend"]),
        asked(again, data) == (True, ["return", "spend", "settle"]),
        asked(second, data) == (False, []),
    ]
    return Check(
        study=_STUDY,
        name="charged before patients are read",
        claim="work that fails was charged before; a charge is returned only where that attempt can never be answered",
        expected="none",
        found=f"{found.count(False)} of {len(found)} otherwise",
        p=certain(all(found)),
    )
