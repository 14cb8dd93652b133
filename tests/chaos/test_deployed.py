"""What the examination of a deployment looks for beyond that of a simulation is found when it is there."""

import shutil
from pathlib import Path

import pytest
from tests.chaos.deployed import outbox_is_settled
from tests.chaos.examination import Book, open_books
from tests.chaos.failure_page import page, report_of
from tests.chaos.keeping import Named, keep
from tests.chaos.random_kills import Row
from tests.runs import private_run

from wardround.common.study.reader import loads


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Book, str]:
    """A hospital's outbox and ledger after a finished private run, and the protocol's digest."""
    run = private_run()
    digest = loads((run / "study.toml").read_text(encoding="utf-8"), where="the run").digest
    (folder,) = (run / "sites").glob("north-*")
    outbox = Path(shutil.copytree(folder / "outbox", tmp_path / "outbox"))
    return outbox, open_books(run / "sites", {})["north"], digest


def test_the_last_reply_is_kept_as_it_was_settled(kept: tuple[Path, Book, str]) -> None:
    outbox, book, digest = kept
    assert [path.name for path in outbox.glob("*.reply")] == [f"{digest[:16]}-3-1.reply"]
    assert list(outbox_is_settled(outbox, book, digest)) == []


def test_a_changed_reply_and_one_that_was_never_settled_are_found(kept: tuple[Path, Book, str]) -> None:
    outbox, book, digest = kept
    (reply,) = outbox.glob("*.reply")
    reply.write_bytes(reply.read_bytes() + b" ")
    shutil.copy(reply, outbox / f"{digest[:16]}-9-1.reply")
    assert list(outbox_is_settled(outbox, book, digest)) == [
        "north: the kept reply of (3, 1) is not the one that was settled",
        "north: a reply of (9, 1) is kept that was never settled",
    ]


def test_charges_of_another_study_in_the_same_ledger_do_not_count() -> None:
    book = open_books(private_run() / "sites", {})["north"]
    own = Book(site=book.site, entries=book.entries, before=0, study="small")
    other = Book(site=book.site, entries=book.entries, before=0, study="another")
    assert own.spent == book.spent == [(1, 1), (2, 1), (3, 1)]
    assert other.spent == []


def test_the_page_says_what_failed(tmp_path: Path) -> None:
    findings = tmp_path / "findings.jsonl"
    named = Named(
        name="disk full", result="**failed**: lost", seconds=3.2, test="a/test_disk.py::b", good=False
    )
    row = Row(
        name="open-1",
        kills=("child@2",),
        again=(),
        seconds=9,
        voids=1,
        extra=0,
        violations=("uncharged",),
        seed=7,
    )
    keep(findings, "named", named)
    keep(findings, "study", row)
    report = report_of(findings)
    assert (report.named, report.rows) == ((named,), [row])
    text = page(report)
    assert not report.clean
    assert "| disk full | **failed**: lost | 3 | `test_disk` |" in text
    assert "| open-1 | child@2 | 9 | 1 | 0 | 7 | uncharged |" in text
    assert "1 named failures, 1 failed; 1 kills (child 1) in 1 studies, 1 with violations" in text
