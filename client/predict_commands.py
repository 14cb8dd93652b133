"""`wardround predict`: a released model over a hospital's own table, offline, and how sure each answer is."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wardround.client.answerfile import Existing
    from wardround.client.answers import Answered
    from wardround.client.modelbeside import OpenedModel
    from wardround.client.predicting import Predicted
    from wardround.common.learning.attribution import Explanations
    from wardround.common.learning.conformal import CoverageFound
    from wardround.common.learning.uncertainty import Uncertainty

_Groups = argparse._SubParsersAction


def register(subparsers: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to the root command; its `run` takes the arguments and gives an exit code."""
    text = (
        "Apply a released model to a table of patients, on this computer alone: no network, no study that runs. Each "
        "patient gets a probability with an interval, a prediction set at a declared coverage, whether the patient is "
        "unlike the study's public reference, and reasons where the model was not made for the patient. Assistive: no "
        "diagnosis. The file holds identifiers and is readable by you alone; the screen shows counts only."
    )
    predict = subparsers.add_parser(
        "predict",
        help="apply a released model to a hospital's table, and say how sure it is",
        description=text,
    )
    predict.add_argument("model", type=Path, metavar="MODEL", help="model.safetensors, or a run folder")
    predict.add_argument(
        "--table", type=Path, required=True, metavar="FILE", help="CSV, TSV or Parquet, also .gz"
    )
    predict.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="what to write: .csv, .json or .parquet"
    )
    predict.add_argument("--replace", action="store_true", help="write over the file of --out")
    predict.add_argument(
        "--policy", type=Path, metavar="FILE", help="site.toml: the hospital's own column names"
    )
    predict.add_argument("--study", type=Path, metavar="FILE", help="study.toml that the model must be of")
    predict.add_argument("--digest", default="", metavar="SHA256", help="digest that the model must have")
    predict.add_argument(
        "--coverage",
        type=float,
        default=0.9,
        help="share of patients whose set holds the truth (default: 0.9)",
    )
    predict.add_argument(
        "--explain", action="store_true", help="also say which features move each answer, and how far"
    )
    predict.add_argument(
        "--check-coverage",
        action="store_true",
        help="the table holds outcomes: say how often the sets hold them at this hospital",
    )
    predict.set_defaults(run=run_predict)


def run_predict(chosen: argparse.Namespace) -> int:
    """`wardround predict`."""
    from wardround.client.answerfile import check_target, write_answers
    from wardround.client.answers import answers
    from wardround.client.modelbeside import open_model
    from wardround.client.predicting import MOST_KEPT, predict_table
    from wardround.client.predictprint import about, progress, report
    from wardround.client.tablestream import read_parts
    from wardround.common.checks import in_range
    from wardround.common.study.reader import load

    in_range(0.5, 0.995, coverage=chosen.coverage)
    check_target(chosen.out, chosen.table, _existing(chosen))
    protocol = None if chosen.study is None else load(chosen.study)
    opened = open_model(chosen.model, expected=chosen.digest, protocol=protocol)
    columns = _columns(chosen.policy)
    found = predict_table(
        opened.model,
        read_parts(chosen.table, verbatim=_verbatim(opened, columns)),
        name=chosen.table.name,
        columns=columns,
        keep=MOST_KEPT if chosen.explain else 0,
        step=progress,
    )
    sure = _uncertainty(opened, chosen.coverage)
    explanations = _explanations(opened, found) if chosen.explain else None
    answered = answers(opened.model, found, sure, explanations)
    coverage = _coverage(answered, chosen.coverage) if chosen.check_coverage else None
    write_answers(chosen.out, answered.table, about(opened, sure), _existing(chosen))
    for line in report(opened, found, answered, sure, explanations, coverage):
        print(line)
    print(f"Wrote {chosen.out}: {len(found.ids)} patients, readable by you alone.")
    return 0


def _existing(chosen: argparse.Namespace) -> "Existing":
    return "replace" if chosen.replace else "refuse"


def _columns(policy: Path | None) -> "Mapping[str, str]":
    from wardround.client.policy import SitePolicy

    return {} if policy is None else SitePolicy.load(policy).columns


def _verbatim(opened: "OpenedModel", columns: "Mapping[str, str]") -> tuple[str, ...]:
    from wardround.client.cohort import verbatim_columns

    return verbatim_columns(opened.model.protocol, columns=columns)


def _uncertainty(opened: "OpenedModel", coverage: float) -> "Uncertainty | None":
    from wardround.common.learning.uncertainty import Uncertainty

    if opened.calibration is None:
        return None
    return Uncertainty(
        outcome=opened.model.protocol.outcome, calibration=opened.calibration, coverage=coverage
    )


def _explanations(opened: "OpenedModel", found: "Predicted") -> "Explanations | None":
    from wardround.common.learning.attribution import explain

    return None if found.kept is None else explain(opened.model, *found.kept)


def _coverage(answered: "Answered", declared: float) -> "CoverageFound":
    import numpy as np

    from wardround.common.errors import UsageError
    from wardround.common.learning.conformal import coverage_found

    known = answered.held[np.isfinite(answered.held)]
    if not len(known):
        raise UsageError(
            "no patient has both a set and a known outcome, so no coverage can be measured",
            advice="add the outcome's column, or leave --check-coverage out",
        )
    return coverage_found(known > 0, declared)
