"""`wardround audit bundle`: a simulated run as the bundle that a deployment would hand over."""

import argparse
from pathlib import Path

_Parsers = argparse._SubParsersAction


def extend(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    """Add the verb to the group `audit`.

    Args:
        verbs: What `wardround.common.audit.commands.register` returned.
    """
    bundle = verbs.add_parser(
        "bundle",
        help="copy a simulated run's record for `verify`",
        description="Copy the record of a finished simulated run into a new folder, as coordinator and hospitals would "
        "hand it over: protocol, log, checkpoints, archive, claim, model, ledgers. What was measured on patients stays "
        "in the run folder.",
    )
    bundle.add_argument("folder", type=Path, metavar="RUN", help="folder of a finished run")
    bundle.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to make")
    bundle.add_argument(
        "--sites", type=Path, metavar="DIR", help="the folder that `simulate --sites` read, for the ledgers"
    )
    bundle.set_defaults(run=run_bundle)


def run_bundle(chosen: argparse.Namespace) -> int:
    """`wardround audit bundle`."""
    from wardround.simulations.handing import hand_over

    print(f"Bundle: {hand_over(chosen.folder, chosen.out, sites=chosen.sites)}")
    return 0
