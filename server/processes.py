"""What a coordinator's computer runs all the time: the SuperLink, and the log service if `server.toml` has one.

And Flower's list of nodes, kept equal to the roster: it is brought up to date whenever the SuperLink became ready and
whenever a hospital was enrolled, removed or given new keys while it runs, so that none of these needs a restart.
"""

import random
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from wardround.common.audit.logwire import READY
from wardround.common.durable import stamp
from wardround.common.errors import WardroundError
from wardround.common.flower.health import healthy, shows_certificate
from wardround.common.flower.places import LOOPBACK, LinkPlace, environment, superlink_command
from wardround.common.flower.version import require_supported
from wardround.common.processes import Program, Supervisor, end_on_signals
from wardround.common.processfile import only_one
from wardround.common.trust.certcheck import check_server_certificate
from wardround.common.trust.keyfile import PASSPHRASE
from wardround.common.trust.signed import utc_now
from wardround.server.enrolment import members
from wardround.server.serverfile import ServerFile

UP: Final = "wardround server up"
NAMES: Final = ("superlink", "logservice")
_LOOK: Final = 1.0  # seconds between two looks at the roster
_AGAIN: Final = 5.0  # seconds until Flower's list is tried again

Say = Callable[[str], None]


def up(folder: Path, *, say: Say) -> None:
    """Run the coordinator's processes until SIGTERM, Ctrl-C or a closed terminal.

    Args:
        folder: The coordinator's folder.
        say: Gets one line per event.

    Raises:
        UsageError: Flower has another version.
        StudyError: The folder is up already, or a process ended again and again.
        StorageError: Something cannot be read or written.
        TrustError: The members' log was changed, or hospitals would refuse the server's certificate.
    """
    require_supported()
    server = ServerFile.load(folder)
    members(folder)  # a damaged log is said now, not in a thread later
    _check_certificate(server)
    place = server.link_place()
    with only_one(place.home, UP):
        place.prepare()
        supervisor = Supervisor(
            programs(server), home=place.home, logs=server.logs, say=say, jitter=random.SystemRandom()
        )
        end_on_signals(supervisor)
        keeper = threading.Thread(target=keep_equal, args=(folder, supervisor), daemon=True)
        keeper.start()
        supervisor.run()


def _check_certificate(server: ServerFile) -> None:
    """An expired certificate is named here; from far away it looks like a network that is down."""
    shown, ca = server.certificate.read_bytes(), server.ca.read_bytes()
    where = str(server.certificate)
    check_server_certificate(shown, ca, host=server.host, now=utc_now(), where=where)


def programs(server: ServerFile) -> tuple[Program, ...]:
    """The SuperLink of a coordinator, and its log service if it has one; neither gets a passphrase."""
    place = server.link_place()
    bare = {name: value for name, value in environment().items() if name != PASSPHRASE}
    link = Program(
        name=NAMES[0],
        command=superlink_command(place),
        environment=bare,
        ready=lambda _: healthy(place.loopback, place.ca),
    )
    if not server.log_port:
        return (link,)
    folder, key = str(server.folder.absolute()), server.key().public.encode()
    log = Program(
        name=NAMES[1],
        command=[sys.executable, "-m", "wardround.server.logservice", folder, "--coordinator", key],
        environment={**bare, "GRPC_VERBOSITY": "ERROR"},  # strangers' failed handshakes would fill the log
        ready=lambda _: shows_certificate(f"{LOOPBACK}:{server.log_port}", server.ca),
        announces=READY,
    )
    return (link, log)


def keep_equal(folder: Path, supervisor: Supervisor) -> None:
    """Keep Flower's list of nodes equal to the roster until the supervisor ends: for a thread.

    Args:
        folder: The coordinator's folder.
        supervisor: Of its SuperLink.
    """
    server = ServerFile.load(folder)
    done: object = None
    while not supervisor.ending:
        link = supervisor.standing.processes[0]
        now = (link.pid, stamp(server.members))
        if link.ready and now != done:
            if _synchronise(folder, server.link_place(), supervisor.say):
                done = now
            else:
                time.sleep(_AGAIN)
        time.sleep(_LOOK)


def _synchronise(folder: Path, place: LinkPlace, say: Say) -> bool:
    from wardround.common.flower.nodes import synchronise

    try:
        changes = synchronise(place, members(folder))
    except WardroundError as error:
        say(f"the list of nodes could not be brought up to date: {error}")
        return False
    if changes.added:
        say(f"may connect now: {', '.join(changes.added)}")
    if changes.removed:
        say(f"may not connect any more: {', '.join(changes.removed)}")
    return True
