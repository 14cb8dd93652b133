"""What is wrong with a server's certificate, in words: the check that a connection would only answer with "failed".

Source: RFC 5280 (certificates) and RFC 9525 (names: only the alternative names count, never the common name).
"""

import ipaddress
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from wardround.common.errors import TrustError
from wardround.common.trust.signed import timestamp

_RENEW: Final = (
    "the coordinator renews it: wardround server init DIR --renew-certificate, then starts its server again"
)


def check_authority(ca: str | bytes, *, now: datetime, where: str = "the certificate authority") -> datetime:
    """Refuse a certificate that cannot vouch for a server now.

    Args:
        ca: PEM, exactly one certificate.
        now: This computer's clock.
        where: The file, for messages.

    Returns:
        When it expires.

    Raises:
        TrustError: No certificate, not an authority, expired, or not valid yet.
    """
    authority = _load(ca, where)
    if not _is_authority(authority):
        raise TrustError(
            f"the certificate in {where} is not that of an authority",
            advice="it may be the server's own; the invite must hold ca.crt",
        )
    _check_clock(authority, now, where, "the coordinator makes a new consortium certificate and new invites")
    return authority.not_valid_after_utc


def check_server_certificate(
    certificate: str | bytes,
    ca: str | bytes,
    *,
    host: str,
    now: datetime,
    where: str = "the server's certificate",
) -> datetime:
    """Refuse a certificate that a hospital would refuse.

    Args:
        certificate: PEM of the server's certificate.
        ca: PEM of the authority that hospitals pinned.
        host: Name or IP address that hospitals dial.
        now: This computer's clock.
        where: The file, for messages.

    Returns:
        When it expires.

    Raises:
        TrustError: Expired, not valid yet, another authority's, or without this host among its names.
    """
    found, authority = _load(certificate, where), _load(ca, "the certificate authority")
    _check_issuer(found, authority, where)
    _check_clock(found, now, where, _RENEW)
    names = server_names(certificate, where=where)
    if not any(_covers(name, host) for name in names):
        raise TrustError(
            f"{where} is for {', '.join(names) or 'no name'}; hospitals dial {host}",
            advice=f"dial one of these names, or correct `address` in server.toml; {_RENEW}",
        )
    return found.not_valid_after_utc


def server_names(certificate: str | bytes, *, where: str = "the server's certificate") -> tuple[str, ...]:
    """The names and IP addresses that a certificate is for.

    Raises:
        TrustError: It is no certificate.
    """
    found = _load(certificate, where)
    try:
        extension = found.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return ()
    if not isinstance(extension, x509.SubjectAlternativeName):
        return ()
    hosts = extension.get_values_for_type(x509.DNSName)
    return (*hosts, *(str(address) for address in extension.get_values_for_type(x509.IPAddress)))


def _load(data: str | bytes, where: str) -> x509.Certificate:
    raw = data.encode() if isinstance(data, str) else data
    try:
        found = x509.load_pem_x509_certificates(raw)
        _ = [one.extensions for one in found]
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension):
        found = []
    if len(found) != 1:
        raise TrustError(
            f"expected one certificate (PEM) in {where}, found {len(found)}",
            advice="the file was cut short or is another one: take it again from the coordinator",
        )
    return found[0]


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    return basic.ca


def _check_issuer(certificate: x509.Certificate, authority: x509.Certificate, where: str) -> None:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise TrustError(
            f"{where} was not issued by the authority that this consortium pinned",
            advice="a proxy that opens TLS stands between, or the server's files come from another consortium",
        ) from None


def _check_clock(certificate: x509.Certificate, now: datetime, where: str, renew: str) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < start:
        raise TrustError(
            f"{where} is valid from {timestamp(start)}; this computer's clock says {timestamp(now)}",
            advice="set this computer's clock (time synchronisation, NTP)",
        )
    if now > end:
        raise TrustError(
            f"{where} expired at {timestamp(end)}; this computer's clock says {timestamp(now)}",
            advice=f"if the clock is right: {renew}",
        )


def _covers(name: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    except ValueError:
        return name.lower().rstrip(".") == host.lower().rstrip(".")
