"""Files that survive a crash at any byte.

Assumes a POSIX file system on which `rename` within a directory is atomic and `fsync` reaches the disk. Every
durable effect of the package goes through the calls `os.write`, `os.fsync`, `os.replace` and `os.ftruncate`
made here, which is what the crash tests interrupt one by one.

Source: Pillai et al. (2014), "All File Systems Are Not Created Equal", OSDI.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from wardround.common.errors import StorageError


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"could not write {path}: {error.strerror or error}",
            advice="check free space and permissions; nothing already written is lost",
        ) from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file's content: after a crash it holds the old bytes or the new ones, never a mixture.

    Args:
        path: The file; its folder must exist.
        data: The whole new content.
        mode: Permission bits of the new file; use 0o600 for private keys and patient-derived state.

    Raises:
        StorageError: The disk is full or the folder cannot be written; the old content is untouched.
    """
    with _drafted(path, data, mode) as descriptor:
        os.fsync(descriptor)
    with _reported(path):
        sync_folder(path.parent)


def write_passing(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file that can be made again, without waiting for the disk.

    A killed process leaves the old content or the new one, as with `write_atomic`. A power cut may leave an empty
    file or none: the caller makes it again.

    Args:
        path: The file; its folder must exist.
        data: The whole new content, not empty.
        mode: Permission bits of the new file.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    with _drafted(path, data, mode):
        pass


@contextlib.contextmanager
def _drafted(path: Path, data: bytes, mode: int) -> Iterator[int]:
    """Write beside the file, and take its place once the caller has done with the open draft."""
    draft = path.with_name(f".{path.name}.draft")
    with _reported(path):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        try:
            # A draft left by a crash keeps its old permissions; tighten it before a secret goes in.
            os.fchmod(descriptor, os.fstat(descriptor).st_mode & mode)
            _write_all(descriptor, data)
            yield descriptor
        finally:
            os.close(descriptor)
        os.replace(draft, path)


def append_line(path: Path, line: bytes, *, mode: int = 0o600) -> None:
    """Append one line and make it durable. A crash may leave a torn last line; earlier lines never change.

    Args:
        path: The file; created if absent.
        line: Content without a newline byte.
        mode: Permission bits if the file is created.

    Raises:
        StorageError: The disk is full; what was written of the line is cut off again where the disk allows
            it. Where it does not, the file is longer than before: a caller that keeps state compares sizes.
    """
    with _reported(path):
        new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, line + b"\n")
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if new:
            sync_folder(path.parent)


def cut(path: Path, size: int) -> None:
    """Shorten a file to its first `size` bytes, durably: how a torn last line is removed.

    Raises:
        StorageError: The file cannot be written.
    """
    with _reported(path):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes whenever a file does: its number, size and time; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


class LockedError(StorageError):
    """Somebody else holds a lock: the one failure of a file that waiting can mend."""


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file's advisory lock; a second holder, in this or another process, is refused at once.

    Raises:
        LockedError: Somebody else holds it.
        StorageError: The file cannot be opened.
    """
    with _reported(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"{path} is in use by another process",
                advice="wait for the other run to end, or stop it; two writers would under-count",
            ) from None
        yield
    finally:
        os.close(descriptor)
