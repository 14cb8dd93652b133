"""A site's ledger on disk: the file, its lock, its witness outside the folder, and what happens after a crash.

Order of an append: the line is durable, then the head file (number and hash of the last line, signed) is replaced.
So after a crash the file may be ahead of the head, never behind. A file that is behind its head was rolled back:
a restored backup, a truncation, a swapped folder.

A line without its newline is torn: nobody was told that it was written, so nothing was released under it. It is
replaced by an entry of kind `torn` in one atomic step, and charged nevertheless.

What this cannot see: somebody who restores the ledger and its head together. For that, receipts carry the head
into the coordinator's study log.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from wardround.common.durable import append_line, write_atomic
from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import canonical, check_header, header
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.ledgerline import Entry, read_entry, write_entry
from wardround.common.trust.signed import (
    HEAD_DOMAIN,
    bytes_of,
    day,
    exact_keys,
    is_count,
    parse,
    text_of,
)

HEAD_FORMAT = "wardround-ledger-head"
HEAD_VERSION = 1

ASK = (
    "stop this site and ask the data protection officer: privacy already spent may be missing. Look for the newest "
    "copy of the ledger and compare it with the receipts in the coordinator's study log; never delete the head file"
)

_HEAD_KEYS = frozenset({"format", "version", "seq", "hash", "signature"})


@dataclass(slots=True, kw_only=True)
class LedgerFile:
    """The open file. Each append costs the same, however long the ledger is.

    Attributes:
        path: The ledger.
        head_path: Its witness, in another folder.
        key: The site's key.
        clock: The site's clock.
        last: The newest entry on disk.
        size: Bytes of the file that are accounted for.
        witnessed: Number of the entry that the head file names; -1 if there is none.
    """

    path: Path
    head_path: Path
    key: SigningKey
    clock: Callable[[], datetime]
    last: Entry
    size: int
    witnessed: int = field(default=-1)

    def append(self, kind: str, payload: Mapping[str, object]) -> Entry:
        """Add one entry, durable on return. The witness follows with `witness`.

        Raises:
            StorageError: Nothing was added, or so much that only reopening can tell.
        """
        self._check_size()
        entry = write_entry(self.key, before=self.last, kind=kind, time=day(self.clock()), payload=payload)
        append_line(self.path, entry.line)
        self.last = entry
        self.size += len(entry.line) + 1
        return entry

    def witness(self) -> None:
        """Bring the head file up to the last entry, if it is behind.

        Raises:
            StorageError: It could not be written; the ledger itself is complete.
        """
        if self.witnessed == self.last.seq:
            return
        fields = {**header(HEAD_FORMAT, HEAD_VERSION), "seq": self.last.seq, "hash": self.last.hash}
        signature = text_of(self.key.sign(HEAD_DOMAIN, canonical(fields)))
        write_atomic(self.head_path, canonical({**fields, "signature": signature}) + b"\n", mode=0o600)
        self.witnessed = self.last.seq

    def _check_size(self) -> None:
        try:
            found = os.stat(self.path).st_size
        except OSError as error:
            raise StorageError(f"could not read {self.path}: {error.strerror or error}") from error
        if found != self.size:
            raise StorageError(
                f"expected {self.size} bytes in {self.path}, found {found}",
                advice="an earlier write ended half-way or another program wrote; close and open the ledger again",
            )


def make_folder(folder: Path) -> None:
    """Make a folder for its owner only.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"could not create {folder}: {error.strerror or error}") from error


def read_bytes(path: Path) -> bytes | None:
    """The file's content; None if it does not exist.

    Raises:
        StorageError: It exists and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"could not read {path}: {error.strerror or error}") from error


def split(data: bytes) -> tuple[list[bytes], bool]:
    """The complete lines, and whether a torn one follows."""
    *lines, rest = data.split(b"\n")
    return lines, bool(rest)


def verify(lines: list[bytes], key: PublicKey, where: str) -> list[Entry]:
    """Check every signature and the chain.

    Raises:
        TrustError: A line was changed, moved or removed from the middle.
    """
    entries: list[Entry] = []
    for line in lines:
        before = entries[-1] if entries else None
        entries.append(read_entry(line, key=key, before=before, where=where))
    return entries


def read_head(path: Path, key: PublicKey) -> tuple[int, str] | None:
    """Number and hash that the witness names; None without a witness.

    Raises:
        TrustError: It is not this site's.
        StorageError: It is of a newer version, or cannot be read.
    """
    data = read_bytes(path)
    if data is None:
        return None
    where = f"the ledger's head {path}"
    found = parse(data.removesuffix(b"\n"), where=where)
    check_header(found, name=HEAD_FORMAT, version=HEAD_VERSION, where=where)
    exact_keys(found, _HEAD_KEYS, where=where)
    signature = bytes_of(found.pop("signature"), where=where)
    try:
        key.verify(HEAD_DOMAIN, canonical(found), signature)
    except TrustError:
        raise TrustError(f"expected {where} to be signed by this site's key", advice=ASK) from None
    match found:
        case {"seq": int(seq), "hash": str(hash_)} if is_count(seq):
            return seq, hash_
    raise TrustError(f"expected a number and a hash in {where}", advice=ASK)


def check_head(entries: list[Entry], head: tuple[int, str] | None, where: str) -> None:
    """Refuse a ledger that is behind its witness.

    The witness begins with the second entry, which can only be a reservation or a torn line and charges nothing. So
    a ledger of two entries may lack it: a crash fell between the entry and its witness, and nothing was released.

    Raises:
        TrustError: Entries are missing, replaced, or without their witness.
    """
    if head is None:
        if len(entries) > 2:
            raise TrustError(f"expected the head file of {where}, found none", advice=ASK)
        return
    seq, hash_ = head
    if seq >= len(entries):
        raise TrustError(
            f"expected at least {seq + 1} entries in {where}, found {len(entries)}: it was rolled back",
            advice=ASK,
        )
    if entries[seq].hash != hash_:
        raise TrustError(
            f"expected the entry {seq} that the head names in {where}, found another", advice=ASK
        )
