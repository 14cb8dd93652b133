"""Servers and proxies on loopback that behave as ordered, for tests of the doctor's way to a coordinator."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

Handle = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(handle: Handle) -> Iterator[int]:
    """Handle each connection in a thread; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def work() -> None:
            while True:
                try:
                    connection, _ = door.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    handle(connection)

        threading.Thread(target=work, daemon=True).start()
        yield int(door.getsockname()[1])
        door.shutdown(socket.SHUT_RDWR)


def healthy_at(moment: datetime, certificate: Path, key: Path, *, status: str = "200 OK") -> Handle:
    """A server over TLS that says it is `moment`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    date = format_datetime(moment.astimezone(UTC), usegmt=True)

    def handle(connection: socket.socket) -> None:
        connection.settimeout(10)
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(4096)
            secure.sendall(f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode())

    return handle


def silent(connection: socket.socket) -> None:
    """Hangs up at once."""


def plain(connection: socket.socket) -> None:
    """Speaks no TLS."""
    connection.recv(4096)
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)


def proxy(answer: str, seen: list[bytes], *, through: bool) -> Handle:
    """A web proxy that answers CONNECT as ordered, and passes on what comes after it."""

    def handle(connection: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)
        seen.append(head)
        connection.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode())
        if through:
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as target:
                back = threading.Thread(target=_pump, args=(target, connection), daemon=True)
                back.start()
                _pump(connection, target)
                back.join(5)

    return handle


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
