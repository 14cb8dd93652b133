"""Files survive a crash at any call, a power cut, and a full disk."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.crashes import Acknowledge, crash_points

from wardround.common.durable import append_line, cut, exclusive, sync_folder, write_atomic, write_passing
from wardround.common.errors import StorageError

OLD, NEW = b"old content", b"new content, a little longer"


def test_an_interrupted_replacement_leaves_the_old_bytes_or_the_new_ones(tmp_path: Path) -> None:
    def action(folder: Path, acknowledge: Acknowledge) -> None:
        write_atomic(folder / "file", NEW)
        acknowledge("written")

    seen = set()
    for crash in crash_points(tmp_path, action, prepare=lambda folder: write_old(folder / "file")):
        left = (crash.folder / "file").read_bytes()
        assert left in (OLD, NEW)
        assert left == NEW or not crash.acknowledged
        seen.add((crash.call, crash.how, left))
    assert ("replace", "before", OLD) in seen
    assert ("replace", "after", NEW) in seen
    assert {how for _, how, _ in seen} == {"before", "after", "half", "power cut"}


def test_an_acknowledged_replacement_survives_a_power_cut(tmp_path: Path) -> None:
    def action(folder: Path, acknowledge: Acknowledge) -> None:
        write_atomic(folder / "first", NEW)
        acknowledge("first")
        write_atomic(folder / "second", NEW)

    checked = 0
    for crash in crash_points(tmp_path, action):
        if crash.acknowledged:
            assert (crash.folder / "first").read_bytes() == NEW
            checked += crash.how == "power cut"
    assert checked == 4  # write, fsync, replace and folder of the second file


def test_a_passing_file_of_a_killed_process_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    def action(folder: Path, acknowledge: Acknowledge) -> None:
        write_passing(folder / "file", NEW)

    seen = set()
    for crash in crash_points(tmp_path, action, prepare=lambda folder: write_old(folder / "file")):
        if crash.how != "power cut":
            seen.add((crash.call, crash.how, (crash.folder / "file").read_bytes()))
    assert ("write", "half", OLD) in seen
    assert ("replace", "before", OLD) in seen
    assert ("replace", "after", NEW) in seen
    assert {call for call, _, _ in seen} == {"write", "replace"}


def test_an_interrupted_append_never_changes_an_earlier_line(tmp_path: Path) -> None:
    def action(folder: Path, acknowledge: Acknowledge) -> None:
        for number in range(3):
            append_line(folder / "log", b"line %d" % number)
            acknowledge(str(number))

    for crash in crash_points(tmp_path, action):
        log = crash.folder / "log"
        left = log.read_bytes() if log.exists() else b""
        assert b"line 0\nline 1\nline 2\n".startswith(left)
        assert left.count(b"\n") >= len(crash.acknowledged)


def write_old(path: Path) -> None:
    path.write_bytes(OLD)


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, *, keep: int = 0) -> None:
    """Let one call of `os` fail with a full disk, after `keep` bytes of a write."""
    real = getattr(os, name)

    def full(*given: Any) -> Any:
        if keep and name == "write":
            real(given[0], bytes(given[1])[:keep])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, full)


@pytest.mark.parametrize("name", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_content_and_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_old(path)
    refuse(monkeypatch, name, keep=4)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        write_atomic(path, NEW)
    assert str(path) in str(caught.value)
    assert "free space" in caught.value.advice
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_line_that_does_not_fit_is_cut_off_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    append_line(path, b"kept")
    with monkeypatch.context() as patch:
        refuse(patch, name, keep=3)
        with pytest.raises(StorageError):
            append_line(path, b"too much")
    assert path.read_bytes() == b"kept\n"
    append_line(path, b"later")
    assert path.read_bytes() == b"kept\nlater\n"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:3]))
    write_atomic(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW


def test_a_draft_left_by_a_crash_does_not_loosen_permissions(tmp_path: Path) -> None:
    draft = tmp_path / ".secret.draft"
    draft.write_bytes(b"left over")
    draft.chmod(0o666)
    write_atomic(tmp_path / "secret", b"key", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_draft_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    write_old(victim)
    (tmp_path / ".file.draft").symlink_to(victim)
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "file", NEW)
    assert victim.read_bytes() == OLD


def test_cut_keeps_exactly_the_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"whole\ntorn")
    cut(path, 6)
    assert path.read_bytes() == b"whole\n"


def test_cutting_a_file_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        cut(tmp_path / "none", 0)


def test_a_second_holder_of_a_lock_is_refused_at_once(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock"):
        with pytest.raises(StorageError, match="in use by another process"), exclusive(tmp_path / "lock"):
            pass
        child = os.fork()
        if child == 0:
            os._exit(_try_lock(tmp_path / "lock"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == StorageError.exit_code
    with exclusive(tmp_path / "lock"):
        pass


def _try_lock(path: Path) -> int:
    try:
        with exclusive(path):
            return 0
    except StorageError as error:
        return error.exit_code


def test_a_lock_in_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), exclusive(tmp_path / "none" / "lock"):
        pass


def test_a_folder_can_be_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "none")
