"""A ledger that a hospital handed over, verified: under which site's key, whole or a copy without its head."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from wardround.common.audit.evidence import LEDGERS, Evidence
from wardround.common.errors import TrustError
from wardround.common.privacy.events import DpEvent
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.ledgerfile import check_head, read_bytes, read_head
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import Pool
from wardround.common.trust.ledgerpools import falling_on
from wardround.common.trust.ledgerstate import PoolState


@dataclass(frozen=True, kw_only=True)
class OwnLedger:
    """A verified ledger.

    Attributes:
        site: Whose.
        entries: All of them; of a copy without its head, all up to the last of the copy.
        whole: Whether its head is there, which shows that nothing after the last entry was left out.
    """

    site: str
    entries: tuple[Entry, ...]
    whole: bool = False

    @property
    def pool(self) -> str:
        """Name of the patient pool."""
        return str(self.entries[0].payload.get("pool", ""))

    @cached_property
    def state(self) -> PoolState:
        """What the entries come to."""
        state = PoolState()
        for entry in self.entries[1:]:
            state.apply(entry)
        return state

    def spent(self, pool: Pool = "training") -> list[DpEvent]:
        """Everything that was charged to the patients who train, or to those held out, over all studies."""
        return falling_on(pool, [account.charge(account.charged) for account in self.state.accounts])


def ledger_files(evidence: Evidence) -> list[str]:
    """The ledgers among the files."""
    return [name for name in evidence.below(LEDGERS) if name.endswith(".jsonl")]


def open_ledger(evidence: Evidence, name: str, keys: Mapping[str, PublicKey]) -> OwnLedger:
    """Verify a ledger, and that it is not behind its head file.

    Args:
        evidence: The files.
        name: Of the ledger.
        keys: Site -> key; the ledger names its own by fingerprint.

    Raises:
        TrustError: It was changed, shortened, breaks a rule, or is nobody's of these.
        StorageError: It cannot be read.
    """
    evidence.need(name)
    ledger = ledger_at(evidence.files[name], keys.items())
    head = evidence.files.get(f"{name.removesuffix('.jsonl')}.head.json")
    if head is not None:
        check_head(list(ledger.entries), read_head(head, keys[ledger.site]), name)
    return replace(ledger, whole=head is not None)


def ledger_at(path: Path, keys: Iterable[tuple[str, PublicKey]]) -> OwnLedger:
    """Verify a ledger alone, under that of the sites' keys that it names. A copy does not say what came after it.

    Raises:
        TrustError: It was changed, shortened, breaks a rule, or is nobody's of these.
        StorageError: It cannot be read.
    """
    first, _, _ = (read_bytes(path) or b"").partition(b"\n")
    fingerprint = _key_in(first, path.name)
    for site, key in keys:
        if key.fingerprint == fingerprint:
            return OwnLedger(site=site, entries=read_ledger(path, key))
    raise TrustError(
        f"{path.name} belongs to key {fingerprint[:16]}, which is none of those known here",
        advice="give the hospital's own key with --keys: its roster, or NAME.pem",
    )


def _key_in(line: bytes, name: str) -> str:
    try:
        return str(json.loads(line)["payload"]["key"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise TrustError(f"expected a ledger in {name}") from None
