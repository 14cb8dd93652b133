"""The SuperNode as a process: `python -m wardround.common.flower.supernode`. Outbound to the coordinator only.

It fetches signed tasks, keeps them for the executor on loopback, and sends replies. It holds no key of the hospital's
identity and sees no patient.
"""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from wardround.common.doctor import examine
from wardround.common.errors import TrustError, WardroundError
from wardround.common.flower.lifeline import end_with_supervisor
from wardround.common.flower.places import LOOPBACK, NodePlace, settle
from wardround.common.flower.plainlog import plain_log
from wardround.common.flower.version import require_supported
from wardround.common.machinechecks import server_reached
from wardround.common.trust.signed import utc_now

_HOPELESS: Final = ("certificate", "clock")  # what no retry mends, and Flower names badly or not at all
_log = logging.getLogger("wardround.supernode")
_ADVICE: Final = (
    "The SuperNode ended. If it could not be activated: the coordinator has not enrolled this site's node key, or"
    " a SuperNode with the same key was online within the last minute, or this computer's clock is wrong."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch and send until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a signal, or if the coordinator removed this node.
    """
    place = _place(arguments)
    try:
        require_supported()
        place.desk.prepare()
        settle(place.home)
        check_promising(place)
        return _run(place)
    except WardroundError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code


def check_promising(place: NodePlace, *, now: Callable[[], datetime] = utc_now) -> None:
    """Say what the coordinator's server would refuse or this side must: a clock or a certificate that is wrong.

    A server that is not there says nothing about either; the SuperNode waits for it.

    Args:
        place: Where the SuperNode stands.
        now: This computer's clock.

    Raises:
        TrustError: Naming it.
    """
    host, _, port = place.superlink.rpartition(":")
    ca = place.ca.read_text(encoding="ascii") if place.ca.is_file() else ""
    for found in examine(server_reached(host.strip("[]"), int(port), ca, now=now)):
        if found.state == "fault" and found.check in _HOPELESS:
            raise TrustError(found.found, advice=found.advice)


def _run(place: NodePlace) -> int:
    from wardround.common.flower.internals_node import run_supernode

    end_with_supervisor()
    plain_log()
    port = _free_port()
    place.desk.announce(port)
    try:
        run_supernode(place, port)
    except SystemExit as ended:
        if ended.code:
            print(_ADVICE, file=sys.stderr)
            return 1
        return 0
    except Exception:
        _log.exception("the SuperNode failed")
    _log.error("the SuperNode lost the coordinator for good and ends, to be started again")
    logging.shutdown()
    os._exit(1)  # Flower's door for the executor is a thread that would keep a deaf process up


def _free_port() -> int:
    """A port nobody listens on at this moment; if another program takes it first, the next start finds another."""
    with socket.create_server((LOOPBACK, 0)) as found:
        return int(found.getsockname()[1])


def _place(arguments: Sequence[str] | None) -> NodePlace:
    parser = argparse.ArgumentParser(
        prog="wardround-supernode", description="Flower's SuperNode, awake in time."
    )
    parser.add_argument("--superlink", required=True, help="the coordinator's address, host:port")
    for name, what in (
        ("ca", "the pinned certificate of the coordinator (PEM)"),
        ("key", "this node's private key (OpenSSH)"),
        ("home", "folder that SuperNode and executor share"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, help=what)
    return NodePlace(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    raise SystemExit(main())
