"""What the parties of a secure sum say to each other, and the two digests that bind it: bytes in, values out.

`ready` carries a site's fresh public keys; the roster is all `ready` envelopes verbatim. `agreed` carries the digest
of the roster that a site saw, and the ciphertexts that it made for others; the transcript is roster and all `agreed`
envelopes. Sites, coordinator and auditor use this one reading. The bytes are specified in docs/secure-sum.md.

Assumes that whoever calls brings public keys that a person compared, never a list that arrived by message.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, TypeVar

from wardround.common.errors import TrustError
from wardround.common.formats import digest
from wardround.common.trust.agreement import (
    HYBRID,
    MLKEM_CIPHERTEXT_SIZE,
    SUITES,
    PublicShares,
    choose_suite,
)
from wardround.common.trust.envelope import Header, KeyRing, open_envelope
from wardround.common.trust.signed import bytes_of, text_of
from wardround.common.trust.sumwire import labelled, read_labelled

OPEN, READY, ROSTER, AGREED, MASKED = "open", "ready", "roster", "agreed", "masked"

FEWEST: Final = 2
"""Members of a sum: the sum of one is that one."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SumContext:
    """The attempt that a sum belongs to; every message is bound to all of it.

    Attributes:
        study: Name of the study.
        protocol_digest: SHA-256 of the protocol in hexadecimal.
        run: Which run of the study.
        round, attempt: >= 0.
        base_model: SHA-256 of the model that all members start from.
        coordinator: Name of the party that carries the messages.

    Raises:
        UsageError: A field has the wrong type or range.
    """

    study: str
    protocol_digest: str
    run: str
    round: int
    attempt: int
    base_model: str
    coordinator: str

    def __post_init__(self) -> None:
        """Refuse what no envelope can carry."""
        self.header(READY, sender=self.coordinator)

    def header(self, kind: str, *, sender: str) -> Header:
        """The header of a message to the coordinator."""
        return Header(kind=kind, sender=sender, receiver=self.coordinator, **self.bound)

    @property
    def bound(self) -> dict[str, Any]:
        """The fields that are equal in every envelope of the attempt."""
        found = asdict(self)
        del found["coordinator"]
        return found

    @property
    def moment(self) -> str:
        """For messages."""
        return f"round {self.round} attempt {self.attempt}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """One member's fresh keys.

    Attributes:
        name: The site that signed.
        suites: What it is willing to use.
        shares: Its public keys.
        envelope: The message as it was sent.
    """

    name: str
    suites: tuple[str, ...]
    shares: PublicShares
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SumRoster:
    """Who takes part in one sum.

    Attributes:
        context: The attempt.
        readies: Member -> its keys, sorted by name (Unicode code points).
        suite: The strongest suite that every member offers.
        digest: SHA-256 that binds context, suite, and every byte of every `ready` envelope.
    """

    context: SumContext
    readies: Mapping[str, Ready]
    suite: str
    digest: str

    @property
    def members(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(self.readies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A roster on which every member agreed.

    Attributes:
        roster: The roster.
        agreements: Member -> its `agreed` envelope as it was sent.
        ciphertexts: Member -> peer -> ML-KEM ciphertext made by the member for the peer; empty without the hybrid.
        digest: SHA-256 that binds the roster and every byte of every `agreed` envelope.
    """

    roster: SumRoster
    agreements: Mapping[str, bytes] = field(repr=False)
    ciphertexts: Mapping[str, Mapping[str, bytes]] = field(repr=False)
    digest: str


def ready_body(suites: Sequence[str], shares: PublicShares) -> bytes:
    """The body of a `ready` message."""
    return labelled(
        READY, suites=list(suites), x25519=text_of(shares.x25519), ml_kem_768=text_of(shares.mlkem)
    )


def agreed_body(roster: SumRoster, ciphertexts: Mapping[str, bytes]) -> bytes:
    """The body of an `agreed` message."""
    made = {peer: text_of(data) for peer, data in ciphertexts.items()}
    return labelled(AGREED, roster=roster.digest, suite=roster.suite, ciphertexts=made)


def read_ready(data: bytes, keys: KeyRing, context: SumContext, **expected: str) -> Ready:
    """Check a `ready` message.

    Args:
        data: The envelope, from anybody.
        keys: The public keys that the caller trusts.
        context: The attempt it must belong to.
        **expected: `sender`, where it is known.

    Raises:
        TrustError: Not signed by a trusted site for exactly this attempt, or its keys cannot be used.
    """
    envelope = open_envelope(
        data, keys, kind=READY, receiver=context.coordinator, **context.bound, **expected
    )
    name = envelope.header.sender
    if name == context.coordinator:
        raise TrustError("the coordinator carries the messages of a sum; it is no member")
    where = f"the `ready` message of {name!r}"
    found = read_labelled(envelope.body, READY, {"suites", "x25519", "ml_kem_768"}, where)
    suites = _offered(found["suites"], where)
    shares = PublicShares(
        x25519=bytes_of(found["x25519"], where=where), mlkem=bytes_of(found["ml_kem_768"], where=where)
    )
    try:
        shares.check(suites)
    except TrustError as error:
        raise TrustError(f"{error} in {where}") from None
    return Ready(name=name, suites=suites, shares=shares, envelope=data)


def read_roster(readies: Sequence[bytes], keys: KeyRing, context: SumContext) -> SumRoster:
    """Check all `ready` messages of an attempt.

    Raises:
        TrustError: One is not acceptable, one site is there twice, fewer than two are there, or they share no suite.
    """
    found = _by_name([(ready.name, ready) for ready in (read_ready(data, keys, context) for data in readies)])
    if len(found) < FEWEST:
        raise TrustError(f"expected at least {FEWEST} members in a sum, found {len(found)}")
    suite = choose_suite({name: ready.suites for name, ready in found.items()})
    members = {name: digest(ready.envelope) for name, ready in found.items()}
    bound = labelled(ROSTER, **asdict(context), suite=suite, members=members)
    return SumRoster(context=context, readies=found, suite=suite, digest=digest(bound))


def read_agreed(
    data: bytes, keys: KeyRing, roster: SumRoster, **expected: str
) -> tuple[str, dict[str, bytes]]:
    """Check an `agreed` message.

    Returns:
        The member that signed, and peer -> ciphertext.

    Raises:
        TrustError: Not signed by a member for this attempt, or it agrees to another roster or suite.
    """
    context = roster.context
    envelope = open_envelope(
        data, keys, kind=AGREED, receiver=context.coordinator, **context.bound, **expected
    )
    name = envelope.header.sender
    where = f"the `agreed` message of {name!r}"
    if name not in roster.readies:
        raise TrustError(f"expected a member of the roster, found {where}")
    found = read_labelled(envelope.body, AGREED, {"roster", "suite", "ciphertexts"}, where)
    if (found["roster"], found["suite"]) != (roster.digest, roster.suite):
        raise TrustError(
            f"{where} is about another roster",
            advice="two rosters were handed out in one attempt; nothing was masked: ask the coordinator why",
        )
    return name, _ciphertexts(found["ciphertexts"], set(recipients(roster, name)), where)


def read_transcript(agreements: Sequence[bytes], keys: KeyRing, roster: SumRoster) -> Transcript:
    """Check that every member agreed to one roster.

    Raises:
        TrustError: A message is not acceptable, or a member is missing or there twice.
    """
    read = [(data, *read_agreed(data, keys, roster)) for data in agreements]
    found = _by_name([(name, data) for data, name, _ in read])
    if missing := roster.readies.keys() - found.keys():
        raise TrustError(f"expected every member to agree to the roster, found nothing from {min(missing)!r}")
    digests = {name: digest(data) for name, data in found.items()}
    bound = labelled("transcript", roster=roster.digest, agreed=digests)
    return Transcript(
        roster=roster,
        agreements=found,
        ciphertexts={name: ciphertexts for _, name, ciphertexts in read},
        digest=digest(bound),
    )


def recipients(roster: SumRoster, name: str) -> tuple[str, ...]:
    """For whom a member encapsulates: under the hybrid, every member with a greater name."""
    return tuple(peer for peer in roster.members if peer > name) if roster.suite == HYBRID else ()


def _by_name(found: Sequence[tuple[str, _T]]) -> dict[str, _T]:
    names = [name for name, _ in found]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise TrustError(f"expected one message of each site, found several of {min(twice)!r}")
    return dict(sorted(found, key=lambda pair: pair[0]))


def _offered(found: object, where: str) -> tuple[str, ...]:
    suites = tuple(suite for suite in SUITES if isinstance(found, list) and suite in found)
    if not suites or list(suites) != found:
        raise TrustError(
            f"expected known suites of key agreement in {where}, the strongest first",
            advice="all parties of a study install the same release",
        )
    return suites


def _ciphertexts(found: object, peers: Collection[str], where: str) -> dict[str, bytes]:
    if not isinstance(found, dict) or found.keys() != set(peers):
        raise TrustError(f"expected one ciphertext for each of {len(peers)} greater names in {where}")
    made = {str(peer): bytes_of(text, where=where) for peer, text in found.items()}
    if any(len(data) != MLKEM_CIPHERTEXT_SIZE for data in made.values()):
        raise TrustError(f"expected ciphertexts of {MLKEM_CIPHERTEXT_SIZE} bytes in {where}")
    return made
