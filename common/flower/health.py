"""Whether a server on this machine is well: one question, with nothing of Flower or of an HTTP library loaded."""

import http.client
import socket
import ssl
from pathlib import Path
from typing import Final

_GLANCE: Final = 2.0  # seconds


def shows_certificate(address: str, ca: Path) -> bool:
    """Whether something on this machine answers in TLS with a certificate of that authority.

    Args:
        address: `host:port` on loopback.
        ca: The certificate (PEM) of the authority.
    """
    host, _, port = address.rpartition(":")
    try:
        context = ssl.create_default_context(cafile=ca)
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), timeout=_GLANCE) as line,
            context.wrap_socket(line, server_hostname=host),
        ):
            return True
    except OSError:
        return False


def healthy(address: str, ca: Path) -> bool:
    """Whether a server on this machine shows the right certificate and says that it is well.

    Args:
        address: `host:port` on loopback; no proxy is asked.
        ca: The certificate (PEM) that it, or its authority, must show.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=ca)
        connection = http.client.HTTPSConnection(address, timeout=_GLANCE, context=context)
    except (OSError, http.client.HTTPException):
        return False
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
