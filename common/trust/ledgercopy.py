"""A ledger read by whoever holds its file: verified line by line and rule by rule, never written to."""

from collections.abc import Sequence
from pathlib import Path

from wardround.common.errors import TrustError, WardroundError
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.ledgerfile import ASK, read_bytes, split, verify
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgerstate import PoolState


def read_ledger(path: Path, key: PublicKey) -> tuple[Entry, ...]:
    """Verify a copy of a ledger: every signature, the chain, and the rules. For extracts and auditors; no lock.

    A copy says nothing about entries that came after it.

    Raises:
        TrustError: It was changed, or its last line is torn.
        StorageError: It cannot be read, or a newer release wrote it.
    """
    data = read_bytes(path)
    lines, torn = split(data or b"")
    if torn or not lines:
        raise TrustError(
            f"expected whole lines in the ledger {path}", advice="copy it while no run is going on"
        )
    entries = verify(lines, key, str(path))
    replay(entries, None, str(path))
    return tuple(entries)


def replay(entries: Sequence[Entry], pool: str | None, where: str) -> PoolState:
    """The state of the accounts after these entries.

    Args:
        entries: From the first one on, signatures and chain checked.
        pool: The patient pool that they must be of; None for any.
        where: The file, for messages.

    Raises:
        TrustError: Another pool's, or an entry breaks a rule.
    """
    if not entries or entries[0].kind != "open" or pool not in (None, entries[0].payload.get("pool")):
        raise TrustError(f"expected the ledger of patient pool {pool!r} in {where}", advice=ASK)
    state = PoolState()
    for entry in entries[1:]:
        try:
            state.admit(entry.kind, entry.payload)
            state.apply(entry)
        except WardroundError as error:
            raise TrustError(f"{where}, entry {entry.seq} breaks a rule: {error}", advice=ASK) from None
    return state
