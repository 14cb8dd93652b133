"""`wardround site up|down|status|logs`: the hospital's two processes, from one terminal or under systemd."""

import argparse
import contextlib
import time
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
_CLEAR = "\033[H\033[2J"
_REST = 1.0  # seconds
_WHOSE = "the site's own folder, with site.toml"


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the commands to `wardround site`; each one's `run` takes the arguments and gives an exit code."""
    text = (
        "Start the SuperNode (outbound to the coordinator) and the executor (computes), and start them again if they "
        "end. Stays in the foreground; Ctrl-C or `site down` stops both. Only what was approved here is answered."
    )
    up = add_up(commands, text, _WHOSE)
    up.add_argument(
        "--metrics-port",
        type=int,
        metavar="N",
        help="numbers for Prometheus at 127.0.0.1:N (none)",
    )
    up.set_defaults(run=run_up)
    runs = {"down": run_down, "status": run_status, "logs": run_logs}
    status = add_others(commands, _WHOSE, runs)
    status.add_argument("--watch", action="store_true", help="show it anew every second until Ctrl-C")


def run_up(arguments: argparse.Namespace) -> int:
    """`wardround site up`."""
    if arguments.detach:
        return _detach(arguments.folder, arguments.metrics_port)
    from wardround.client.processes import up

    folder = arguments.folder.absolute()
    with contextlib.ExitStack() as stack:
        if arguments.metrics_port is not None:
            from wardround.client.metricsport import serve_metrics

            stack.enter_context(serve_metrics(folder, arguments.metrics_port))
        up(folder, say=say)
    return 0


def _detach(folder: Path, metrics_port: int | None) -> int:
    from wardround.client.joining import Pinned
    from wardround.client.policy import SitePolicy
    from wardround.common.trust.keyfile import PASSPHRASE, passphrase_for

    Pinned.load(folder)
    passphrase = passphrase_for(SitePolicy.load(folder / "site.toml").identity)
    options = () if metrics_port is None else ("--metrics-port", str(metrics_port))
    secret = {PASSPHRASE: passphrase} if passphrase else {}
    return detach(_role(), folder.absolute(), options=options, secret=secret)


def run_down(arguments: argparse.Namespace) -> int:
    """`wardround site down`."""
    return stop_all(_role(), arguments.folder)


def run_status(arguments: argparse.Namespace) -> int:
    """`wardround site status`."""
    role, folder = _role(), arguments.folder
    if arguments.json:
        return show_json(role, folder)
    if not arguments.watch:
        return show_status(role, folder, more=lambda: _live(folder))
    while True:
        print(_CLEAR, end="")
        show_status(role, folder, more=lambda: _live(folder))
        time.sleep(_REST)


def _live(folder: Path) -> Sequence[str]:
    """Round, budget, bytes out and last release: nothing that was computed from a patient."""
    from wardround.client.liveview import lines, live_view

    return lines(live_view(folder))


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
