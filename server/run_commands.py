"""`wardround server start`: run a published study from the coordinator's terminal."""

import argparse
import sys
from pathlib import Path

_Groups = argparse._SubParsersAction


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to `wardround server`; its `run` takes the arguments and gives an exit code."""
    text = (
        "Run a published study to its end, from its last checkpoint if it was interrupted. Waits for the hospitals, "
        "shows who is there and how far each round is, and writes DIR/studies/STUDY/run. `wardround server up DIR` "
        "must run on this machine. Ctrl-C stops; the same command goes on from there."
    )
    start = commands.add_parser("start", help="run a published study", description=text)
    start.add_argument("folder", type=Path, metavar="DIR", help="the coordinator's own folder")
    start.add_argument("study", metavar="STUDY", help="name of a published study")
    start.add_argument(
        "--wait",
        type=float,
        default=120.0,
        metavar="S",
        help="seconds to wait for all hospitals; then a quorum begins, and others join later (120)",
    )
    start.add_argument(
        "--round-limit",
        type=float,
        default=3600.0,
        metavar="S",
        help="seconds to wait for the answers of one round (3600)",
    )
    start.add_argument("--json", action="store_true", help="print results.json at the end")
    start.set_defaults(run=run_start)


def run_start(chosen: argparse.Namespace) -> int:
    """`wardround server start`."""
    from dataclasses import replace

    from wardround.common.checks import positive
    from wardround.common.flower.lifeline import end_with_supervisor
    from wardround.server.running import DEPLOYED, published, run_study
    from wardround.server.serverfile import ServerFile
    from wardround.server.startscreen import Screen

    end_with_supervisor()
    positive(wait=chosen.wait, round_limit=chosen.round_limit)
    protocol = published(ServerFile.load(chosen.folder), chosen.study).protocol
    screen = Screen(sys.stderr, study=chosen.study, rounds=protocol.federation.rounds)
    waiting = replace(DEPLOYED, sites=chosen.wait, replies=chosen.round_limit)
    run = run_study(chosen.folder, chosen.study, watch=screen, waiting=waiting, say=screen.line)
    if chosen.json:
        print((run / "results.json").read_text(encoding="utf-8"), end="")
    else:
        print(f"Model: {run / 'model.safetensors'}\nReport: {run / 'report.md'}")
    return 0
