"""A site's numbers for Prometheus: on loopback only, and only where somebody asked for it.

Only what the live view shows, so no value that was computed from a patient. Every name of a study is public.

    wardround_round{study="response"} 12
"""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from wardround.client.liveview import LiveStudy, LiveView, live_view
from wardround.common.errors import StorageError, WardroundError

LOOPBACK: Final = "127.0.0.1"
PATH: Final = "/metrics"
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_HOSTS: Final = frozenset({"127.0.0.1", "localhost"})

_STUDY: Final[tuple[tuple[str, str, Callable[[LiveStudy], float]], ...]] = (
    ("round", "round of the newest charged attempt", lambda one: one.round),
    ("rounds", "rounds of the protocol", lambda one: one.rounds),
    ("releases_charged", "releases that were charged", lambda one: one.charged),
    ("releases_reserved", "releases that were reserved", lambda one: one.reserved),
    ("bytes_out", "bytes of all replies, about", lambda one: one.bytes_out),
    ("last_release_seconds", "when the newest reply left, Unix time", lambda one: _seconds(one.last_release)),
    ("open", "1 while the study has a reservation", lambda one: float(one.state == "open")),
)


def metrics(view: LiveView) -> str:
    """The view in Prometheus' text format; of several runs of one protocol only the newest."""
    newest = {one.digest: one for one in view.studies}
    found: list[str] = []
    for name, help_, value in _STUDY:
        samples = [
            f'wardround_{name}{{study="{_quoted(one.name)}",protocol="{one.digest[:16]}"}} {_number(value(one))}'
            for one in newest.values()
        ]
        found += _family(name, help_, samples)
    for name in ("spent", "exposure", "cap"):
        samples = [
            f'wardround_epsilon_{name}{{against="{against}"}} {_number(getattr(budget, name))}'
            for against, budget in view.budgets.items()
        ]
        found += _family(f"epsilon_{name}", f"epsilon of the patient pool: {name}", samples)
    return "\n".join(found) + "\n"


@contextlib.contextmanager
def serve_metrics(folder: Path, port: int) -> Iterator[int]:
    """Answer `http://127.0.0.1:PORT/metrics` about the site of a folder, in a thread of this process.

    Args:
        folder: The site's folder.
        port: 0 for any free one.

    Yields:
        The port.

    Raises:
        StorageError: The port is taken.
    """
    try:
        server = ThreadingHTTPServer((LOOPBACK, port), _handler(folder))
    except OSError as error:
        raise StorageError(
            f"could not listen on {LOOPBACK}:{port}: {error.strerror or error}", advice="choose another port"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One page; whatever goes wrong is one status without a word."""

        server_version = "wardround"
        sys_version = ""
        timeout = 5.0

        def do_GET(self) -> None:
            """Answer, to a browser's script from elsewhere too little to read: the host must be this machine."""
            host = (self.headers.get("Host") or "").rpartition(":")[0] or self.headers.get("Host")
            if self.path != PATH or host not in _HOSTS:
                self._say(HTTPStatus.NOT_FOUND, b"")
                return
            try:
                self._say(HTTPStatus.OK, metrics(live_view(folder)).encode())
            except WardroundError:
                self._say(HTTPStatus.SERVICE_UNAVAILABLE, b"")

        def _say(self, status: HTTPStatus, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", _TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (http.server's name)
            """A line per request would only fill the log."""

    return Handler


def _family(name: str, help_: str, samples: list[str]) -> list[str]:
    head = [f"# HELP wardround_{name} {help_}", f"# TYPE wardround_{name} gauge"]
    return [*head, *samples] if samples else []


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf"
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp() if time else 0.0
