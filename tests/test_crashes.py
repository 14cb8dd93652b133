"""The crash machinery itself: what is left out as equal is equal."""

from pathlib import Path

import pytest
from tests.crashes import Acknowledge, Crash, crash_points, distinct_crash_points

from wardround.common.durable import append_line, write_atomic


def action(folder: Path, acknowledge: Acknowledge) -> None:
    """Every durable call of the package, with folders and removals between them."""
    write_atomic(folder / "state", b"one")
    acknowledge("one")
    (folder / "more").mkdir()
    append_line(folder / "more" / "log", b"a line")
    acknowledge("line")
    write_atomic(folder / "state", b"two")
    (folder / "more" / "log").unlink()
    append_line(folder / "other", b"a second line")
    acknowledge("two")


def left(crash: Crash) -> tuple[tuple[str, bytes], ...]:
    """What a crash left on disk."""
    files = sorted(path for path in crash.folder.rglob("*") if path.is_file())
    return tuple((path.relative_to(crash.folder).as_posix(), path.read_bytes()) for path in files)


@pytest.mark.usefixtures("quick_disk")
def test_one_crash_of_each_state_is_taken_and_none_is_missed(tmp_path: Path) -> None:
    for name in ("all", "distinct"):
        (tmp_path / name).mkdir()
    every = [(left(crash), len(crash.acknowledged)) for crash in crash_points(tmp_path / "all", action)]
    some = [
        (left(crash), len(crash.acknowledged))
        for crash in distinct_crash_points(tmp_path / "distinct", action)
    ]
    assert {state for state, _ in some} == {state for state, _ in every}
    assert len(some) < len(every) / 2
    for state, acknowledged in every:
        assert acknowledged <= max(count for same, count in some if same == state)
