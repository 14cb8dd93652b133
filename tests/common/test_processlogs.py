"""Logs of supervised processes: they rotate, they can be followed, and a patient never gets into them."""

import os
from itertools import islice
from pathlib import Path

import pytest

from wardround.common.processlogs import (
    LEFT_OUT,
    OLD,
    RotatingLog,
    alarming,
    every_line,
    follow,
    own_lines,
    tail,
)

OURS = "2026-11-24 13:34:24,926 ERROR wardround.executor: a task failed: StorageError: could not write x"
SECRET = "Jane Roe, 71"  # noqa: S105  (what must never be kept)


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        f"ValueError: could not convert {SECRET!r} to float",
        f"pandas.errors.ParserError: Error tokenizing {SECRET}",
        f"    value = float('{SECRET}')",
        f"2026-11-24 13:34:24,926 ERROR flwr: {SECRET}",
        f"2026-11-24 13:34:24,926 WARNING py.warnings: {SECRET}",
        f"table.py:12: UserWarning: {SECRET}",
        f'  File "table.py", line 3, in {SECRET}',
        f"KeyError: '{SECRET}'",
    ],
)
def test_of_a_process_that_sees_patients_no_foreign_text_is_kept(line: str) -> None:
    assert "Jane" not in own_lines(line)
    assert "71" not in own_lines(line)


def test_what_we_wrote_ourselves_and_where_it_broke_is_kept() -> None:
    assert own_lines(OURS) == OURS
    assert own_lines('  File "/x/client/trainer.py", line 12, in train') == (
        '  File "/x/client/trainer.py", line 12, in train'
    )
    assert own_lines(f"ValueError: {SECRET}") == "ValueError"
    assert own_lines("What to do: check free space") == "What to do: check free space"


def test_a_line_cannot_steer_the_terminal_or_fill_the_disk() -> None:
    assert every_line("a\x1b[31mred\x1b[0m\x07b\u2028") == "aredb"
    assert len(every_line("x" * 10**6)) == 2000


def test_an_error_is_told_from_chatter() -> None:
    assert alarming(OURS)
    assert alarming("UsageError: expected Flower (flwr) 1.41, found 1.40")
    assert alarming("[Errno 98] error while attempting to bind on address")
    assert alarming("The SuperNode ended. If it could not be activated: the coordinator")
    assert not alarming("2026-11-24 13:34:24,926 INFO flwr: errors are rare")


def test_logs_rotate_and_are_for_their_owner_only(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "logs" / "a.log", largest=100)
    for number in range(200):
        log.write(f"line {number:03}")
    files = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert files == ["a.log", *(f"a.log.{number}" for number in range(1, OLD + 1))]
    assert sum(path.stat().st_size for path in (tmp_path / "logs").iterdir()) < (OLD + 1) * 120
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert tail(log.path, 30) == [f"line {number:03}" for number in range(170, 200)]


def test_many_left_out_lines_are_one(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", own_lines)
    for line in (SECRET, SECRET, OURS, SECRET):
        log.write(line)
    assert log.path.read_text(encoding="utf-8").splitlines() == [LEFT_OUT, OURS, LEFT_OUT]


def test_a_log_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept", encoding="utf-8")
    (tmp_path / "a.log").symlink_to(tmp_path / "elsewhere")
    RotatingLog(tmp_path / "a.log").write("line")
    assert (tmp_path / "elsewhere").read_text(encoding="utf-8") == "kept"


def test_a_full_disk_does_not_stop_what_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RotatingLog(tmp_path / "a.log")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert log.write("line") == "line"


def test_following_goes_on_across_a_rotation(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", largest=60)
    log.write("before")
    pending = iter(range(12))

    def more() -> None:
        log.write(f"line {next(pending):02}")

    found = list(islice(follow(log.path, more), 12))
    assert found == [f"line {number:02}" for number in range(12)]
