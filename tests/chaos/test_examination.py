"""What `make chaos` looks for is found when it is there."""

import shutil
from pathlib import Path

import pytest
from tests.chaos.examination import examine, open_books
from tests.runs import open_run, private_run

from wardround.server.coordinator import LOG

ROUNDS = 3  # of the runs in `tests.runs`


def examined(run: Path, **changed: int) -> list[str]:
    """The violations of a run of imagined hospitals; `changed` are a site's entries said to be older than it."""
    return examine(run, run / "sites", rounds=ROUNDS, crashes=0, before=changed)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished private run to be damaged."""
    return Path(shutil.copytree(private_run(), private_run().parent / tmp_path.name))


def test_finished_runs_pass() -> None:
    assert examined(private_run()) == []
    assert examined(open_run()) == []


def test_a_release_without_its_charge_is_found() -> None:
    entries = len(open_books(private_run() / "sites", {})["north"].entries)
    (found, *_) = examined(private_run(), north=entries - 1)
    assert found == "north released [(1, 1), (2, 1), (3, 1)] without a charge"


def test_a_charge_too_many_is_found() -> None:
    wrong = examine(private_run(), private_run() / "sites", rounds=ROUNDS - 1, crashes=0, before={})
    assert "north was charged 3 times for 2 rounds and 0 crashes" in wrong
    assert "rounds in the log: [1, 2, 3]" in wrong


@pytest.mark.parametrize("name", ["results.json", "report.html", "model.safetensors"])
def test_a_lost_file_is_found(run: Path, name: str) -> None:
    (run / name).unlink()
    assert examined(run) == [f"no {name}"]


def test_a_log_that_lost_its_end_is_found(run: Path) -> None:
    log = run / "federation" / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-3]))  # the last round, the result and the finish
    assert examined(run) == [
        "the log begins with ['protocol', 'roster'] and ends with round",
        "rounds in the log: [1, 2]",
    ]


def test_a_changed_log_and_a_cut_ledger_are_found(run: Path) -> None:
    ledger = next((run / "sites").glob("north-*/ledger/ledger.jsonl"))
    whole = ledger.read_bytes()
    ledger.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    assert examined(run) == ["north: the study is still open in the ledger"]
    ledger.write_bytes(whole[:-9])
    assert examined(run)[0].startswith("unreadable: ")
    ledger.write_bytes(whole)
    log = run / "federation" / LOG
    log.write_bytes(log.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
    assert examined(run)[0].startswith("unreadable: ")
