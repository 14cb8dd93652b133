"""What the log service shows of one study: read from files that another process writes, never written, never locked.

`study-log.jsonl` only grows; its torn last line is not looked at before its newline is there. A checkpoint is shown
once all lines under it were read and give its root, and a line once a checkpoint covers it: the coordinator makes
lines durable before it signs them, so nothing that is shown can be lost in a power cut and written otherwise later.

Guarantees:
    Over the life of a view, one place of the log never shows two different lines, whatever happens to the files.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wardround.common.audit.logwire import LARGEST_LINE, MOST_LINES, Page
from wardround.common.durable import append_line, cut
from wardround.common.errors import StorageError, TrustError
from wardround.common.trust.checkpoint import NoteSignature, SignedCheckpoint
from wardround.common.trust.checkpointfile import (
    CHECKPOINTS,
    COSIGNATURES,
    HEAD,
    checkpoint_line,
    merged,
    read_line,
)
from wardround.common.trust.ledgerfile import read_bytes, split
from wardround.common.trust.merkle import Tree, leaf_hash

LOG: Final = "study-log.jsonl"
PAGE_BYTES: Final = 256 * 1024  # of lines in one message; one line may be longer
_NOTES: Final = 1000  # checkpoints that are read at once
_CHUNK: Final = 1024 * 1024  # bytes that are read at once


class Tail:
    """The complete lines of a file that another process appends to, from where the last look ended.

    Args:
        path: The file; need not exist yet.

    Attributes:
        offsets: Where each line seen so far begins, and where the next one will.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets = [0]

    def new(self, most: int) -> list[bytes]:
        """The lines that were completed since, without their newlines; at most `most`, and about a megabyte at once.

        Raises:
            TrustError: The file is shorter than it was, or has a line longer than any may be.
            StorageError: It cannot be read.
        """
        start = self.offsets[-1]
        data = self._read(start, _CHUNK if most else 0)
        if data and b"\n" not in data:
            data = self._read(start, LARGEST_LINE + 1)
        lines, torn = split(data)
        if torn and not lines and len(data) > LARGEST_LINE:
            raise TrustError(
                f"expected lines of at most {LARGEST_LINE} bytes in {self.path}, found a longer one"
            )
        lines = lines[:most]
        for line in lines:
            self.offsets.append(self.offsets[-1] + len(line) + 1)
        return lines

    def between(self, first: int, last: int) -> list[bytes]:
        """Lines `first` to `last`, without the latter, from the file as it is now."""
        low, high = self.offsets[first], self.offsets[last]
        return self._read(low, high - low).split(b"\n")[: last - first]

    def _read(self, start: int, count: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < start:
                    raise TrustError(f"{self.path} is shorter than it was: it was cut or replaced")
                file.seek(start)
                return file.read(count)
        except FileNotFoundError:
            if start:
                raise TrustError(f"{self.path} is gone") from None
            return b""
        except OSError as error:
            raise StorageError(f"could not read {self.path}: {error.strerror or error}") from error


class LogView:
    """One study's log as far as it is signed.

    Args:
        folder: Where the study's coordinator writes.

    Attributes:
        size: Number of lines that are shown.
        latest: The newest checkpoint, with every cosignature known; None before the first.
    """

    def __init__(self, folder: Path) -> None:
        self._log = Tail(folder / LOG)
        self._signed = Tail(folder / CHECKPOINTS)
        self._cosigned = folder / COSIGNATURES
        self._tree = Tree()
        self._notes: dict[int, SignedCheckpoint] = {}
        self.size = 0
        self._kept = self._open_cosignatures()

    @property
    def latest(self) -> SignedCheckpoint | None:
        """The newest checkpoint that is shown."""
        return self._notes.get(self.size)

    def checkpoint(self, size: int) -> SignedCheckpoint | None:
        """The checkpoint of a size, if there is one among those that are shown."""
        return self._notes.get(size) if size <= self.size else None

    def refresh(self) -> None:
        """Take in what was written since.

        Raises:
            TrustError: Lines were changed, or a checkpoint does not belong to the lines: nothing more is shown.
            StorageError: A file cannot be read.
        """
        while lines := self._new_notes():
            found = [read_line(line, where=str(self._signed.path)) for line in lines]
            written = [one for one in found if one is not None]
            self._notes = merged([*self._notes.values(), *written])
            self._add_kept({one.checkpoint.size for one in written})
        # Only what is signed is read: what the disk did not take yet may be cut off again by its writer.
        signed = max((*self._notes, self._tree.size))
        while lines := self._log.new(signed - self._tree.size):
            for line in lines:
                self._tree.append(line)
        for size in sorted(size for size in self._notes if self.size < size <= self._tree.size):
            if self._tree.root(size) != self._notes[size].checkpoint.root:
                raise TrustError(
                    f"{self._log.path} is not the log that its checkpoint of {size} lines covers"
                )
            self.size = size

    def add(self, size: int, line: NoteSignature) -> None:
        """Keep a cosignature, durably; of a key that cosigned this checkpoint already, nothing is kept.

        Args:
            size: Of a checkpoint that is shown.
            line: A cosignature that was verified against it.

        Raises:
            StorageError: It could not be written.
        """
        before = self._notes[size]
        after = before.with_signatures([line])
        if after == before:
            return
        alone = SignedCheckpoint(checkpoint=before.checkpoint, signatures=(line,))
        if not self._cosigned.exists():
            append_line(self._cosigned, HEAD)
        append_line(self._cosigned, checkpoint_line(alone))
        self._notes[size] = after

    def page(self, start: int, count: int) -> Page:
        """Lines from `start`, at least one, at most `count` and about `PAGE_BYTES`.

        Raises:
            TrustError: The file does not hold the lines any more that were read from it.
        """
        last = min(start + min(count, MOST_LINES), self.size)
        offsets = self._log.offsets
        while last > start + 1 and offsets[last] - offsets[start] > PAGE_BYTES:
            last = start + (last - start) // 2
        lines = self._log.between(start, last)
        for number, line in zip(range(start, last), lines, strict=True):
            if self._tree.leaf(number) != leaf_hash(line):
                raise TrustError(f"line {number + 1} of {self._log.path} was changed after it was read")
        return Page(start=start, lines=tuple(lines))

    def inclusion(self, number: int, size: int) -> Sequence[bytes]:
        """The proof for a line, of a size that is shown."""
        return self._tree.inclusion(number, size)

    def consistency(self, old: int, size: int) -> Sequence[bytes]:
        """The proof between two sizes that are shown."""
        return self._tree.consistency(old, size)

    def _new_notes(self) -> list[bytes]:
        try:
            return self._signed.new(_NOTES)
        except TrustError:
            # A full disk makes the writer cut its last lines off again: read what is there from the start.
            self._signed = Tail(self._signed.path)
            return self._signed.new(_NOTES)

    def _open_cosignatures(self) -> dict[int, SignedCheckpoint]:
        """What an earlier life of the service kept; a torn last line is cut off, which nobody was told of."""
        lines, torn = split(read_bytes(self._cosigned) or b"")
        if torn:
            cut(self._cosigned, sum(len(line) + 1 for line in lines))
        found = [read_line(line, where=str(self._cosigned)) for line in lines]
        return merged(one for one in found if one is not None)

    def _add_kept(self, sizes: set[int]) -> None:
        for size in sizes & self._kept.keys():
            if self._kept[size].checkpoint == self._notes[size].checkpoint:
                self._notes[size] = self._notes[size].with_signatures(self._kept[size].signatures)
