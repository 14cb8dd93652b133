"""`wardround demo`, `simulate`, `report` and `bench`: what a researcher types."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.simulations.results import Results


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the four commands to the root parser."""
    _register_demo(subparsers)
    _register_simulate(subparsers)
    report = subparsers.add_parser(
        "report",
        help="write report and model card of a finished run again",
        description="Nothing is trained or measured again: report.html is a view of results.json, and the model card "
        "(model-card.json, model-card.html) of results, protocol and model. Of a study between hospitals only the "
        "card is written: its report.md stays.",
    )
    report.add_argument("folder", type=Path, metavar="RUN", help="folder of a finished run or study")
    report.set_defaults(run=_report)
    bench = subparsers.add_parser(
        "bench",
        help="measure the framework's overhead",
        description="Time and memory beside a plain torch loop of the same arithmetic, in pairs.",
    )
    bench.add_argument("--json", action="store_true", help="print one JSON value instead of a table")
    bench.add_argument(
        "--repeats", type=int, default=5, help="measured repetitions of each pair (default: 5)"
    )
    bench.set_defaults(run=_bench)


def _register_demo(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = subparsers.add_parser(
        "demo",
        help="run a generated consortium end to end and name its report",
        description="Five simulated hospitals, two studies, without privacy and with joint noise and site noise at "
        "epsilon 1, 3 and 8. A minute or two.",
    )
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default: runs/demo)")
    demo.add_argument("--seed", type=int, default=7, help="of the simulated world (default: 7)")
    demo.add_argument("--json", action="store_true", help="print one JSON value at the end")
    demo.set_defaults(run=_demo)


def _register_simulate(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    simulate = subparsers.add_parser(
        "simulate",
        help="run a study over local tables as if each were a hospital",
        description="Repeat the same command to resume an interrupted run.",
    )
    simulate.add_argument("study", type=Path, metavar="STUDY", help="the study.toml")
    source = simulate.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--sites", type=Path, metavar="DIR", help="one sub-folder per hospital, with site.toml"
    )
    source.add_argument("--table", type=Path, metavar="FILE", help="one table that names a hospital per row")
    simulate.add_argument("--site-column", metavar="NAME", help="with --table: the column of the hospital")
    simulate.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder")
    simulate.add_argument(
        "--cohort",
        choices=("private", "public", "synthetic"),
        default="private",
        help="with --table: what its patients are; mechanism 'none' needs public or synthetic",
    )
    simulate.add_argument("--backend", choices=("inline", "ray"), default="inline", help="where sites run")
    simulate.add_argument("--seed", type=int, default=0, help="of splits and intervals (default: 0)")
    simulate.add_argument(
        "--folds", type=int, default=0, metavar="K", help="K-fold cross-validation, with --table"
    )
    simulate.add_argument(
        "--leave-one-out",
        action="store_const",
        const="yes",
        default="no",
        help="also train without each site in turn and test on it; each is charged",
    )
    simulate.add_argument("--json", action="store_true", help="print results.json at the end")
    simulate.set_defaults(run=_simulate)


def _simulate(chosen: argparse.Namespace) -> int:
    from wardround.simulations.planning import consortium_of, load_study, plan
    from wardround.simulations.progress import shown
    from wardround.simulations.run import simulate

    protocol, folder = load_study(chosen.study, seed=chosen.seed)
    source = {
        name: getattr(chosen, name) for name in ("sites", "table", "site_column", "out", "cohort", "seed")
    }
    consortium = consortium_of(protocol, folder, **source)
    options = {name: getattr(chosen, name) for name in ("backend", "seed", "folds", "leave_one_out")}
    with shown(protocol.study.name) as step:
        results = simulate(plan(protocol, folder, consortium, **options), chosen.out, step=step)
    _conclude(chosen, [results], chosen.out / "report.html")
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from wardround.simulations.comparison import assumption, prices
    from wardround.simulations.demo import run_demo

    results = run_demo(chosen.out, seed=chosen.seed)
    if chosen.json:
        _conclude(chosen, results, chosen.out / "report.html")
        return 0
    print("\n".join([*prices(results), assumption(results), f"Report: {chosen.out / 'report.html'}"]))
    return 0


def _report(chosen: argparse.Namespace) -> int:
    from wardround.common.card.page import PAGE_NAME
    from wardround.common.learning.released import ReleasedModel
    from wardround.server import cardfacts as deployed
    from wardround.simulations.cardfacts import write_model_card
    from wardround.simulations.report import write_report
    from wardround.simulations.results import Results
    from wardround.simulations.runfolder import open_run

    if deployed.is_deployed(chosen.folder):
        deployed.rewrite(chosen.folder)
    else:
        run = open_run(chosen.folder)
        results, model = Results.load(run.results), ReleasedModel.load(run.model)
        print(f"Report: {write_report(results, model.protocol, run.path)}")
        write_model_card(results, model, run.path)
    print(f"Model card: {chosen.folder / PAGE_NAME}")
    return 0


def _bench(chosen: argparse.Namespace) -> int:
    from wardround.simulations.benchmarks import run_benchmarks

    rows = run_benchmarks(repeats=chosen.repeats)
    print(json.dumps([row.as_json() for row in rows], indent=1) if chosen.json else "\n".join(map(str, rows)))
    return 0


def _conclude(chosen: argparse.Namespace, results: Sequence["Results"], report: Path) -> None:
    """The last lines of a run: what every hospital gains, what was spent, where the report is."""
    from wardround.simulations.digest import in_words

    if chosen.json:
        print(json.dumps([one.as_json() for one in results] if len(results) > 1 else results[0].as_json()))
        print(f"Report: {report}", file=sys.stderr)
        return
    for one in results:
        print(in_words(one))
    print(f"Report: {report}")
