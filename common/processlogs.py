"""The logs of supervised processes: files that rotate, and lines that show no patient.

A process of the hospital that touches patients may print anything when it breaks: a library's error can quote a cell
of the table. So only lines in our own form are kept of it, and of a traceback only where it happened and the kind of
the error. Of processes that see no patient every line is kept, without control characters and cut to a length.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from wardround.common.errors import StorageError
from wardround.common.trust.ledgerfile import make_folder

LARGEST: Final = 2 * 2**20  # bytes of one file
OLD: Final = 5  # files that are kept beside it
LONGEST: Final = 2000  # characters of a line
LEFT_OUT: Final = "(a line of another form was left out)"

Keep = Callable[[str], str]

_OURS: Final = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) wardround(\.\w+)*: "
)
_ADVICE: Final = re.compile(
    r"((Cohort|Locked|Privacy|Protocol|Storage|Study|Trust|Usage)Error|PolicyRefusal|What to do): "
)
_FRAME: Final = re.compile(r'  File "[^"]{1,300}", line \d+, in [\w<>]+$')
_KIND: Final = re.compile(r"([A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)): ")
_BAD: Final = re.compile(r"\x1b\[[0-9;]*m|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_ALARM: Final = re.compile(r" (ERROR|CRITICAL) |^\w+(Error|Refusal)\b|^\[Errno |^The SuperNode ended\.")


def every_line(line: str) -> str:
    """For a process that sees no patient: the line, without control characters and not too long."""
    return _BAD.sub("", line)[:LONGEST]


def own_lines(line: str) -> str:
    """For a process that sees patients: the line if it is in our own form, else what is harmless of it.

    Example:
        >>> own_lines("ValueError: could not convert string to float: 'Jane Roe'")
        'ValueError'
        >>> own_lines("Jane Roe, 71")
        '(a line of another form was left out)'
    """
    if _OURS.match(line) or _ADVICE.match(line) or _FRAME.match(line):
        return every_line(line)
    kind = _KIND.match(line)
    return kind.group(1) if kind else LEFT_OUT


def alarming(line: str) -> bool:
    """Whether a line of a log says what went wrong."""
    return bool(_ALARM.search(line))


class RotatingLog:
    """One log file that never grows beyond a size; older ones stand beside it as `.1`, `.2`, ...

    A full disk loses lines and never stops what is logged. Safe for one writer.

    Args:
        path: The file; its folder is made for its owner only.
        keep: What is written of a line.

    Raises:
        StorageError: The folder cannot be made.
    """

    def __init__(self, path: Path, keep: Keep = every_line, *, largest: int = LARGEST) -> None:
        self.path = path
        self._keep = keep
        self._largest = largest
        self._before = ""
        make_folder(path.parent)

    def write(self, line: str) -> str:
        """Add a line; gives what was written of it. The same left-out line many times over is written once."""
        kept = self._keep(line.rstrip("\r\n"))
        if not kept.strip() or (kept == LEFT_OUT and self._before == LEFT_OUT):
            return ""
        self._before = kept
        try:
            self._append(kept.encode(errors="replace") + b"\n")
        except OSError:
            return kept
        return kept

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            os.write(descriptor, data)
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size >= self._largest:
            self._rotate()

    def _rotate(self) -> None:
        for number in range(OLD - 1, 0, -1):
            if _numbered(self.path, number).exists():
                os.replace(_numbered(self.path, number), _numbered(self.path, number + 1))
        os.replace(self.path, _numbered(self.path, 1))


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log, older files included where the newest is too short.

    Raises:
        StorageError: There is no such log, or it cannot be read.
    """
    files = [path, *(_numbered(path, number) for number in range(1, OLD + 1))]
    lines: deque[str] = deque()
    try:
        for file in (file for file in files if file.exists()):
            for line in reversed(file.read_text(encoding="utf-8", errors="replace").splitlines()):
                if len(lines) == count:
                    return list(lines)
                lines.appendleft(line)
    except OSError as error:
        raise StorageError(f"could not read {path}: {error.strerror or error}") from error
    return list(lines)


def follow(path: Path, rest: Callable[[], None]) -> Iterator[str]:
    """New lines of a log as they come, for ever, also across a rotation.

    Args:
        path: The log.
        rest: Called whenever nothing new is there.
    """
    file, inode = None, -1
    try:
        while True:
            if file is not None and (line := file.readline()):
                yield line.rstrip("\n")
                continue
            found = path.stat().st_ino if path.exists() else -1
            if found == inode or found == -1:
                rest()
                continue
            start = os.SEEK_END if file is None else os.SEEK_SET
            if file is not None:
                file.close()
            file, inode = path.open(encoding="utf-8", errors="replace"), found
            file.seek(0, start)
    finally:
        if file is not None:
            file.close()


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
