"""What a site must remember of a secure sum between two messages: a secret file, owned by one attempt.

The messages of an attempt may be answered by different processes. The state holds the private keys and everything
that was received, as it was received; whoever reads it checks all of it again. Assumes a file that only the site
can read (mode 0600) and that is removed before masked bytes leave.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from wardround.common.errors import PrivacyError, TrustError, UsageError
from wardround.common.formats import canonical, check_header, header
from wardround.common.trust.agreement import MLKEM_SEED_SIZE, X25519_SIZE, EphemeralKeys, pair_key
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.signed import bytes_of, exact_keys, is_count, parse, text_of
from wardround.common.trust.sumroster import SumContext, Transcript

FORMAT: Final = "wardround-sum-session"
VERSION: Final = 1
WHERE: Final = "the state of a secure sum"


class Approved:
    """The keys that one site's people compared and approved, its own among them.

    Raises:
        TrustError: One key under two names, which would let one party count twice.
    """

    __slots__ = ("keys",)

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        if len(set(keys.values())) != len(keys):
            raise TrustError("expected one key per approved site, found one key under two names")
        self.keys = dict(sorted(keys.items()))

    def key(self, name: str) -> PublicKey:
        """The key of a site.

        Raises:
            TrustError: This site approved nobody of that name.
        """
        if name not in self.keys:
            raise TrustError(
                f"{name!r} is not among the sites that this site approved",
                advice="compare fingerprints with that site and approve its key; the coordinator's word is not enough",
            )
        return self.keys[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumState:
    """Everything a session is made of.

    Attributes:
        name: This site.
        context: The attempt.
        approved: Whom this site trusts.
        least: Members that a roster must have.
        ready: This site's first message.
        keys: Its private keys; None once a vector was masked.
        readies: The roster as it was received; empty before.
        made: Peer -> the ML-KEM secret and ciphertext that this site made for it.
        agreements: The `agreed` messages as they were received; empty before.
    """

    name: str
    context: SumContext
    approved: Approved = field(repr=False)
    least: int
    ready: bytes = field(repr=False)
    keys: EphemeralKeys | None = field(repr=False)
    readies: tuple[bytes, ...] = field(default=(), repr=False)
    made: Mapping[str, tuple[bytes, bytes]] = field(default_factory=dict, repr=False)
    agreements: tuple[bytes, ...] = field(default=(), repr=False)

    def to_bytes(self) -> bytes:
        """The file form: one line of canonical JSON. Secret as long as there are keys."""
        keys = self.keys
        return canonical(
            {
                **header(FORMAT, VERSION),
                "name": self.name,
                "context": asdict(self.context),
                "approved": {name: key.encode() for name, key in self.approved.keys.items()},
                "least": self.least,
                "ready": text_of(self.ready),
                "keys": keys and {"x25519": text_of(keys.x25519), "mlkem": text_of(keys.mlkem)},
                "readies": _texts(self.readies),
                "made": {peer: _texts(pair) for peer, pair in self.made.items()},
                "agreements": _texts(self.agreements),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "SumState":
        """Read `to_bytes` back.

        Raises:
            TrustError: The bytes are not such a state.
            StorageError: Another kind of file, or a newer version.
        """
        found: dict[str, Any] = parse(data, where=WHERE)
        check_header(found, name=FORMAT, version=VERSION, where=WHERE)
        exact_keys(found, frozenset({"format", "version", *cls.__dataclass_fields__}), where=WHERE)
        if not (isinstance(found["name"], str) and is_count(found["least"])):
            raise TrustError(f"a field of {WHERE} has the wrong type")
        try:
            return cls(
                name=found["name"],
                context=SumContext(**found["context"]),
                approved=Approved({peer: PublicKey.decode(text) for peer, text in found["approved"].items()}),
                least=found["least"],
                ready=bytes_of(found["ready"], where=WHERE),
                keys=_keys(found["keys"]),
                readies=_bytes(found["readies"]),
                made={peer: _pair(texts) for peer, texts in found["made"].items()},
                agreements=_bytes(found["agreements"]),
            )
        except (AttributeError, TypeError, ValueError, UsageError):
            raise TrustError(f"a field of {WHERE} has the wrong type") from None

    def made_before(self, peer: str, _: bytes) -> tuple[bytes, bytes]:
        """What was drawn for a peer when the roster was first seen.

        Raises:
            TrustError: Nothing was.
        """
        if peer not in self.made:
            raise TrustError(f"expected the secret made for {peer!r} in {WHERE}, found none")
        return self.made[peer]

    def pair_keys(self, transcript: Transcript) -> dict[str, bytes]:
        """Peer -> the key of 32 bytes that this site shares with it.

        Args:
            transcript: What all members agreed to.

        Raises:
            PrivacyError: The keys are gone.
        """
        keys = self.unused_keys()
        roster = transcript.roster
        return {
            peer: pair_key(
                secrets=keys.exchange(ready.shares) + self._second_secret(keys, peer, transcript),
                transcript=transcript.digest,
                suite=roster.suite,
                sites=(self.name, peer),
            )
            for peer, ready in roster.readies.items()
            if peer != self.name
        }

    def unused_keys(self) -> EphemeralKeys:
        """The private keys, as long as nothing was masked with them.

        Raises:
            PrivacyError: A vector was masked already.
        """
        if self.keys is None:
            raise PrivacyError(
                f"the keys of {self.context.moment} masked a vector already",
                advice="resend the bytes that were kept, or wait for the next attempt",
            )
        return self.keys

    def _second_secret(self, keys: EphemeralKeys, peer: str, transcript: Transcript) -> bytes:
        """The ML-KEM secret under the hybrid: made here for a greater name, found in the message of a smaller one."""
        if peer in self.made:
            return self.made[peer][0]
        ciphertext = transcript.ciphertexts[peer].get(self.name)
        return keys.decapsulate(ciphertext) if ciphertext else b""


def _texts(messages: tuple[bytes, ...]) -> list[str]:
    return [text_of(data) for data in messages]


def _bytes(texts: list[object]) -> tuple[bytes, ...]:
    return tuple(bytes_of(text, where=WHERE) for text in texts)


def _pair(texts: list[object]) -> tuple[bytes, bytes]:
    secret, ciphertext = _bytes(texts)
    return secret, ciphertext


def _keys(found: object) -> EphemeralKeys | None:
    match found:
        case None:
            return None
        case {"x25519": x25519, "mlkem": mlkem, **rest} if not rest:
            keys = EphemeralKeys(x25519=bytes_of(x25519, where=WHERE), mlkem=bytes_of(mlkem, where=WHERE))
            if len(keys.x25519) == X25519_SIZE and len(keys.mlkem) in (0, MLKEM_SEED_SIZE):
                return keys
    raise TrustError(f"expected the keys of an attempt, or none, in {WHERE}")
