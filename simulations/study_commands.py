"""`wardround study`: from a table to a protocol that people can sign. `plan` stands in `plan_command`."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

    from wardround.common.study.outcomes import Outcome

from wardround.simulations import plan_command

Subparsers = argparse._SubParsersAction

PATIENT_COLUMNS: Final = (
    "patient_id",
    "patient",
    "patientid",
    "pid",
    "subject_id",
    "subject",
    "mrn",
    "case_id",
    "id",
)
"""Names, in lower case, under which `draft` looks for the patient column."""


def register(subparsers: "Subparsers[argparse.ArgumentParser]") -> None:
    """Add `study` and its commands to the root parser."""
    study = subparsers.add_parser(
        "study",
        help="draft, plan, check and explain a study protocol",
        description="A study is one public file, study.toml, that every party signs by its digest.",
    )
    commands = study.add_subparsers(dest="study_command", metavar="COMMAND", required=True)
    _register_draft(commands)
    _register_split(commands)
    check = commands.add_parser(
        "check",
        help="say what a protocol is, what it costs, and what is doubtful",
        description="Reads the protocol only; no patient's data is needed.",
    )
    check.add_argument("study", type=Path, metavar="STUDY", help="the study.toml")
    check.add_argument("--json", action="store_true", help="print one JSON value")
    check.set_defaults(run=_check)
    plan_command.register(commands)
    explain = commands.add_parser(
        "explain",
        help="what a key of study.toml means",
        description="Meaning, type, unit and default of a key; without one, the list of all keys.",
    )
    explain.add_argument(
        "key", nargs="?", default="", metavar="KEY", help="e.g. privacy.delta; absent: list all"
    )
    explain.set_defaults(run=_explain)


def _register_draft(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    draft = commands.add_parser(
        "draft",
        help="write a first protocol from a table",
        description="Constants are drafted from the table: results with them are not private.",
    )
    _add_table(draft)
    draft.add_argument("--outcome", metavar="COL", help="column of a class, a yes or no, or a number")
    draft.add_argument("--time", metavar="COL", help="survival: column of the follow-up time")
    draft.add_argument("--event", metavar="COL", help="survival: column that says if the event was observed")
    draft.add_argument("--unit", choices=("days", "months", "years"), help="survival: unit of the time")
    draft.add_argument(
        "--positive",
        action="append",
        default=[],
        metavar="V",
        help="spelling that means yes; may be repeated",
    )
    draft.add_argument(
        "--patient-column", metavar="P", help="patient identifier (default: guessed by its name)"
    )
    draft.add_argument("--name", help="of the study (default: from the outcome)")
    draft.add_argument(
        "--mechanism",
        choices=("joint-noise", "site-noise", "none"),
        default="site-noise",
        help="privacy mechanism (default: site-noise; joint-noise counts on all hospitals but one)",
    )
    draft.add_argument("--exclude", nargs="+", default=[], metavar="COL", help="columns that are no features")
    draft.add_argument(
        "--out", type=Path, default=Path("study.toml"), help="file to write (default: study.toml)"
    )
    draft.set_defaults(run=_draft)


def _register_split(commands: "Subparsers[argparse.ArgumentParser]") -> None:
    split = commands.add_parser(
        "split",
        help="write one folder per hospital, each with its table and policy",
        description="For rehearsals on one table: `wardround simulate STUDY --sites DIR` runs what this writes.",
    )
    _add_table(split)
    split.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the hospitals' folders"
    )
    split.add_argument(
        "--cohort",
        choices=("private", "public", "synthetic"),
        default="private",
        help="what the patients are (default: private)",
    )
    split.add_argument(
        "--epsilon-cap",
        type=float,
        default=8.0,
        metavar="E",
        help="lifetime cap of each hospital's patients, at delta 1e-5 (default: 8)",
    )
    split.set_defaults(run=_split)


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--table", type=Path, required=True, metavar="T", help="CSV, TSV or Parquet, also gzipped"
    )
    parser.add_argument("--site-column", required=True, metavar="S", help="column that names the hospital")


def _draft(chosen: argparse.Namespace) -> int:
    from wardround.common.durable import write_atomic
    from wardround.common.errors import UsageError
    from wardround.common.study.draft import draft
    from wardround.common.study.reader import dumps

    if chosen.out.exists():
        raise UsageError(f"{chosen.out} exists already", advice="choose another --out, or move it away")
    frame = _read(chosen.table, chosen.site_column, chosen.patient_column)
    outcome = _outcome(chosen, frame)
    protocol = draft(
        frame,
        name=chosen.name or _study_name(chosen.outcome or chosen.event),
        outcome=outcome,
        patient_column=chosen.patient_column or _patient_column(list(frame.columns)),
        site_column=chosen.site_column,
        exclude=chosen.exclude,
        mechanism=chosen.mechanism,
    )
    write_atomic(chosen.out, dumps(protocol).encode())
    for note in protocol.study.notes:
        print(f"- {note}")
    print(f"Wrote {chosen.out}: {len(protocol.features)} features. Next: wardround study check {chosen.out}")
    return 0


def _read(path: Path, *verbatim: str | None) -> "pd.DataFrame":
    from wardround.client.tables import read_table

    return read_table(path, verbatim=[name for name in verbatim if name])


def _outcome(chosen: argparse.Namespace, frame: "pd.DataFrame") -> "Outcome":
    from wardround.common.errors import UsageError
    from wardround.common.study.draft_outcome import guess_outcome, guess_survival

    survival = (chosen.time, chosen.event, chosen.unit)
    if chosen.outcome and not any(survival):
        return guess_outcome(frame, chosen.outcome, positive=chosen.positive)
    if chosen.outcome or not all(survival):
        raise UsageError("name the outcome: either --outcome, or all of --time, --event and --unit")
    return guess_survival(
        frame, time=chosen.time, event=chosen.event, unit=chosen.unit, positive=chosen.positive
    )


def _patient_column(columns: Sequence[str]) -> str:
    from wardround.common.errors import UsageError

    by_name = {name.casefold(): name for name in reversed(columns)}
    found = next((by_name[name] for name in PATIENT_COLUMNS if name in by_name), None)
    if found is None:
        raise UsageError(
            "no column looks like a patient identifier",
            advice="name it with --patient-column; without one, rows of one patient cannot be protected together",
        )
    return found


def _study_name(column: str) -> str:
    words = "".join(character if character.isascii() and character.isalnum() else " " for character in column)
    return "-".join(words.lower().split()) or "study"


def _split(chosen: argparse.Namespace) -> int:
    from wardround.client.sitefile import FirstPolicy
    from wardround.simulations.splitting import TABLE, split_table

    # No cell changes on its way to a hospital: a patient or a hospital may be called NA.
    frame = _read(chosen.table, *_read(chosen.table).columns)
    first = FirstPolicy(
        site=chosen.site_column, table=Path(TABLE), cohort=chosen.cohort, epsilon_cap=chosen.epsilon_cap
    )
    folders = split_table(frame, chosen.site_column, chosen.out, first)
    print(f"Wrote {len(folders)} hospitals below {chosen.out}. Read each site.toml: its limits are defaults.")
    return 0


def _explain(chosen: argparse.Namespace) -> int:
    from wardround.common.study.explain import explain

    print(explain(chosen.key))
    return 0


def _check(chosen: argparse.Namespace) -> int:
    from wardround.common.study.reader import load
    from wardround.simulations.study_check import lines
    from wardround.simulations.study_facts import study_facts

    facts = study_facts(load(chosen.study), chosen.study.resolve().parent)
    print(json.dumps(facts.as_json(), indent=1) if chosen.json else "\n".join(lines(facts)))
    return 0
