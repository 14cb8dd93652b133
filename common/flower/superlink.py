"""The SuperLink as a process: `python -m wardround.common.flower.superlink`. Flower's own, behind our guards.

It carries messages and is not believed: it can delay or drop them, and sees what a hospital releases.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from wardround.common.errors import StorageError, WardroundError
from wardround.common.flower.lifeline import end_with_supervisor
from wardround.common.flower.places import LinkPlace, settle
from wardround.common.flower.plainlog import plain_log
from wardround.common.flower.version import require_supported

_MOST: Final = (
    512  # connections at once; a hospital has a few, whoever comes after that is told to come again
)
_GRACE: Final = 5  # seconds for requests under way when the process is asked to end


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code.
    """
    place = _place(arguments)
    try:
        require_supported()
        place.prepare()
        settle(place.home)
        _serve(place)
    except WardroundError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code
    return 0


def _serve(place: LinkPlace) -> None:
    import uvicorn

    from wardround.common.flower.internals_link import guarded_superlink

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    end_with_supervisor()
    plain_log()
    try:
        app = guarded_superlink(place)
    except OSError as error:
        raise StorageError(f"could not read {error.filename}: {error.strerror}") from error
    logging.getLogger("wardround.superlink").info("listening on %s:%d", place.host, place.port)
    uvicorn.run(
        app,
        host=place.host,
        port=place.port,
        ssl_certfile=place.certificate,
        ssl_keyfile=str(place.key),
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=False,  # who asks is decided by the connection, never by a header
        server_header=False,
        limit_concurrency=_MOST,
        timeout_graceful_shutdown=_GRACE,
    )


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


def _place(arguments: Sequence[str] | None) -> LinkPlace:
    parser = argparse.ArgumentParser(
        prog="wardround-superlink", description="Flower's SuperLink behind guards."
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")  # noqa: S104  (hospitals are elsewhere)
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    for name, what in (
        ("ca", "certificate that vouches for the server's (PEM)"),
        ("certificate", "the server's certificate (PEM)"),
        ("key", "the server's private key (PEM)"),
        ("home", "folder for Flower's state"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    return LinkPlace(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
