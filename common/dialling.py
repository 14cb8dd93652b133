"""Dialling the coordinator's server by hand, step by step, so that the step that fails has a name.

Name, connection, proxy, TLS and one request for its health, as the SuperNode would go. The certificate is taken as it
comes and judged by the caller, because "verification failed" helps nobody; nothing but that request is sent over it.
"""

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from wardround.common.errors import StudyError

_PATIENCE: Final = 5.0  # seconds for each step
_FIREWALL: Final = "a firewall on the way drops or blocks it: allow outgoing TCP from this computer to {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A web proxy of this computer's environment.

    Attributes:
        host, port: Where it listens.
        secret: `user:password`, or empty.
    """

    host: str
    port: int
    secret: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """Without its password."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server showed.

    Attributes:
        certificate: PEM.
        ahead: Seconds by which this computer's clock is ahead of the server's, to about a second; None if the server
            did not say its time.
        well: Whether it answered the question for its health.
    """

    certificate: str = field(repr=False)
    ahead: float | None
    well: bool


def proxy_for(host: str) -> Proxy | None:
    """The proxy that the environment names for an HTTPS connection to a host; None for a direct one.

    Raises:
        StudyError: It names one that cannot be meant.
    """
    named = getproxies()
    url = named.get("https") or named.get("all")
    if not url or proxy_bypass(host):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or 8080
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise StudyError(
            "the proxy in HTTPS_PROXY or ALL_PROXY is none that can be used (http://HOST:PORT)",
            advice=f"correct it, or let this computer reach the coordinator directly: NO_PROXY={host}",
        )
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return Proxy(host=parts.hostname, port=port, secret=user)


def addresses(host: str) -> tuple[str, ...]:
    """The IP addresses of a name.

    Raises:
        StudyError: It has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise StudyError(
            f"the name {host} is not known here (DNS)",
            advice="check its spelling with the coordinator; ask your network's administrator to have it resolved",
        ) from None
    return tuple(dict.fromkeys(str(one[4][0]) for one in found))


def dial(host: str, port: int, *, proxy: Proxy | None, clock: Callable[[], float] = time.time) -> Answer:
    """Connect, take the certificate, and ask for the server's health and time.

    Args:
        host: Name or address.
        port: Port.
        proxy: Go through it.
        clock: This computer's, in seconds since 1970.

    Raises:
        StudyError: Naming the step that failed.
    """
    with _reached(host, port, proxy) as raw:
        try:
            with _any_certificate().wrap_socket(raw, server_hostname=host) as secure:
                certificate = ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")
                before = clock()
                status, date = _health(secure, host)
                middle = (before + clock()) / 2
        except (OSError, http.client.HTTPException) as error:
            raise _no_tls(host, port, error) from None
    ahead = None if date is None else middle - (date.timestamp() + 0.5)  # the header has whole seconds
    return Answer(certificate=certificate, ahead=ahead, well=status == http.HTTPStatus.OK)


def _reached(host: str, port: int, proxy: Proxy | None) -> socket.socket:
    if proxy is None:
        return _connected(host, port, f"{host}:{port}")
    raw = _connected(proxy.host, proxy.port, f"the proxy {proxy.address}")
    try:
        _tunnel(raw, host, port, proxy)
    except BaseException:
        raw.close()
        raise
    return raw


def _connected(host: str, port: int, what: str) -> socket.socket:
    addresses(host)
    try:
        return socket.create_connection((host, port), timeout=_PATIENCE)
    except ConnectionRefusedError:
        raise StudyError(
            f"nobody listens at {what}: the connection was refused",
            advice="the server is not running (there: `wardround server status DIR`), the port is another, or "
            + _FIREWALL.format(f"{host} port {port}"),
        ) from None
    except TimeoutError:
        raise StudyError(
            f"no answer from {what} within {_PATIENCE:g} s", advice=_FIREWALL.format(f"{host} port {port}")
        ) from None
    except OSError as error:
        raise StudyError(
            f"{what} cannot be reached: {error.strerror or error}",
            advice=_FIREWALL.format(f"{host} port {port}"),
        ) from None


def _tunnel(raw: socket.socket, host: str, port: int, proxy: Proxy) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    shown = (
        f"Proxy-Authorization: Basic {base64.b64encode(proxy.secret.encode()).decode()}\r\n"
        if proxy.secret
        else ""
    )
    status = 0
    try:
        raw.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{shown}\r\n".encode())
        words = _head(raw).split(None, 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    except OSError:
        status = 0
    if status != http.HTTPStatus.OK:
        raise StudyError(
            f"the proxy {proxy.address} does not let through to {target} (it answered {status or 'nothing'})",
            advice=f"ask its administrator to allow CONNECT to {target}, or to let this computer reach it directly and "
            f"set NO_PROXY={host}",
        )


def _head(raw: socket.socket) -> bytes:
    """The head of an answer, byte by byte: what follows it belongs to TLS."""
    found = b""
    while not found.endswith(b"\r\n\r\n") and len(found) < 16384:
        one = raw.recv(1)
        if not one:
            break
        found += one
    return found


def _health(secure: ssl.SSLSocket, host: str) -> tuple[int, datetime | None]:
    secure.sendall(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = http.client.HTTPResponse(secure)
    answer.begin()
    try:
        date = parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return answer.status, None
    return answer.status, date if date.tzinfo else date.replace(tzinfo=UTC)


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = (
        ssl.CERT_NONE
    )  # judged in words by the caller; a question for the health is all that is sent
    return context


def _no_tls(host: str, port: int, error: Exception) -> StudyError:
    if isinstance(error, ConnectionError | TimeoutError | ssl.SSLEOFError):
        return StudyError(
            f"{host}:{port} answers, but the connection breaks off before it is encrypted",
            advice="a firewall inspects TLS or allows known programs only: ask for an exception for this address",
        )
    return StudyError(
        f"something answers at {host}:{port} that is no Wardround server (no TLS, or no HTTP)",
        advice="the port is another, or another program has taken it; compare with the coordinator",
    )
