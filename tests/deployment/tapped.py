"""An executor whose outgoing requests are also written down, before encryption: `python -m ... DIR TAPE`.

One JSON line per request of parent and children: the path and the body, in base64. Nothing is changed on its way.
"""

import base64
import json
import os
import sys
from pathlib import Path

import httpx


def tap(tape: Path) -> None:
    """Write down what any HTTP client of this process, and of its children, sends from now on."""
    stock = httpx.HTTPTransport.handle_request

    def handle(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        body = request.read()
        line = {"path": request.url.path, "body": base64.b64encode(body).decode()}
        descriptor = os.open(tape, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
        finally:
            os.close(descriptor)
        return stock(self, request)

    httpx.HTTPTransport.handle_request = handle  # type: ignore[method-assign]


if __name__ == "__main__":
    from wardround.client.executor import main

    tap(Path(sys.argv[2]))
    raise SystemExit(main(sys.argv[1:2]))
