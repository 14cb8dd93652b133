"""Certificates: what a TLS library accepts, and in which words everything else is refused."""

import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from tests.enrolling import NOW

from wardround.common.errors import TrustError
from wardround.common.trust.certcheck import check_authority, check_server_certificate, server_names
from wardround.server.certificates import Pair, issue, make_authority

NAMES = ("fl.example.org", "10.0.0.7", "2001:db8::1")
AUTHORITY = make_authority("hub", NOW)
SERVER = issue(AUTHORITY, NAMES, NOW)
DAY = timedelta(days=1)


def accepted(name: str, moment: datetime, pair: Pair = SERVER, authority: Pair = AUTHORITY) -> bool:
    """What an independent verifier of RFC 5280 says."""
    store = Store([x509.load_pem_x509_certificate(authority.certificate)])
    subject = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    verifier = PolicyBuilder().store(store).time(moment).build_server_verifier(subject)
    try:
        verifier.verify(x509.load_pem_x509_certificate(pair.certificate), [])
    except VerificationError:
        return False
    return True


def checked(host: str, moment: datetime, pair: Pair = SERVER, authority: Pair = AUTHORITY) -> bool:
    try:
        check_server_certificate(pair.certificate, authority.certificate, host=host, now=moment)
    except TrustError:
        return False
    return True


@pytest.mark.parametrize("host", [*NAMES, "localhost", "127.0.0.1", "other.example.org", "10.0.0.8"])
@pytest.mark.parametrize("days", [-2, 0, 396, 398])
def test_the_check_agrees_with_a_verifier_of_rfc_5280(host: str, days: int) -> None:
    moment = NOW + days * DAY
    assert checked(host, moment) == accepted(host, moment)
    assert checked(host, moment) == (host in (*NAMES, "localhost", "127.0.0.1") and days in (0, 396))


def test_another_authority_is_refused() -> None:
    other = make_authority("hub", NOW)
    assert not accepted("localhost", NOW, authority=other)
    with pytest.raises(TrustError, match="not issued by the authority") as caught:
        check_server_certificate(SERVER.certificate, other.certificate, host="localhost", now=NOW)
    assert "proxy" in caught.value.advice


def test_an_expired_certificate_says_when_and_who_renews_it() -> None:
    with pytest.raises(TrustError, match=r"expired at 2027-12-26T12:00:00Z; .* says 2027-12-27") as caught:
        check_server_certificate(
            SERVER.certificate, AUTHORITY.certificate, host="localhost", now=NOW + 398 * DAY
        )
    assert "--renew-certificate" in caught.value.advice


def test_a_clock_before_the_certificate_is_told_to_be_set() -> None:
    with pytest.raises(
        TrustError, match="valid from 2026-11-23T12:00:00Z; this computer's clock says 2026-11-22"
    ):
        check_server_certificate(
            SERVER.certificate, AUTHORITY.certificate, host="localhost", now=NOW - 2 * DAY
        )
    with pytest.raises(TrustError, match="valid from") as caught:
        check_authority(AUTHORITY.certificate, now=NOW - 2 * DAY)
    assert "clock" in caught.value.advice


def test_a_clock_that_is_an_hour_behind_is_fine() -> None:
    assert checked("localhost", NOW - timedelta(hours=1))


def test_a_host_that_is_not_in_the_certificate_is_named_beside_those_that_are() -> None:
    with pytest.raises(TrustError, match=r"for fl.example.org, localhost, .*; hospitals dial other.org"):
        check_server_certificate(SERVER.certificate, AUTHORITY.certificate, host="other.org", now=NOW)
    assert server_names(SERVER.certificate) == (
        "fl.example.org",
        "localhost",
        "10.0.0.7",
        "2001:db8::1",
        "127.0.0.1",
    )


@pytest.mark.parametrize("data", [b"", SERVER.certificate[:200], SERVER.key, SERVER.certificate * 2, b"\xff"])
def test_what_is_not_one_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError, match=r"expected one certificate \(PEM\)"):
        check_authority(data, now=NOW)
    for certificate, ca in ((data, AUTHORITY.certificate), (SERVER.certificate, data)):
        with pytest.raises(TrustError, match=r"expected one certificate \(PEM\)"):
            check_server_certificate(certificate, ca, host="localhost", now=NOW)


def test_an_authority_lives_ten_years_and_a_server_is_none() -> None:
    assert check_authority(AUTHORITY.certificate, now=NOW + 3650 * DAY) == NOW + 3653 * DAY
    with pytest.raises(TrustError, match="expired at 2036"):
        check_authority(AUTHORITY.certificate, now=NOW + 3654 * DAY)
    with pytest.raises(TrustError, match="not that of an authority"):
        check_authority(SERVER.certificate, now=NOW)


def test_a_certificate_never_outlives_its_authority() -> None:
    late = issue(AUTHORITY, NAMES, NOW + 3600 * DAY)
    assert check_server_certificate(
        late.certificate, AUTHORITY.certificate, host="localhost", now=NOW + 3600 * DAY
    ) == check_authority(AUTHORITY.certificate, now=NOW)
    with pytest.raises(TrustError, match="has expired"):
        issue(AUTHORITY, NAMES, NOW + 3654 * DAY)


def test_files_of_two_authorities_do_not_go_together() -> None:
    other = make_authority("hub", NOW)
    with pytest.raises(TrustError, match=r"ca.key is not the private key of ca.crt"):
        issue(Pair(certificate=AUTHORITY.certificate, key=other.key), NAMES, NOW)
    with pytest.raises(TrustError, match=r"expected a certificate in ca.crt"):
        issue(Pair(certificate=AUTHORITY.certificate, key=b""), NAMES, NOW)


def test_a_private_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(AUTHORITY)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_accepts_it_strictly(tmp_path: Path) -> None:
    # openssl looks at today's clock.
    authority = make_authority("hub", datetime.now().astimezone())
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    (tmp_path / "server.crt").write_bytes(issue(authority, NAMES, datetime.now().astimezone()).certificate)
    command: list[str | Path] = [
        "openssl",
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        tmp_path / "ca.crt",
    ]
    for more, code in (
        (["-verify_hostname", "fl.example.org"], 0),
        (["-verify_ip", "10.0.0.7"], 0),
        (["-verify_hostname", "evil.example.org"], 2),
    ):
        done = subprocess.run([*command, *more, tmp_path / "server.crt"], capture_output=True, check=False)
        assert done.returncode == code, done.stderr


def test_a_connection_is_made_with_it(tmp_path: Path) -> None:
    authority = make_authority("hub", datetime.now().astimezone())
    pair = issue(authority, NAMES, datetime.now().astimezone())
    (tmp_path / "server.pem").write_bytes(pair.key + pair.certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem")
    client = ssl.create_default_context(cadata=authority.certificate.decode())
    here, there = socket.socketpair()

    def answer() -> None:
        with server.wrap_socket(there, server_side=True) as connection:
            connection.sendall(connection.recv(1))

    thread = threading.Thread(target=answer)
    thread.start()
    with client.wrap_socket(here, server_hostname="fl.example.org") as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        thread.join(10)
