"""Who may ask the log service, and how much: known by the key in a client's certificate.

A certificate of the consortium's authority opens a connection. What it may ask is looked up again with every call: its
key must be the node key of a member or of a witness of this moment, so that who was removed is out without a restart.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization as pem

from wardround.common.durable import stamp
from wardround.common.errors import TrustError
from wardround.common.flower.nodekeys import node_key_line
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.join import JoinRequest
from wardround.server.members import Members
from wardround.server.serverfile import ServerFile
from wardround.server.witnesses import read_witnesses

_MOST_FORGOTTEN: Final = 10_000  # accounts of clients that are gone, before they are dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all together, may use.

    Attributes:
        rate: Calls per second of one client, on average.
        burst: Calls that it may make at once.
        streams: Streams that one client may follow at a time.
        all_streams: Streams of all clients.
        stall: Seconds that a message of a stream may wait for a client that does not read.
        look: Seconds between two looks at the files.
    """

    rate: float = 10.0
    burst: float = 50.0
    streams: int = 4
    all_streams: int = 512
    stall: float = 30.0
    look: float = 0.5


@dataclass(slots=True)
class Account:
    """What one client has used.

    Attributes:
        streams: That it follows now.
        tokens: Calls that it may make at once.
        since: When `tokens` was brought up to date, in seconds.
    """

    tokens: float
    since: float
    streams: int = 0

    def take(self, limits: Limits, now: float) -> bool:
        """Take one call from the bucket (a token bucket); False if it is empty."""
        self.tokens = min(limits.burst, self.tokens + (now - self.since) * limits.rate)
        self.since = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True, kw_only=True)
class Clients:
    """The clients of a coordinator's log service.

    Attributes:
        server: The coordinator's folder.
        coordinator: Its public key.
        limits: What they may use.
        clock: Seconds that never go back.
    """

    server: ServerFile
    coordinator: PublicKey
    limits: Limits
    clock: Callable[[], float] = time.monotonic
    _known: dict[str, JoinRequest] = field(default_factory=dict)
    _versions: tuple[tuple[int, int, int], ...] = ()
    _accounts: dict[str, Account] = field(default_factory=dict)

    def find(self, certificate: bytes) -> JoinRequest | None:
        """Whose certificate (PEM) this is; None for nobody who may ask now.

        Raises:
            TrustError: The coordinator's own logs were changed.
            StorageError: They cannot be read.
        """
        self._look()
        try:
            key = x509.load_pem_x509_certificate(certificate).public_key()
            info = key.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
            return self._known.get(node_key_line(info))
        except (ValueError, TrustError):
            return None

    def account(self, client: JoinRequest) -> Account:
        """What a client has used."""
        if len(self._accounts) > _MOST_FORGOTTEN:
            self._accounts = {key: one for key, one in self._accounts.items() if one.streams}
        fresh = Account(tokens=self.limits.burst, since=self.clock())
        return self._accounts.setdefault(client.node_key, fresh)

    @property
    def streams(self) -> int:
        """Streams of all clients now."""
        return sum(one.streams for one in self._accounts.values())

    def _look(self) -> None:
        now = tuple(stamp(path) for path in (self.server.members, self.server.roster, self.server.witnesses))
        if now == self._versions:
            return
        members = Members.read(self.server, self.coordinator).sites.values()
        witnesses = read_witnesses(self.server, self.coordinator).sites.values()
        self._known = {one.node_key: one for one in (*members, *witnesses)}
        self._versions = now
