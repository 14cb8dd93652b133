"""`wardround site up|down|status|logs`: the hospital's two processes, from one terminal or under systemd."""

import argparse
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
_WHOSE = "the site's own folder, with site.toml"


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the commands to `wardround site`; each one's `run` takes the arguments and gives an exit code."""
    text = (
        "Start the SuperNode (outbound to the coordinator) and the executor (computes), and start them again if they "
        "end. Stays in the foreground; Ctrl-C or `site down` stops both. Only what was approved here is answered."
    )
    up = add_up(commands, text, _WHOSE)
    up.set_defaults(run=run_up)
    runs = {"down": run_down, "status": run_status, "logs": run_logs}
    add_others(commands, _WHOSE, runs)


def run_up(arguments: argparse.Namespace) -> int:
    """`wardround site up`."""
    if arguments.detach:
        return _detach(arguments.folder)
    from wardround.client.processes import up

    up(arguments.folder.absolute(), say=say)
    return 0


def _detach(folder: Path) -> int:
    from wardround.client.joining import Pinned
    from wardround.client.policy import SitePolicy
    from wardround.common.trust.keyfile import PASSPHRASE, passphrase_for

    Pinned.load(folder)
    passphrase = passphrase_for(SitePolicy.load(folder / "site.toml").identity)
    return detach(_role(), folder.absolute(), secret={PASSPHRASE: passphrase} if passphrase else {})


def run_down(arguments: argparse.Namespace) -> int:
    """`wardround site down`."""
    return stop_all(_role(), arguments.folder)


def run_status(arguments: argparse.Namespace) -> int:
    """`wardround site status`."""
    return (show_json if arguments.json else show_status)(_role(), arguments.folder)


def run_logs(arguments: argparse.Namespace) -> int:
    """`wardround site logs`."""
    return show_logs(_role(), arguments.folder, arguments)


def _role() -> Role:
    from wardround.client.policy import SitePolicy
    from wardround.client.processes import NAMES, home, logs

    return Role(
        group="site",
        names=NAMES,
        home=home,
        logs=logs,
        check=lambda folder: SitePolicy.load(folder / "site.toml"),
    )
