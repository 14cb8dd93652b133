"""Who is who: Ed25519 keys, and the pinned roster of a consortium.

A key is trusted because a person compared its fingerprint over another channel and wrote it into the roster.
No certificate authority, no trust on first use. Assumes that only its owner can read a private key file.

Source: RFC 8032 (Ed25519); Chalkias et al. (2020), "Taming the many EdDSAs", for the keys that are refused.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import canonical, check_header, digest, header
from wardround.common.trust.keyfile import read_key, write_key
from wardround.common.trust.signed import bytes_of, encoded, exact_keys, note, text_of

FORMAT = "wardround-roster"
VERSION = 1
LONGEST_NAME = 200  # characters

_PRIME = 2**255 - 19
# y-coordinates of the eight points of small order: with such a key, some signatures fit many messages.
_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = frozenset({0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8})


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key, as its 32 raw bytes.

    Raises:
        TrustError: Not 32 bytes, not a canonical encoding, or a point of small order.
    """

    raw: bytes

    def __post_init__(self) -> None:
        """Refuse bytes that cannot identify anybody."""
        y = int.from_bytes(self.raw, "little") & (2**255 - 1)
        if len(self.raw) != 32 or y >= _PRIME or y in _SMALL_ORDER:
            raise TrustError("expected a 32-byte Ed25519 public key, found bytes that are none")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the raw key in hexadecimal: what two people compare."""
        return digest(self.raw)

    @property
    def short(self) -> str:
        """The first 16 digits of the fingerprint in groups of four: for screens, never for comparison."""
        return " ".join(self.fingerprint[at : at + 4] for at in range(0, 16, 4))

    def encode(self) -> str:
        """The raw key as base64."""
        return text_of(self.raw)

    @classmethod
    def decode(cls, text: object) -> "PublicKey":
        """Read `encode` back.

        Raises:
            TrustError: It is not a public key.
        """
        return cls(bytes_of(text, where="a public key"))

    def pem(self) -> bytes:
        """The key as PEM SubjectPublicKeyInfo, for `openssl`."""
        form = pem.PublicFormat.SubjectPublicKeyInfo
        return Ed25519PublicKey.from_public_bytes(self.raw).public_bytes(pem.Encoding.PEM, form)

    def verify(self, domain: str, message: bytes, signature: bytes) -> None:
        """Check a signature.

        Guarantees:
            Returns only if the holder of the private key signed exactly this message for exactly this domain.

        Raises:
            TrustError: Any of the three differs.
        """
        self._verify(encoded(domain, message), signature)

    def verify_note(self, text: bytes, signature: bytes) -> None:
        """Check a signature over the text of a checkpoint or cosignature (see `signed.note`).

        Raises:
            TrustError: Text or signature differ, or the text is none of these.
        """
        self._verify(note(text), signature)

    def _verify(self, signed: bytes, signature: bytes) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, signed)
        except (InvalidSignature, ValueError):
            raise TrustError(
                f"the signature does not belong to key {self.short} and this message",
                advice="bytes were changed or somebody else signed them: compare fingerprints by telephone",
            ) from None


class SigningKey:
    """An Ed25519 private key. Its bytes never appear in `repr` and never leave but through `save`."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> "SigningKey":
        """A new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, *, passphrase: str = "") -> "SigningKey":
        """Read a PEM PKCS#8 file.

        Args:
            path: The file.
            passphrase: Its passphrase; empty to ask for it if it has one (see `keyfile`).

        Raises:
            StorageError: The file cannot be read.
            TrustError: Others may read it, it holds no Ed25519 private key, or its passphrase is missing or wrong.
        """
        return cls(read_key(path, passphrase=passphrase))

    def save(self, path: Path, *, passphrase: str = "") -> None:
        """Write the key as PEM PKCS#8, readable by the owner only.

        Args:
            path: The file; its folder must exist.
            passphrase: Encrypts the file; empty for none.

        Raises:
            StorageError: The file exists already (a key is never overwritten), or cannot be written.
        """
        write_key(path, self._key, passphrase=passphrase)

    def sign(self, domain: str, message: bytes) -> bytes:
        """The 64-byte signature of `message` for one purpose, `domain`."""
        return self._key.sign(encoded(domain, message))

    def sign_note(self, text: bytes) -> bytes:
        """The 64-byte signature over the text of a checkpoint or cosignature (see `signed.note`).

        Raises:
            TrustError: It is neither.
        """
        return self._key.sign(note(text))

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.short!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The members of a consortium and their pinned keys.

    Attributes:
        coordinator: Name of the coordinator.
        coordinator_key: Its public key.
        sites: Name of each site -> its public key. At least one.
    """

    coordinator: str
    coordinator_key: PublicKey
    sites: Mapping[str, PublicKey] = field(hash=False)

    def __post_init__(self) -> None:
        """Freeze the mapping; refuse one name or one key for two parties.

        Raises:
            UsageError: No site, or a name that is empty, too long or not plainly printable.
            TrustError: Two parties share a name or a key.
        """
        if not self.sites:
            raise UsageError("expected at least one site in a roster, found none")
        for name in (self.coordinator, *self.sites):
            check_name(name)
        if self.coordinator in self.sites:
            raise TrustError(f"{self.coordinator!r} names both the coordinator and a site")
        keys = [self.coordinator_key, *self.sites.values()]
        if len(set(keys)) != len(keys):
            raise TrustError(
                "expected one key per party, found one key used twice",
                advice="each party generates its own key; a shared key lets one sign for the other",
            )
        object.__setattr__(self, "sites", MappingProxyType(dict(sorted(self.sites.items()))))

    def __reduce__(self) -> tuple[object, tuple[dict[str, object]]]:
        return Roster.from_dict, (self.to_dict(),)

    @property
    def site_names(self) -> tuple[str, ...]:
        """All sites, sorted, so that every party sums in one order."""
        return tuple(self.sites)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return digest(canonical(self.to_dict()))

    def key(self, name: str) -> PublicKey:
        """The pinned key of a party.

        Raises:
            TrustError: Nobody of that name is in the roster.
        """
        if name == self.coordinator:
            return self.coordinator_key
        if name not in self.sites:
            raise TrustError(
                f"{name!r} is not in the roster",
                advice="only parties whose fingerprint was compared by a person take part",
            )
        return self.sites[name]

    def name_of(self, fingerprint: str) -> str:
        """The party whose key has this fingerprint.

        Raises:
            TrustError: The key belongs to nobody in the roster.
        """
        for name in (self.coordinator, *self.sites):
            if self.key(name).fingerprint == fingerprint:
                return name
        raise TrustError(f"key {fingerprint[:16]} belongs to nobody in the roster")

    def to_dict(self) -> dict[str, object]:
        """The file form, with format and version."""
        keys = {name: key.encode() for name, key in self.sites.items()}
        coordinator = {"name": self.coordinator, "key": self.coordinator_key.encode()}
        return {**header(FORMAT, VERSION), "coordinator": coordinator, "sites": keys}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Roster":
        """Read `to_dict` back.

        Raises:
            StorageError: Another kind of file, or a newer version.
            TrustError: A key is missing, unknown, or not a public key.
        """
        check_header(found, name=FORMAT, version=VERSION, where="the roster")
        exact_keys(dict(found), frozenset({"format", "version", "coordinator", "sites"}), where="the roster")
        match found:
            case {"coordinator": {"name": str(name), "key": key, **rest}, "sites": {**sites}} if not rest:
                pinned = {str(site): PublicKey.decode(text) for site, text in sites.items()}
                return cls(coordinator=name, coordinator_key=PublicKey.decode(key), sites=pinned)
        raise TrustError("expected a coordinator with name and key, and sites, in the roster")


def check_name(name: object) -> None:
    """Refuse a party's name that two people could read as another one's.

    Raises:
        UsageError: Empty, too long, with control characters or outer spaces, or not in Unicode form NFC.
    """
    plain = isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()
    if not (plain and name == str(name).strip() and unicodedata.is_normalized("NFC", str(name))):
        raise UsageError(
            f"expected a name of 1 to {LONGEST_NAME} printable characters (Unicode NFC), found {name!r:.80}"
        )
