"""The consortium's own certificate authority, the certificate of its server, and those of its log service's clients.

Hospitals pin the authority with their invite, so no public authority has a say, and the server's certificate can be
renewed without anything being sent. Connections from this machine itself use the loopback names.

Source: RFC 5280; the life of 397 days follows the Baseline Requirements of the CA/Browser Forum, section 6.3.2.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wardround.common.errors import TrustError

AUTHORITY_LIFE: Final = timedelta(days=3653)
SERVER_LIFE: Final = timedelta(days=397)
LOOPBACK: Final = ("localhost", "127.0.0.1")

_SKEW: Final = timedelta(hours=24)  # a hospital's clock may be behind ours
_LONGEST_NAME: Final = 64  # characters of a common name, RFC 5280 appendix A
_NOTHING: Final = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its private key, both PEM.

    Attributes:
        certificate: To be shown to anybody.
        key: Never to leave this machine.
    """

    certificate: bytes
    key: bytes = field(repr=False)


def make_authority(name: str, now: datetime) -> Pair:
    """A new authority, valid for ten years from a day before `now`.

    Args:
        name: Of the coordinator; only for people who look at the certificate.
        now: The clock.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"Wardround: {name}")
    builder = _builder(subject, subject, key.public_key(), now, now + AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(**{**_NOTHING, "key_cert_sign": True, "crl_sign": True})
    return _pair(builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()), key)


def issue(authority: Pair, names: Iterable[str], now: datetime) -> Pair:
    """A certificate for the server, valid for 397 days and never longer than its authority.

    Args:
        authority: Who vouches.
        names: Host names and IP addresses that hospitals dial; the loopback names are always added.
        now: The clock.

    Raises:
        TrustError: The authority's files do not belong together, or it has expired.
    """
    names = tuple(dict.fromkeys((*names, *LOOPBACK)))
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
    signed = _issued(
        authority, names[0], key.public_key(), now, ExtendedKeyUsageOID.SERVER_AUTH, (alternatives,)
    )
    return _pair(signed, key)


def issue_client(authority: Pair, name: str, key: ec.EllipticCurvePublicKey, now: datetime) -> bytes:
    """A certificate (PEM) that opens connections and vouches for no server, valid as long as a server's.

    Args:
        authority: Who vouches.
        name: Whose; only for people who look at the certificate.
        key: Its public key; the private one stays with its owner.
        now: The clock.

    Raises:
        TrustError: The authority's files do not belong together, or it has expired.
    """
    signed = _issued(authority, name, key, now, ExtendedKeyUsageOID.CLIENT_AUTH, ())
    return signed.public_bytes(pem.Encoding.PEM)


def _issued(
    authority: Pair,
    name: str,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    use: x509.ObjectIdentifier,
    more: tuple[x509.ExtensionType, ...],
) -> x509.Certificate:
    issuer, signer = _load_authority(authority, now)
    end = min(now + SERVER_LIFE, issuer.not_valid_after_utc)
    builder = _builder(_subject(name), issuer.subject, key, now, end)
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (
        *((one, False) for one in more),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(**{**_NOTHING, "digital_signature": True}), True),
        (x509.ExtendedKeyUsage([use]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:_LONGEST_NAME])])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _load_authority(pair: Pair, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = pem.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TrustError(
            "expected a certificate in ca.crt and its private key in ca.key",
            advice="restore both from a backup",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise TrustError(
            "ca.key is not the private key of ca.crt",
            advice="restore both from one backup; hospitals pinned ca.crt",
        )
    if now >= certificate.not_valid_after_utc:
        raise TrustError(
            "the consortium's certificate authority has expired", advice="look at this machine's clock"
        )
    return certificate, key


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    private = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    return Pair(certificate=certificate.public_bytes(pem.Encoding.PEM), key=private)
