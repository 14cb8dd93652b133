"""A hospital's process whose every outgoing byte is also written down, before encryption.

    python -m tests.deployment.tapped TAPE MODULE ARGUMENT...

Runs a module as `python -m MODULE` does. One JSON line per piece that it, or a child of it, writes into a TLS
connection that it dialled, with the connection and its other end; and one per connection that it opens at all, TLS or
not. Nothing is changed on its way. What it answers to its own callers, over asyncio, is not written down: a SuperNode
listens on loopback only.
"""

import base64
import itertools
import json
import os
import runpy
import socket
import ssl
import sys
from pathlib import Path
from typing import Any


def tap(tape: Path) -> None:
    """Write down what this process, and its children, say from now on."""
    stock, numbers = ssl.SSLSocket.send, itertools.count()

    def note(line: dict[str, object]) -> None:
        descriptor = os.open(tape, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, json.dumps({"pid": os.getpid(), **line}).encode() + b"\n")
        finally:
            os.close(descriptor)

    def send(self: ssl.SSLSocket, data: Any, flags: int = 0) -> int:
        count = stock(self, data, flags)
        name = self.__dict__.setdefault("tapped", f"{os.getpid()}-{next(numbers)}")
        said = base64.b64encode(bytes(data[:count])).decode()
        note({"connection": name, "peer": self.getpeername()[1], "data": said})
        return count

    def hear(event: str, given: tuple[Any, ...]) -> None:
        if event == "socket.connect" and given[0].family != socket.AF_UNIX:
            note({"connect": list(given[1][:2])})

    ssl.SSLSocket.send = send  # type: ignore[method-assign]
    sys.addaudithook(hear)


if __name__ == "__main__":
    tap(Path(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
