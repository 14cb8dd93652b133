"""Key agreement of a secure sum: X25519, and ML-KEM-768 beside it where every member has it.

Keys live for one attempt. With the hybrid a mask stays secret as long as either of the two problems is hard:
uploads are archived for auditors, and an archive meets future computers. The suite is one for the whole roster,
and both secrets, both names and the transcript of all messages go into each pair's key.

Sources: RFC 7748 (X25519); FIPS 203 (ML-KEM); RFC 5869 (HKDF); NIST SP 800-56C rev. 2, section 2 (hybrid secrets).
"""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.masking import KEY_SIZE
from wardround.common.trust.sumwire import labelled

try:
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
except ImportError:  # a `cryptography` from before ML-KEM
    _HAS_MLKEM = False
else:
    _HAS_MLKEM = True

CLASSIC: Final = "x25519"
HYBRID: Final = "x25519+ml-kem-768"
SUITES: Final = (HYBRID, CLASSIC)
"""Every known suite, the strongest first."""

X25519_SIZE: Final = 32  # bytes of a private key, a public key and a secret
MLKEM_SEED_SIZE: Final = 64  # bytes of a private key, as its seed d || z
MLKEM_PUBLIC_SIZE: Final = 1184
MLKEM_CIPHERTEXT_SIZE: Final = 1088

Random = Callable[[int], bytes]
Encapsulate = Callable[[str, bytes], tuple[bytes, bytes]]
"""(name of the peer, its ML-KEM-768 public key) -> (shared secret, ciphertext)."""


@cache
def installed_suites() -> tuple[str, ...]:
    """The suites that the installed `cryptography` can do, the strongest first."""
    try:
        if _HAS_MLKEM:
            MLKEM768PrivateKey.generate()
            return SUITES
    except UnsupportedAlgorithm:  # its OpenSSL is older
        pass
    return (CLASSIC,)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicShares:
    """The public keys of one site for one attempt.

    Attributes:
        x25519: 32 bytes.
        mlkem: 1,184 bytes; empty where the site does not offer the hybrid.
    """

    x25519: bytes
    mlkem: bytes

    def check(self, suites: Collection[str]) -> None:
        """Refuse keys that do not fit the offered suites, or with which no secret can be agreed.

        Raises:
            TrustError: Wrong lengths, a point of small order, or no ML-KEM-768 key.
        """
        sizes = len(self.x25519), len(self.mlkem)
        wanted = X25519_SIZE, MLKEM_PUBLIC_SIZE if HYBRID in suites else 0
        if sizes != wanted:
            raise TrustError(f"expected fresh keys of {wanted} bytes, found {sizes}")
        try:
            # Any multiple of a point of small order is zero, which the library refuses.
            X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(self.x25519))
            if self.mlkem and HYBRID in installed_suites():
                MLKEM768PublicKey.from_public_bytes(self.mlkem)
        except ValueError:
            raise TrustError("found a fresh key with which no secret can be agreed") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class EphemeralKeys:
    """The private keys of one site for one attempt.

    Attributes:
        x25519: 32 bytes.
        mlkem: Seed of 64 bytes; empty without the hybrid.
    """

    x25519: bytes = field(repr=False)
    mlkem: bytes = field(repr=False)

    @classmethod
    def draw(cls, suites: Collection[str], random: Random = os.urandom) -> "EphemeralKeys":
        """Fresh keys: 32 bytes of randomness for X25519, then 64 for ML-KEM-768 if it is among the suites."""
        return cls(
            x25519=random(X25519_SIZE),
            mlkem=random(MLKEM_SEED_SIZE) if HYBRID in suites else b"",
        )

    @property
    def public(self) -> PublicShares:
        """What the others need."""
        return PublicShares(
            x25519=X25519PrivateKey.from_private_bytes(self.x25519).public_key().public_bytes_raw(),
            mlkem=self._mlkem().public_key().public_bytes_raw() if self.mlkem else b"",
        )

    def exchange(self, peer: PublicShares) -> bytes:
        """The X25519 secret of 32 bytes shared with a peer whose keys were checked."""
        private = X25519PrivateKey.from_private_bytes(self.x25519)
        return private.exchange(X25519PublicKey.from_public_bytes(peer.x25519))

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The ML-KEM secret of 32 bytes in a peer's ciphertext; another one if the ciphertext was changed."""
        return self._mlkem().decapsulate(ciphertext)

    def _mlkem(self) -> "MLKEM768PrivateKey":
        return MLKEM768PrivateKey.from_seed_bytes(self.mlkem)


def encapsulate(peer: str, public: bytes) -> tuple[bytes, bytes]:
    """Make an ML-KEM-768 secret for a peer.

    Returns:
        The secret of 32 bytes, and the ciphertext of 1,088 bytes that only the peer can open.
    """
    return MLKEM768PublicKey.from_public_bytes(public).encapsulate()


def check_suites(suites: Collection[str]) -> tuple[str, ...]:
    """The suites that a site is willing to use, in the order of `SUITES`.

    Raises:
        UsageError: None, an unknown one, or one that the installed `cryptography` cannot do.
    """
    if unknown := set(suites) - set(SUITES):
        raise UsageError(f"expected suites among {', '.join(SUITES)}; found {min(unknown)!r:.80}")
    if missing := set(suites) - set(installed_suites()):
        raise UsageError(
            f"the installed `cryptography` cannot do {min(missing)}",
            advice="install a `cryptography` with ML-KEM-768, or accept plain x25519",
        )
    if not suites:
        raise UsageError("expected at least one suite of key agreement, found none")
    return tuple(suite for suite in SUITES if suite in suites)


def choose_suite(offers: Mapping[str, Collection[str]]) -> str:
    """The strongest suite that every member offers.

    Args:
        offers: Site -> the suites it is willing to use.

    Raises:
        TrustError: There is none; the message names who offers what.

    Example:
        >>> choose_suite({"east": SUITES, "north": [CLASSIC]})
        'x25519'
        >>> choose_suite({"east": [HYBRID], "north": [CLASSIC]})
        Traceback (most recent call last):
        ...
        wardround.common.errors.TrustError: the members share no suite: 'east' x25519+ml-kem-768; 'north' x25519
    """
    for suite in SUITES:
        if all(suite in offered for offered in offers.values()):
            return suite
    words = "; ".join(f"{name!r} {' or '.join(offered)}" for name, offered in sorted(offers.items()))
    raise TrustError(
        f"the members share no suite: {words}",
        advice="a site that requires the hybrid sums only with sites whose `cryptography` has ML-KEM-768",
    )


def pair_key(*, secrets: bytes, transcript: str, suite: str, sites: tuple[str, str]) -> bytes:
    """The key from which two sites make their common mask.

    Args:
        secrets: The X25519 secret, followed by the ML-KEM secret if the suite is the hybrid.
        transcript: Digest of everything both were shown, in hexadecimal.
        suite: What the roster uses.
        sites: Both names, in their order.

    Returns:
        32 bytes.
    """
    info = labelled("pair", suite=suite, sites=sorted(sites))
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=bytes.fromhex(transcript), info=info).derive(
        secrets
    )
