"""`wardround server bundle`: the record of one study, in copies, for an auditor."""

import argparse
from pathlib import Path

_Groups = argparse._SubParsersAction


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to `wardround server`; its `run` takes the arguments and gives an exit code."""
    text = (
        "Copy the record of one study into a new folder for an auditor: the protocol, every signed line of the log, "
        "what the hospitals cosigned, the archive of their replies, the claim and the model. Nothing in it is private. "
        "Hospitals add theirs with `wardround site bundle`; `wardround audit verify` reads them together."
    )
    bundle = commands.add_parser("bundle", help="copy a study's record for an auditor", description=text)
    bundle.add_argument("folder", type=Path, metavar="DIR", help="the coordinator's own folder")
    bundle.add_argument("study", metavar="STUDY", help="name of a study that began")
    bundle.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to make")
    bundle.set_defaults(run=run_bundle)


def run_bundle(chosen: argparse.Namespace) -> int:
    """`wardround server bundle`."""
    from wardround.server.handing import hand_over

    print(f"Bundle: {hand_over(chosen.folder, chosen.study, chosen.out)}")
    return 0
