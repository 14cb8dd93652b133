"""`wardround rehearse`: the dress rehearsal of a study, before hospitals join for real."""

import argparse
import json
import sys
from pathlib import Path
from typing import Final

_WORD: Final = (
    "A rehearsal's ledgers are thrown away: what it released is counted nowhere. Keep the folder where the patients' "
    "data may be, and do not hand the model on."
)

_FEWER: Final = (
    "The rehearsal's protocol lists only the hospitals that take part; its privacy is the study's."
)


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the root parser."""
    rehearse = subparsers.add_parser(
        "rehearse",
        help="run a study over real processes on this machine, as hospitals would",
        description="Start a coordinator and hospitals as processes of their own on loopback, with real TLS and keys, "
        "let them join, approve and run the study, and end them all. Folders and ledgers are copies.",
    )
    rehearse.add_argument("study", type=Path, metavar="STUDY", help="the study.toml")
    source = rehearse.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--sites", type=Path, metavar="DIR", help="one sub-folder per hospital, with site.toml; not changed"
    )
    source.add_argument("--table", type=Path, metavar="FILE", help="one table that names a hospital per row")
    rehearse.add_argument("--site-column", metavar="NAME", help="with --table: the column of the hospital")
    rehearse.add_argument(
        "--hospitals",
        type=int,
        default=0,
        metavar="N",
        help="how many take part, the largest first (three, or all if there are fewer)",
    )
    rehearse.add_argument(
        "--cohort",
        choices=("private", "public", "synthetic"),
        default="private",
        help="with --table: what its patients are; mechanism 'none' needs public or synthetic",
    )
    rehearse.add_argument("--seed", type=int, default=0, help="of who is held out, with --table (0)")
    rehearse.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder, new or empty")
    rehearse.add_argument("--json", action="store_true", help="print the study's results.json at the end")
    rehearse.set_defaults(run=run_rehearse)


def run_rehearse(chosen: argparse.Namespace) -> int:
    """`wardround rehearse`."""
    from wardround.simulations.planning import consortium_of, load_study
    from wardround.simulations.progress import shown
    from wardround.simulations.rehearsal import Rehearsal, rehearse
    from wardround.simulations.rehearsalsites import among, largest

    protocol, folder = load_study(chosen.study, seed=chosen.seed)
    consortium = consortium_of(
        protocol,
        folder,
        sites=chosen.sites,
        table=chosen.table,
        site_column=chosen.site_column,
        out=chosen.out,
        cohort=chosen.cohort,
        seed=chosen.seed,
    )
    hospitals = largest(consortium, chosen.hospitals)
    if (rehearsed := among(protocol, hospitals)) != protocol:
        print(_FEWER, file=sys.stderr)
    rehearsal = Rehearsal(
        protocol=rehearsed,
        source=folder,
        consortium=consortium,
        chosen=hospitals,
        site_column=chosen.site_column or "",
        seed=chosen.seed,
    )
    with shown(protocol.study.name) as step:
        results = rehearse(rehearsal, chosen.out, step=step)
    _conclude(chosen, results, hospitals=len(hospitals))
    return 0


def _conclude(chosen: argparse.Namespace, results: Path, *, hospitals: int) -> None:
    found = (results / "results.json").read_text(encoding="utf-8")
    print(_WORD, file=sys.stderr)
    if chosen.json:
        print(found, end="")
        return
    rounds = json.loads(found)["rounds"]
    print(f"{rounds} rounds over {hospitals} hospitals; every process has ended.")
    print(f"Coordinator: {chosen.out / 'coordinator'}")
    print(f"Hospitals: {chosen.out / 'hospitals'}")
    print(f"Report: {results / 'report.md'}")
