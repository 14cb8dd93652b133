"""The verbs of `wardround audit` that exercise training; they need the packages of `wardround[simulation]`."""

import argparse
import sys
from pathlib import Path

_Parsers = argparse._SubParsersAction


def extend(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    """Add the verbs to the group `audit`.

    Args:
        verbs: What `wardround.common.audit.commands.register` returned.
    """
    _add_conform(verbs)


def _add_conform(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    conform = verbs.add_parser(
        "conform",
        help="does the installed code add the promised noise, on synthetic patients",
        description="Drive the installed hospital with signed tasks on synthetic patients, and compare what leaves it "
        "with what its protocols promise: noise, clipping, sampling, public constants, freshness, refusals. Speaks "
        "about this installation only. Exit code 1 if it does not conform.",
    )
    conform.add_argument("--only", nargs="+", default=[], metavar="STUDY", help="run only these studies")
    conform.add_argument("--out", type=Path, metavar="FILE", help="write the signed report here; needs --key")
    conform.add_argument("--key", type=Path, metavar="PEM", help="private key that signs the report")
    conform.add_argument("--json", action="store_true", help="print the report as JSON")
    conform.set_defaults(run=run_conform)


def run_conform(chosen: argparse.Namespace) -> int:
    """`wardround audit conform`."""
    from wardround.common.errors import UsageError
    from wardround.common.trust.identity import SigningKey
    from wardround.simulations.conformance import NAMES, as_json, conform, in_words, write_report
    from wardround.simulations.progress import shown

    if (chosen.out is None) != (chosen.key is None):
        raise UsageError(
            "expected --out and --key together, found one", advice="a report is signed, or printed"
        )
    key = None if chosen.key is None else SigningKey.load(chosen.key)
    with shown("conform") as step:
        found = conform(chosen.only or NAMES, step=step)
    print(as_json(found) if chosen.json else in_words(found))
    if key is not None:
        write_report(found, chosen.out, key)
        print(f"Signed report: {chosen.out}", file=sys.stderr)
    return 1 if found.failed else 0
