"""The file of refusals: complete in ordinary life, bounded under a flood."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from wardround.client import refusals
from wardround.client.refusals import BEFORE, LONGEST, REFUSALS, SHARE, RefusalFile

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / REFUSALS).read_text().splitlines()]


def test_a_refusal_is_one_line_with_its_fields(tmp_path: Path) -> None:
    RefusalFile(tmp_path, clock=Clock()).note("task", "no budget", reference="0123abcd", round=3)
    assert lines(tmp_path) == [
        {
            "reference": "0123abcd",
            "round": 3,
            "source": "task",
            "time": "2026-01-01T12:00:00+00:00",
            "reason": "no budget",
        }
    ]


def test_strangers_get_their_share_of_an_hour_and_no_more(tmp_path: Path) -> None:
    clock = Clock()
    for _ in range(SHARE["reception"] + 20):
        RefusalFile(tmp_path, clock=clock).note("reception", "rubbish")  # each in a process of its own
    assert len(lines(tmp_path)) == SHARE["reception"]
    assert "not written" in str(lines(tmp_path)[-1]["note"])
    assert "note" not in lines(tmp_path)[-2]
    clock.now += timedelta(minutes=61)
    RefusalFile(tmp_path, clock=clock).note("reception", "rubbish")
    assert len(lines(tmp_path)) == SHARE["reception"] + 1


def test_a_flood_by_strangers_does_not_silence_tasks(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, clock=Clock())
    for _ in range(SHARE["reception"] + 1):
        file.note("reception", "rubbish")
    file.note("task", "replayed")
    assert lines(tmp_path)[-1]["reason"] == "replayed"


def test_a_reason_is_cut(tmp_path: Path) -> None:
    file = RefusalFile(tmp_path, clock=Clock())
    file.note("reception", "x" * 10**6)
    file.note("reception", ["x" * 10**6, "the end"])
    first, second = (found["reason"] for found in lines(tmp_path))
    assert len(str(first)) == LONGEST["reception"]
    assert isinstance(second, list)
    assert second[-1].endswith("the end")
    assert sum(map(len, second)) <= LONGEST["reception"]


def test_a_full_file_is_put_aside_and_only_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "LARGEST", 300)
    file = RefusalFile(tmp_path, clock=Clock())
    for number in range(20):
        file.note("task", f"reason {number}")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([REFUSALS, BEFORE])
    assert all((tmp_path / name).stat().st_size < 500 for name in (REFUSALS, BEFORE))
    assert lines(tmp_path)[-1]["reason"] == "reason 19"


def test_a_torn_line_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / REFUSALS).write_bytes(b'{"source": "task", "ti\n[]\n{"source": "task", "time": "never"}\n')
    RefusalFile(tmp_path, clock=Clock()).note("task", "late")
    assert json.loads((tmp_path / REFUSALS).read_text().splitlines()[-1])["reason"] == "late"
