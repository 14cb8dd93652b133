"""Opening a ledger: verified and replayed, or begun; a torn line becomes an entry of its own."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from wardround.common.durable import write_atomic
from wardround.common.errors import TrustError
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledgercopy import replay
from wardround.common.trust.ledgerfile import (
    ASK,
    LedgerFile,
    check_head,
    read_bytes,
    read_head,
    split,
    verify,
)
from wardround.common.trust.ledgerline import write_entry
from wardround.common.trust.ledgerstate import PoolState
from wardround.common.trust.signed import day


def load(
    path: Path, key: SigningKey, head_path: Path, pool: str, clock: Callable[[], datetime]
) -> tuple[LedgerFile, PoolState]:
    """The file and the state of its accounts; see `Ledger.open`, which holds the lock.

    Raises:
        TrustError: Rolled back, edited, of another key or pool, or without its head.
        StorageError: It cannot be read or written, or a newer release wrote it.
    """
    data = read_bytes(path)
    if data is None:
        return _create(path, key, head_path, pool, clock)
    lines, torn = split(data)
    entries = verify(lines, key.public, str(path))
    head = read_head(head_path, key.public)
    check_head(entries, head, str(path))
    state = replay(entries, pool, str(path))
    if torn:
        entry = write_entry(key, before=entries[-1], kind="torn", time=day(clock()), payload={})
        data = b"".join(line + b"\n" for line in [*lines, entry.line])
        write_atomic(path, data, mode=0o600)
        entries.append(entry)
        state.apply(entry)
    file = LedgerFile(
        path=path,
        head_path=head_path,
        key=key,
        clock=clock,
        last=entries[-1],
        size=len(data),
        witnessed=head[0] if head else -1,
    )
    file.witness()
    return file, state


def _create(
    path: Path, key: SigningKey, head_path: Path, pool: str, clock: Callable[[], datetime]
) -> tuple[LedgerFile, PoolState]:
    if read_bytes(head_path) is not None:
        raise TrustError(f"expected the ledger {path} that {head_path} names, found none", advice=ASK)
    payload = {"pool": pool, "key": key.public.fingerprint}
    entry = write_entry(key, before=None, kind="open", time=day(clock()), payload=payload)
    write_atomic(path, entry.line + b"\n", mode=0o600)
    size = len(entry.line) + 1
    file = LedgerFile(path=path, head_path=head_path, key=key, clock=clock, last=entry, size=size)
    return file, PoolState()  # nothing is charged yet: the witness begins with the next entry
