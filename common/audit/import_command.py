"""`wardround audit import`: what another system's run really spent."""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.common.audit.foreignclaims import Judged

_Parsers = argparse._SubParsersAction

_TEXT = (
    "Recompute the epsilon of runs of any other system from their hyper-parameters, and name the usual mistakes: "
    "shuffled batches accounted as Poisson samples, steps that were not counted, a new accountant every round, delta "
    "above one over the number of records, constants that depend on the number of records. Give files with [[run]] "
    "tables (docs/audit.md lists the fields), or one run as flags."
)
_NUMBERS = (
    ("--noise-multiplier", float, "SIGMA", "noise over clipping norm; or leave it out, to find it from the claim"),
    ("--sample-rate", float, "Q", "probability of a record per step"),
    ("--batch", int, "B", "records per step"),
    ("--records", int, "N", "records in all"),
    ("--steps", int, "T", "noisy steps that were run"),
    ("--rounds", int, "R", "federated rounds"),
    ("--local-steps", int, "S", "noisy steps per round"),
    ("--delta", float, "D", "delta of the claim"),
    ("--stated-epsilon", float, "E", "the claim"),
    ("--accounted-steps", int, "T", "steps that the accountant counted, where it counted others"),
)  # fmt: skip
_WORDS = (
    ("--sampling", ("poisson", "shuffled", "fixed-size", "full-batch"), "how a step's records were chosen"),
    ("--accountant", ("pld", "prv", "rdp", "moments", "gdp", "clt"), "with which the claim was computed"),
    ("--accounted", ("run", "round"), "`round`: every round began a new accountant"),
    ("--relation", ("add-or-remove", "replace-one"), "neighbouring relation of the claim"),
    ("--constants", ("public", "records"), "`records`: rate, normaliser or noise follow from their number"),
)  # fmt: skip


def register(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    """Add the verb; its `run` takes the arguments and gives an exit code."""
    command = verbs.add_parser("import", help="recompute another system's epsilon", description=_TEXT)
    command.add_argument("files", nargs="*", type=Path, metavar="FILE", help="runs as TOML or JSON")
    for flag, kind, name, text in _NUMBERS:
        command.add_argument(flag, type=kind, metavar=name, help=text)
    for flag, words, text in _WORDS:
        command.add_argument(flag, choices=words, help=text)
    command.add_argument("--json", action="store_true", help="print figures and findings as JSON")
    command.set_defaults(run=run_import)


def run_import(arguments: argparse.Namespace) -> int:
    """`wardround audit import`."""
    from wardround.common.audit.foreign import read_runs, run_of
    from wardround.common.audit.foreignclaims import judge
    from wardround.common.audit.verdicts import as_json, exit_code
    from wardround.common.errors import UsageError

    names = [flag[2:].replace("-", "_") for flag, *_ in (*_NUMBERS, *_WORDS)]
    flags = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if bool(flags) == bool(arguments.files):
        raise UsageError(
            "expected either files or the flags of one run", advice="wardround audit import --help"
        )
    runs = [run_of(flags, where="the flags")] if flags else []
    for path in arguments.files:
        runs += read_runs(path)
    judged = [judge(run) for run in runs]
    findings = [finding for one in judged for finding in one.findings]
    if arguments.json:
        print(as_json(findings, runs=[_figures(one) for one in judged]))
    else:
        print("\n\n".join("\n".join(_lines(one)) for one in judged))
    return exit_code(findings)


def _figures(judged: "Judged") -> dict[str, object]:
    """What was said and what was found; an infinite epsilon is null."""
    found = {name: value for name, value in asdict(judged).items() if name != "findings"}
    return {name: None if value == math.inf else value for name, value in found.items()}


def _lines(judged: "Judged") -> Iterator[str]:
    from wardround.common.audit.verdicts import as_text

    run = judged.run
    yield f"{run.name}{f' ({run.source})' if run.source else ''}"
    found = " (found from the claim)" if run.calibrated else ""
    yield f"  noise multiplier {judged.noise_multiplier:.4g}{found}, rate {run.rate:.4g}, {run.run_steps} steps"
    yield from (f"  {text:<52} {value:.3f}" for text, value in _epsilons(judged))
    yield as_text(judged.findings)


def _epsilons(judged: "Judged") -> Sequence[tuple[str, float]]:
    at, granted = f"at delta {judged.run.delta:g}", "" if judged.amplified else ", if Poisson"
    rows = [
        (f"epsilon {at}, add or remove one{granted}", judged.granted),
        (f"epsilon {at}, replace one{granted}", judged.replaced),
    ]
    if not judged.amplified:
        rows.append((f"epsilon {at}, whatever the order of records", judged.unamplified))
    if judged.same_method:
        rows.append((f"the same by {judged.run.accountant}", judged.same_method))
    return rows
