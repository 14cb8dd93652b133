"""`wardround server up|down|status|logs`: the coordinator's processes, from one terminal or under systemd."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from wardround.common.upcommands import (
    Role,
    add_others,
    add_up,
    detach,
    say,
    show_json,
    show_logs,
    show_status,
    stop_all,
)

_Groups = argparse._SubParsersAction
_WHOSE = "the coordinator's own folder"


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the commands to `wardround server`; each one's `run` takes the arguments and gives an exit code."""
    text = (
        "Start the SuperLink, which hospitals dial, and the log service if server.toml has a log_port, and start them "
        "again if they end. Stays in the foreground; Ctrl-C or `server down` stops them. Studies are started with "
        "`server start` beside them."
    )
    add_up(commands, text, _WHOSE).set_defaults(run=run_up)
    runs = {"down": run_down, "status": run_status, "logs": run_logs}
    add_others(commands, _WHOSE, runs)


def run_up(arguments: argparse.Namespace) -> int:
    """`wardround server up`."""
    folder = arguments.folder.absolute()
    if arguments.detach:
        role = _role()
        role.check(folder)
        return detach(role, folder, secret={})
    from wardround.server.processes import up

    up(folder, say=say)
    return 0


def run_down(arguments: argparse.Namespace) -> int:
    """`wardround server down`."""
    return stop_all(_role(), arguments.folder)


def run_status(arguments: argparse.Namespace) -> int:
    """`wardround server status`."""
    if arguments.json:
        return show_json(_role(), arguments.folder)
    return show_status(_role(), arguments.folder, more=lambda: _hospitals(arguments.folder))


def run_logs(arguments: argparse.Namespace) -> int:
    """`wardround server logs`."""
    return show_logs(_role(), arguments.folder, arguments)


def _hospitals(folder: Path) -> Sequence[str]:
    """Which hospitals are connected, as the SuperLink sees it."""
    from wardround.common.errors import StudyError
    from wardround.common.flower.nodes import registered
    from wardround.server.serverfile import ServerFile

    try:
        nodes = registered(ServerFile.load(folder).link_place())
    except StudyError as error:
        return [f"Hospitals: {error}"]
    words = {"registered": "never seen", "online": "online", "offline": "offline"}
    shown = [f"  {node.name:<20} {words.get(node.status, node.status)}" for node in nodes]
    return ["Hospitals:", *shown] if shown else ["Hospitals: nobody is enrolled"]


def _role() -> Role:
    from wardround.server.processes import NAMES
    from wardround.server.serverfile import ServerFile

    return Role(
        group="server",
        names=NAMES,
        home=lambda folder: folder / "flower",
        logs=lambda folder: folder / "logs",
        check=ServerFile.load,
    )
