"""Sites, a coordinator and their messages for the tests of the secure sum: real keys, real sessions, no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from wardround.common.formats import digest
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import SumContext
from wardround.common.trust.sumround import SumRound
from wardround.common.trust.sumwire import unpack_messages

Vector = NDArray[np.uint32]

CONTEXT = SumContext(
    study="responders",
    protocol_digest=digest(b"protocol"),
    run=digest(b"run")[:32],
    round=3,
    attempt=2,
    base_model=digest(b"model"),
    coordinator="coordinator",
)
OTHERS = {
    "study": "survival",
    "protocol_digest": digest(b"another protocol"),
    "round": 2,
    "attempt": 1,
    "base_model": digest(b"another model"),
}
"""For each field of the context, the value of another attempt."""


def key(number: int) -> SigningKey:
    """The identity of one party."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")))


def names(sites: int) -> list[str]:
    """Names in their order."""
    return [f"site-{number:02d}" for number in range(sites)]


def moved(field: str) -> SumContext:
    """The context with one field of another attempt."""
    return replace(CONTEXT, **{field: OTHERS[field]})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consortium:
    """Some sites with their identities, all of which know each other."""

    keys: Mapping[str, SigningKey]

    @property
    def roster(self) -> Roster:
        """Everybody's public keys."""
        public = {name: signing.public for name, signing in self.keys.items()}
        return Roster(coordinator="coordinator", coordinator_key=key(1).public, sites=public)

    def open(
        self,
        name: str,
        *,
        context: SumContext = CONTEXT,
        approved: Sequence[str] | None = None,
        least: int = 2,
        suites: Sequence[str] | None = None,
    ) -> SumSession:
        """One site's session; without `approved` it trusts all."""
        trusted = {peer: self.keys[peer].public for peer in (self.keys if approved is None else approved)}
        return SumSession.open(self.keys[name], name, context, approved=trusted, least=least, suites=suites)

    def sessions(self, **options: object) -> dict[str, SumSession]:
        """Everybody's session."""
        return {name: self.open(name, **options) for name in self.keys}  # type: ignore[arg-type]


def consortium(sites: int) -> Consortium:
    """`site-00`, `site-01`, ..."""
    return Consortium(keys={name: key(number + 2) for number, name in enumerate(names(sites))})


def readies(sessions: Mapping[str, SumSession]) -> list[bytes]:
    """What an honest coordinator hands out."""
    return [session.ready for session in sessions.values()]


def agree(sessions: Mapping[str, SumSession]) -> list[bytes]:
    """Everybody agrees to one roster."""
    roster = readies(sessions)
    return [session.agree(roster) for session in sessions.values()]


def confirmed(sites: int, **options: object) -> dict[str, SumSession]:
    """Sessions that are about to mask."""
    sessions = consortium(sites).sessions(**options)
    agreements = agree(sessions)
    for session in sessions.values():
        session.confirm(agreements)
    return sessions


def at_coordinator(sessions: Mapping[str, SumSession], roster: Roster, length: int) -> SumRound:
    """The coordinator's side up to the task; the sessions have confirmed."""
    attempt = SumRound(CONTEXT, keys=roster, length=length)
    for name, session in sessions.items():
        attempt.ready(name, session.ready)
    messages, _ = unpack_messages(attempt.roster_body())
    for name, session in sessions.items():
        attempt.agreed(name, session.agree(messages))
    agreements, _ = unpack_messages(attempt.agreements_body())
    for session in sessions.values():
        session.confirm(agreements)
    return attempt


def some_values(sites: int, length: int, seed: int = 1) -> list[Vector]:
    """Vectors over the whole ring."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 2**32, length, dtype=np.uint32) for _ in range(sites)]
