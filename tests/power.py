"""A pessimistic disk: it keeps nothing that was not synced, and forgets it when the power goes.

Used by `tests.crashes`. Follows the four durable calls of the package: written bytes are lost until their file is
synced, new names and renames until their folder is.
"""

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Unsynced:
    """What a power cut takes away: the pessimistic disk keeps nothing that was not synced."""

    sizes: dict[str, int] = field(default_factory=dict)  # file -> bytes that are on the platter
    names: dict[str, bytes | None] = field(default_factory=dict)  # name -> what its folder still says

    def note(self, name: str, given: tuple[Any, ...]) -> None:
        match name:
            case "write":
                self._written(given[0])
            case "fsync":
                self._synced(given[0])
            case "replace":
                self._renamed(str(given[0]), str(given[1]))

    def kept(self, files: dict[str, bytes]) -> dict[str, bytes]:
        """What of these files a power cut would leave: the whole of a folder, by path."""
        left = {path: data[: self.sizes.get(path, len(data))] for path, data in files.items()}
        for path, content in self.names.items():
            left.pop(path, None)
            if content is not None:
                left[path] = content
        return left

    def forget(self) -> None:
        for path in {*self.sizes, *self.names}:
            found = {path: Path(path).read_bytes()} if os.path.exists(path) else {}
            if (data := self.kept(found).get(path)) is not None:
                Path(path).write_bytes(data)
            else:
                Path(path).unlink(missing_ok=True)

    def _written(self, descriptor: int) -> None:
        path, found = _path(descriptor), os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            self.sizes.setdefault(path, found.st_size)
            if found.st_size == 0:
                self.names.setdefault(path, None)

    def _synced(self, descriptor: int) -> None:
        path = _path(descriptor)
        self.sizes.pop(path, None)
        self.names = {name: old for name, old in self.names.items() if os.path.dirname(name) != path}

    def _renamed(self, source: str, target: str) -> None:
        old = Path(target).read_bytes() if Path(target).exists() else None
        self.names.setdefault(os.path.realpath(target), old)
        self.names.pop(os.path.realpath(source), None)
        size = self.sizes.pop(os.path.realpath(source), None)
        if size is not None:
            self.sizes[os.path.realpath(target)] = size


def _path(descriptor: int) -> str:
    return os.path.realpath(f"/proc/self/fd/{descriptor}")


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content; a folder counts as a file without any."""
    found = {}
    for path in Path(os.path.realpath(folder)).rglob("*"):
        found[str(path)] = path.read_bytes() if path.is_file() else b""
    return found


def digest_of(files: dict[str, bytes]) -> str:
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()
