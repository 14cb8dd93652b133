"""A site's own desk: its policy, its identity, and its ledger, which one process at a time has open.

Assumes that the folder is the one of `site.toml`, readable by its owner only.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from wardround.client.peers import approved_peers
from wardround.client.policy import SitePolicy
from wardround.client.release import ReleaseDoor
from wardround.client.sumdesk import SumDesk
from wardround.common.durable import LockedError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger

OUTBOX: Final = "outbox"
"""In a site's folder: replies that may leave, and the open session of a secure sum."""

PATIENCE: Final = 20.0
"""Seconds to wait for a ledger that another process of the site has open, as each answer to a message has."""

_PAUSE: Final = 0.05  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What a site reads from its own folder before it does anything.

    Attributes:
        folder: The site's folder.
        policy: Its limits.
        key: Its identity.
    """

    folder: Path
    policy: SitePolicy = field(repr=False)
    key: SigningKey = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> "Office":
        """Read policy and key.

        Raises:
            ProtocolError, StorageError, TrustError: As `SitePolicy.load` and `SigningKey.load`.
        """
        policy = SitePolicy.load(folder / "site.toml")
        return cls(folder=folder, policy=policy, key=SigningKey.load(policy.identity))

    @property
    def outbox(self) -> Path:
        """Where replies are kept."""
        return self.folder / OUTBOX

    @contextlib.contextmanager
    def ledger(self, *, patience: float = PATIENCE) -> Iterator[Ledger]:
        """The ledger of the patient pool, open and locked.

        Args:
            patience: Seconds to wait for another process of this site to let it go.

        Raises:
            LockedError: Another process still has it.
            TrustError: It was rolled back or changed.
        """
        policy, until = self.policy, time.monotonic() + patience
        policy.head.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    ledger = stack.enter_context(
                        Ledger.open(policy.ledger, self.key, policy.head, pool=policy.pool)
                    )
                    break
                except LockedError:
                    if time.monotonic() >= until:
                        raise
                    time.sleep(_PAUSE)
            yield ledger

    def door(self, ledger: Ledger) -> ReleaseDoor:
        """The door through which replies leave, charged to an open ledger."""
        self.outbox.mkdir(mode=0o700, exist_ok=True)
        return ReleaseDoor(self.policy, ledger, self.outbox)

    def desk(self, protocol: StudyProtocol) -> SumDesk:
        """The desk of a study's secure sums, with the peers that this site approves now."""
        return SumDesk(
            folder=self.outbox,
            name=self.policy.site,
            key=self.key,
            protocol=protocol,
            peers=approved_peers(self.folder),
            tolerated=self.policy.tolerated_collusion,
            suites=self.policy.suites,
        )
