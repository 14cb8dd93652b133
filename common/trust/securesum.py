"""One site's part in one secure sum: fresh keys, a roster it checked, one vector masked, keys erased.

The others learn the sum of all members and nothing else about this site's vector, as long as one other member is
honest. A member counts only if this site approved its key; the coordinator, which carries every message, can stop a
sum but cannot join, split or steer it unnoticed. All or abort: if a member fails, a new attempt needs a new session,
new keys and new noise.

Sources: Bonawitz et al. (2017), "Practical Secure Aggregation" (pairwise masks, signed keys, consistency check);
Pasquini et al. (2022), "Eluding Secure Aggregation" (why every message is bound to the base model).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import PrivacyError, TrustError, UsageError
from wardround.common.trust.agreement import (
    Encapsulate,
    EphemeralKeys,
    Random,
    check_suites,
    encapsulate,
    installed_suites,
)
from wardround.common.trust.envelope import seal
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.masking import add_masks, check_words
from wardround.common.trust.sumroster import (
    AGREED,
    FEWEST,
    MASKED,
    READY,
    SumContext,
    SumRoster,
    Transcript,
    agreed_body,
    read_roster,
    read_transcript,
    ready_body,
    recipients,
)
from wardround.common.trust.sumstate import Approved, SumState
from wardround.common.trust.sumwire import Masked


class SumSession:
    """One site in one attempt: `open`, `agree`, `confirm`, then `mask` or `upload` once.

    Every refusal comes before anything is masked and leaves the session as it was. Not for two threads at once.

    Guarantees:
        `mask` answers once in the life of a session and drops its keys; Python may leave copies in memory until the
        process ends. Whoever keeps a session in a file removes the file durably before masked bytes leave: two
        vectors masked from one file reveal their difference.
    """

    __slots__ = ("_agreed", "_key", "_roster", "_state", "_transcript")

    def __init__(self, key: SigningKey, state: SumState) -> None:
        if state.approved.key(state.name) != key.public:
            raise TrustError(f"another key than its own is approved for this site, {state.name!r}")
        self._key = key
        self._state = state
        self._roster: SumRoster | None = None
        self._agreed = b""
        self._transcript: Transcript | None = None

    @classmethod
    def open(
        cls,
        key: SigningKey,
        name: str,
        context: SumContext,
        *,
        approved: Mapping[str, PublicKey],
        least: int,
        suites: Sequence[str] | None = None,
        random: Random = os.urandom,
    ) -> "SumSession":
        """Start an attempt with fresh keys.

        Args:
            key: This site's identity.
            name: This site's name.
            context: The attempt, as the coordinator asked for it.
            approved: Name -> identity key of every site that this site's people approved, with or without itself.
            least: Members that a roster must have, this site included: the honest ones plus those that may
                collude. At least 2.
            suites: What this site is willing to use; None for all that is installed, `[HYBRID]` to require it.
            random: Where the fresh keys come from: the operating system, except to reproduce published vectors.

        Raises:
            UsageError: `least` is below 2, or a suite is not installed.
            TrustError: Two approved sites share a key, or this site's own name is approved with another one.
        """
        if least < FEWEST:
            raise UsageError(
                f"expected least >= {FEWEST}, found {least}: the sum of one site is its own vector"
            )
        trusted = Approved({name: key.public, **approved})
        offered = check_suites(installed_suites() if suites is None else suites)
        keys = EphemeralKeys.draw(offered, random)
        ready = seal(key, context.header(READY, sender=name), ready_body(offered, keys.public))
        state = SumState(name=name, context=context, approved=trusted, least=least, ready=ready, keys=keys)
        return cls(key, state)

    @classmethod
    def from_bytes(cls, data: bytes, key: SigningKey) -> "SumSession":
        """Go on from `to_bytes`; everything that had been received is checked again.

        Args:
            data: What `to_bytes` returned.
            key: This site's identity.

        Raises:
            TrustError: The bytes are not such a state, or something in it is not acceptable.
            StorageError: Another kind of file, or a newer version.
        """
        state = SumState.from_bytes(data)
        session = cls(key, replace(state, readies=(), made={}, agreements=()))
        if state.readies:
            session.agree(state.readies, encapsulate=state.made_before)
        if state.agreements:
            session.confirm(state.agreements)
        return session

    def to_bytes(self) -> bytes:
        """The session as bytes, for a file of mode 0600. Secret until it is used; afterwards it holds no key."""
        return self._state.to_bytes()

    def __reduce__(self) -> str:
        raise PrivacyError(
            "a session of a secure sum is not copied", advice="use to_bytes, and only one copy"
        )

    @property
    def name(self) -> str:
        """This site."""
        return self._state.name

    @property
    def context(self) -> SumContext:
        """The attempt."""
        return self._state.context

    @property
    def ready(self) -> bytes:
        """The sealed `ready` message; a repeated request gets the same bytes."""
        return self._state.ready

    @property
    def used(self) -> bool:
        """Whether a vector was masked."""
        return self._state.keys is None

    @property
    def roster(self) -> SumRoster:
        """Members, suite and digest of the roster.

        Raises:
            UsageError: Before `agree`.
        """
        if self._roster is None:
            raise UsageError("expected a roster first: call agree")
        return self._roster

    @property
    def members(self) -> tuple[str, ...]:
        """Names of all members, sorted."""
        return self.roster.members

    @property
    def transcript(self) -> Transcript:
        """What all members agreed to.

        Raises:
            UsageError: Before `confirm`.
        """
        if self._transcript is None:
            raise UsageError("expected the agreements of all members first: call confirm")
        return self._transcript

    def agree(self, readies: Sequence[bytes], *, encapsulate: Encapsulate = encapsulate) -> bytes:
        """Check the roster and sign what was seen.

        Args:
            readies: All `ready` envelopes, this site's own among them, in any order.
            encapsulate: Makes the ML-KEM secrets; another one only to reproduce published vectors.

        Returns:
            The sealed `agreed` message. The same roster gives the same bytes; save the session before they leave.

        Raises:
            TrustError: A stranger, a site that is there twice, a message of another study, protocol, round, attempt
                or base model, this site's own message missing or not the one it sent, too few members, no common
                suite, or a second roster.
            PrivacyError: The session was used.
        """
        self._state.unused_keys()
        state = self._state
        roster = read_roster(readies, state.approved, state.context)
        _check_own(state.name, state.ready, {name: r.envelope for name, r in roster.readies.items()})
        if len(roster.members) < state.least:
            raise TrustError(
                f"expected at least {state.least} members in the roster, found {len(roster.members)}",
                advice="a sum of fewer sites would show more of each; ask the coordinator who is missing",
            )
        if self._roster is not None:
            _check_same(self._roster.digest, roster.digest, "roster")
            return self._agreed
        made = {
            peer: encapsulate(peer, roster.readies[peer].shares.mlkem)
            for peer in recipients(roster, state.name)
        }
        body = agreed_body(roster, {peer: ciphertext for peer, (_, ciphertext) in made.items()})
        self._agreed = seal(self._key, state.context.header(AGREED, sender=state.name), body)
        self._roster = roster
        self._state = replace(state, readies=tuple(readies), made=made)
        return self._agreed

    def confirm(self, agreements: Sequence[bytes]) -> None:
        """Check that every member signed the roster that this site saw. To be called before patients are read.

        Args:
            agreements: All `agreed` envelopes, this site's own among them, in any order.

        Raises:
            TrustError: A member is missing, there twice or no member, signed another roster or suite, this site's
                own message is not the one it sent, or these differ from what was confirmed before.
            PrivacyError: The session was used.
            UsageError: Before `agree`.
        """
        self._state.unused_keys()
        transcript = read_transcript(agreements, self._state.approved, self.roster)
        _check_own(self.name, self._agreed, transcript.agreements)
        if self._transcript is not None:
            _check_same(self._transcript.digest, transcript.digest, "set of agreements")
        self._transcript = transcript
        self._state = replace(self._state, agreements=tuple(agreements))

    def mask(self, values: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Mask this site's vector, and drop the keys.

        Args:
            values: Shape (d,); d is the same for all members.

        Returns:
            Shape (d,): uniform to whoever lacks the keys of two honest members; the sum over all members modulo
            2^32 is the sum of their `values`.

        Raises:
            UsageError: Before `confirm`, or another shape or type.
            PrivacyError: The session was used.
        """
        self._state.unused_keys()
        check_words(values)
        keys = self._state.pair_keys(self.transcript)
        self._state = replace(self._state, keys=None, readies=(), made={}, agreements=())
        return add_masks(
            values,
            plus=[key for peer, key in keys.items() if peer > self.name],
            minus=[key for peer, key in keys.items() if peer < self.name],
        )

    def upload(
        self,
        values: NDArray[np.uint32],
        *,
        receipt: bytes = b"",
        said: Mapping[str, Any] = MappingProxyType({}),
    ) -> bytes:
        """Mask and seal: `mask`, as the signed message to the coordinator.

        Args:
            values: As for `mask`.
            receipt: Bytes that are signed beside the vector; not masked.
            said: Further fields of the envelope's header: `receipt`, `log`.
        """
        masked = Masked(receipt=receipt, transcript=self.transcript.digest, values=self.mask(values))
        about = replace(self.context.header(MASKED, sender=self.name), **said)
        return seal(self._key, about, masked.pack())


def _check_own(name: str, sent: bytes, found: Mapping[str, bytes]) -> None:
    """This site's own message must be there, byte for byte."""
    if name not in found:
        raise TrustError(f"expected this site's own message among all, found none of {name!r}")
    if found[name] != sent:
        raise TrustError(f"expected this site's own message as it was sent, found another one of {name!r}")


def _check_same(first: str, second: str, what: str) -> None:
    if first != second:
        raise TrustError(f"a second {what} was handed out in one attempt; the first one holds")
