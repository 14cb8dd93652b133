"""A computer that is in a bad way: its clock is wrong, its disk is full, its processes hardly run. All of it is real.

The clock is shifted by a library of 40 lines that is compiled here and preloaded, and can be moved while a process
runs. The disk is a file system in memory of a few pages, mounted where only one hospital's processes see it.
"""

import os
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
HOUR = 3600
_MOUNT = 'mount -t tmpfs -o size="$1",mode=0700 small "$2" && cp -a "$3/." "$2" && shift 3 && exec "$@"'


class Clock:
    """The clock of processes that are started with `environ`; skips the test where no C compiler is.

    Args:
        folder: For the library and the offset.
        offset: Seconds ahead.
    """

    def __init__(self, folder: Path, offset: int = 0) -> None:
        if (compiler := shutil.which("cc")) is None:
            pytest.skip("a shifted clock needs a C compiler")
        self._offset, library = folder / "clock.offset", folder / "clock.so"
        self._offset.write_bytes(struct.pack("=q", offset))
        command = [compiler, "-shared", "-fPIC", "-o", str(library), str(HERE / "clock.c"), "-ldl"]
        subprocess.run(command, check=True)
        self.environ = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._offset)}

    def set(self, offset: int) -> None:
        """Move the clock, also of processes that run: in place, because they look into this very file."""
        with self._offset.open("r+b") as file:
            file.write(struct.pack("=q", offset))


class SmallDisk:
    """A disk of its own for one folder of a hospital, seen by the processes started `within` and their children.

    Args:
        folder: What is on it; its files are copied onto it when it is mounted.
        size: Bytes.
    """

    def __init__(self, folder: Path, size: int = 65536) -> None:
        self._folder, before = folder, folder.with_name(f"{folder.name}-before")
        mount = ["unshare", "--map-root-user", "--mount"]
        if shutil.which("unshare") is None or subprocess.run([*mount, "true"], check=False).returncode:
            pytest.skip("a small disk needs a user namespace: unshare --map-root-user --mount")
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.copytree(folder, before)
        self.within = [*mount, "sh", "-c", _MOUNT, "small-disk", str(size), str(folder), str(before)]

    def seen_by(self, pid: int) -> Path:
        """The folder as a process sees it."""
        return Path(f"/proc/{pid}/root{self._folder}")

    def fill(self, pid: int) -> Path:
        """Take all the space that is left; the file that took it."""
        filler = self.seen_by(pid) / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue
        return filler


def hold_back(pid: int, seconds: float, *, run: float = 0.05, rest: float = 2.0) -> None:
    """Let a process run only `run` of every `rest` seconds, for so many seconds or until it ends."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(rest)
            os.kill(pid, signal.SIGCONT)
            time.sleep(run)
    except ProcessLookupError:
        return
