"""`wardround evaluate`: a released model on new patients, privately, and whether it drifted."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from wardround.common.learning.drift import Drift
    from wardround.common.learning.monitored import Monitored
    from wardround.common.study.protocol import StudyProtocol
    from wardround.simulations.monitoring import Watched

_Groups = argparse._SubParsersAction

DRIFTED: Final = 11
"""Exit code where performance or calibration drifted; 10 is that of a refuted claim."""


def register(subparsers: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to the root command; its `run` takes the arguments and gives an exit code."""
    command = subparsers.add_parser(
        "evaluate",
        help="evaluate a released model on new patients, and say whether it drifted",
        description="Repeat the private evaluation of a finished run on patients who came later, as a study of its "
        "own that trains nothing: one noised table, charged to held-out patients, compared with the table that was "
        "released with the model. Patients who trained are never counted. Ends with code 11 where performance or "
        "calibration drifted, with 0 where no drift was seen or too few patients were there to tell.",
    )
    command.add_argument(
        "run_folder", type=Path, metavar="RUN", help="folder of the run that released the model"
    )
    way = command.add_mutually_exclusive_group(required=True)
    way.add_argument(
        "--table", type=Path, metavar="FILE", help="simulation: new patients of the run's hospitals"
    )
    way.add_argument(
        "--sites",
        type=Path,
        metavar="DIR",
        help="simulation: the run's site folders, each with its new table",
    )
    way.add_argument(
        "--draft",
        type=Path,
        metavar="DIR",
        help="write the study for hospitals at a distance, to be published",
    )
    way.add_argument(
        "--compare",
        type=Path,
        metavar="AGAIN",
        help="only compare with a finished evaluation, and end with its code",
    )
    _options(command)
    command.set_defaults(run=run_evaluate)


def _options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--site-column", metavar="NAME", help="with --table: the column of the hospital")
    command.add_argument("--out", type=Path, metavar="AGAIN", help="with --table or --sites: where to write")
    command.add_argument(
        "--epsilon",
        type=float,
        metavar="E",
        help="of this evaluation, per held-out patient (default: as the first)",
    )
    command.add_argument(
        "--patients",
        default="new patients",
        metavar="TEXT",
        help="whom every table holds, in words for approval",
    )
    command.add_argument("--name", default="", metavar="NAME", help="of the study (default: STUDY-again)")
    command.add_argument(
        "--smallest-change",
        type=float,
        default=0.1,
        metavar="X",
        help="a change of the declared measure that must not go unnoticed (default: 0.1)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON value instead of text")


def run_evaluate(chosen: argparse.Namespace) -> int:
    """`wardround evaluate`."""
    from wardround.common.learning.monitored import Monitored

    found = Monitored.load(chosen.run_folder)
    if chosen.compare is not None:
        return _compare(chosen, found)
    protocol = _study(chosen, found)
    if chosen.draft is not None:
        return _draft(chosen, found, protocol)
    return _evaluate(chosen, found, protocol)


def _study(chosen: argparse.Namespace, found: "Monitored") -> "StudyProtocol":
    from wardround.common.learning.monitored import monitoring_study

    return monitoring_study(
        found,
        name=chosen.name or f"{found.model.protocol.study.name}-again",
        patients=chosen.patients,
        evaluation={} if chosen.epsilon is None else {"epsilon": chosen.epsilon},
        smallest_change=chosen.smallest_change,
    )


def _evaluate(chosen: argparse.Namespace, found: "Monitored", protocol: "StudyProtocol") -> int:
    from wardround.common.errors import UsageError
    from wardround.simulations.monitoring import evaluate_again, hospitals_of

    if chosen.out is None:
        raise UsageError("expected --out, where to write the evaluation", advice="give a new folder")
    if found.model.protocol.monitoring is not None:
        raise UsageError(
            f"{chosen.run_folder} evaluated a model that another run released",
            advice=f"give the run of study {found.trained_by[0]}: there are its hospitals, their splits and ledgers",
        )
    consortium, seed = hospitals_of(
        chosen.run_folder, protocol, sites=chosen.sites, table=chosen.table, site_column=chosen.site_column
    )
    watched = evaluate_again(found, protocol, consortium, run=chosen.run_folder, out=chosen.out, seed=seed)
    if chosen.json:
        _print_json(watched.results)
    else:
        _say(watched.drift)
        _say_budgets(watched)
        print(f"Report: {chosen.out / 'report.md'}")
    return DRIFTED if watched.drift.drifted else 0


def _compare(chosen: argparse.Namespace, found: "Monitored") -> int:
    from wardround.common.errors import UsageError
    from wardround.common.learning.drift import drift_of
    from wardround.common.learning.monitored import Monitored
    from wardround.server.evaluationclaim import drift_claim

    again = Monitored.load(chosen.compare)
    if again.model.protocol.monitoring is None:
        raise UsageError(
            f"{chosen.compare} trained a model of its own and evaluated no released one again",
            advice="give the run folder of a study with [monitoring]; `wardround evaluate RUN --table ...` makes one",
        )
    found.check(again.model.protocol)
    drift = drift_of(again.model.protocol, found.model.parameters, found.before, again.before)
    if chosen.json:
        _print_json(drift_claim(drift, found.before))
    else:
        _say(drift)
    return DRIFTED if drift.drifted else 0


def _draft(chosen: argparse.Namespace, found: "Monitored", protocol: "StudyProtocol") -> int:
    from wardround.common.errors import UsageError
    from wardround.common.learning.monitored import FOLDER
    from wardround.simulations.runfolder import RunFolder

    if chosen.draft.exists() and (not chosen.draft.is_dir() or any(chosen.draft.iterdir())):
        raise UsageError(
            f"{chosen.draft} is no empty folder", advice="choose another --draft; nothing was changed"
        )
    found.save(chosen.draft / FOLDER)
    folder = RunFolder(chosen.draft)
    folder.keep_protocol(protocol, chosen.run_folder)
    print(f"Wrote {folder.protocol}, and beside it the model and the table that it is compared with.")
    print(f"Read it, then: wardround server publish DIR {folder.protocol}")
    return 0


def _say(drift: "Drift") -> None:
    from wardround.server.driftpage import drift_lines
    from wardround.server.evaluationclaim import drift_numbers

    print("\n".join(drift_lines(drift_numbers(drift))))


def _say_budgets(watched: "Watched") -> None:
    from wardround.simulations.hospitals import UNLIMITED

    print("Epsilon of held-out patients over their lifetime, before and after:")
    for one in watched.budgets:
        cap = f"cap {one.cap:g}" if one.cap < UNLIMITED else "no cap"
        print(f"  {one.site}: {one.before:.3f} -> {one.after:.3f}, {cap}, at delta {one.delta:g}")


def _print_json(value: Any) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False))
