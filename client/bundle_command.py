"""`wardround site bundle`: what a hospital hands to an auditor, in copies."""

import argparse
from pathlib import Path

_Groups = argparse._SubParsersAction


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to `wardround site`; its `run` takes the arguments and gives an exit code."""
    text = (
        "Copy this hospital's own signed record of one study into a new folder for an auditor: its ledger, its "
        "approval, and how much of the study's log it cosigned. The ledger names every study of this patient pool with "
        "its price; nothing of a patient, of the policy or of the table is in it. Nothing is sent."
    )
    bundle = commands.add_parser("bundle", help="copy this site's record for an auditor", description=text)
    bundle.add_argument("folder", type=Path, metavar="DIR", help="the site's own folder, with site.toml")
    bundle.add_argument("--study", required=True, metavar="NAME", help="a study that was approved here")
    bundle.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to make")
    bundle.set_defaults(run=run_bundle)


def run_bundle(chosen: argparse.Namespace) -> int:
    """`wardround site bundle`."""
    from wardround.client.handing import hand_over

    print(f"Bundle: {hand_over(chosen.folder, chosen.study, chosen.out)}")
    return 0
