"""What a hospital's computer runs: the SuperNode, which talks to the coordinator, and the executor, which computes.

The SuperNode sees no patient and holds no key of the hospital's identity; the executor reaches no network but the
SuperNode's door on loopback. Only the executor is given the passphrase of the identity key.
"""

import random
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from wardround.client.joining import FLOWER, node_place
from wardround.client.policy import SitePolicy
from wardround.client.sitefile import FILE
from wardround.common.errors import StorageError
from wardround.common.flower.health import healthy
from wardround.common.flower.places import Desk, NodePlace, environment, supernode_command
from wardround.common.flower.version import require_supported
from wardround.common.processes import Program, Supervisor, end_on_signals
from wardround.common.processfile import only_one
from wardround.common.processlogs import own_lines
from wardround.common.trust.keyfile import PASSPHRASE, passphrase_for

UP: Final = "wardround site up"
NAMES: Final = ("supernode", "executor")
_CONNECTED: Final = "flwr: SuperNode ID: "  # what Flower logs once the coordinator has let it in


def up(folder: Path, *, say: Callable[[str], None]) -> None:
    """Run the hospital's processes until SIGTERM, Ctrl-C or a closed terminal.

    Args:
        folder: The site's folder.
        say: Gets one line per event.

    Raises:
        UsageError: This hospital has not joined yet, or Flower has another version.
        TrustError: A private key is readable by others, or its passphrase is missing or wrong.
        StudyError: The folder is up already, or a process ended again and again.
        StorageError: Something cannot be read or written.
    """
    require_supported()
    policy, place = SitePolicy.load(folder / FILE), node_place(folder)
    passphrase = passphrase_for(policy.identity)
    with only_one(place.home, UP):
        supervisor = Supervisor(
            programs(folder, place, passphrase=passphrase),
            home=place.home,
            logs=logs(folder),
            say=say,
            jitter=random.SystemRandom(),
        )
        end_on_signals(supervisor)
        supervisor.run()


def programs(folder: Path, place: NodePlace, *, passphrase: str) -> tuple[Program, Program]:
    """SuperNode and executor of a hospital.

    Args:
        folder: The site's folder.
        place: Where its SuperNode stands.
        passphrase: Of the identity key; empty for none.
    """
    bare = environment_without_passphrase()
    secret: Mapping[str, str] = {PASSPHRASE: passphrase} if passphrase else {}
    node, executor = NAMES
    return (
        Program(
            name=node,
            command=supernode_command(place),
            environment=bare,
            ready=lambda _: _node_ready(place.desk),
            announces=_CONNECTED,
        ),
        Program(
            name=executor,
            command=[sys.executable, "-m", "wardround.client.executor", str(folder)],
            environment={**bare, **secret},
            ready=lambda pid: place.desk.waiting() == pid,
            keep=own_lines,
        ),
    )


def environment_without_passphrase() -> dict[str, str]:
    """The environment of a process that must not open the identity key."""
    return {name: value for name, value in environment().items() if name != PASSPHRASE}


def home(folder: Path) -> Path:
    """What SuperNode and executor share."""
    return folder / FLOWER


def logs(folder: Path) -> Path:
    """The folder of the hospital's logs."""
    return folder / "logs"


def _node_ready(desk: Desk) -> bool:
    try:
        return healthy(desk.address(), desk.certificate)
    except StorageError:
        return False
