"""`wardround site`: what a hospital runs at its own desk.

`check` reads the table and says whether it fits a study; `ledger` says what the patient pool has spent. Keys,
joining and peers are in `join_commands`. Nothing here sends anything.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.client import bundle_command, join_commands, process_commands, review_commands

if TYPE_CHECKING:
    import pandas as pd

    from wardround.client.findings import CheckReport
    from wardround.common.study.protocol import StudyProtocol

_Groups = argparse._SubParsersAction


def register(subparsers: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the group `site` to the root command; each command's `run` takes the arguments and gives an exit code."""
    site = subparsers.add_parser(
        "site",
        help="what a hospital runs: check its table, its policy, its ledger",
        description="Everything stays in this hospital; what is printed is for its own staff.",
    )
    commands = site.add_subparsers(dest="site_command", metavar="COMMAND", required=True)
    _register_check(commands)
    join_commands.register(commands)
    _register_ledger(commands)
    review_commands.register(commands)
    bundle_command.register(commands)
    process_commands.register(commands)


def _register_check(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = "Does a table fit a study? Shows counts, never a patient's value. Exit code 4 if it does not fit."
    check = commands.add_parser("check", help="does a table fit a study?", description=text)
    check.add_argument("study", type=Path, metavar="STUDY", help="the study.toml")
    source = check.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", type=Path, metavar="FILE", help="CSV, TSV or Parquet, also .gz")
    source.add_argument(
        "--policy", type=Path, metavar="FILE", help="site.toml: its table, columns and minimum"
    )
    check.add_argument("--site-column", metavar="NAME", default="", help="the column that names the hospital")
    check.add_argument("--site", metavar="NAME", default="", help="check only the rows of this hospital")
    check.add_argument("--json", action="store_true", help="print the report as JSON")
    check.set_defaults(run=run_check)


def _register_ledger(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = "What the patient pool has spent, study by study, and what is left of its lifetime cap."
    ledger = commands.add_parser("ledger", help="what was spent and what is left", description=text)
    ledger.add_argument("folder", type=Path, metavar="DIR", help="the site's own folder, with site.toml")
    ledger.add_argument("--json", action="store_true", help="print the account as JSON")
    ledger.set_defaults(run=run_ledger)


def run_check(arguments: argparse.Namespace) -> int:
    """`wardround site check`: 0 if the table fits, 4 if not, 5 if the policy refuses the study."""
    from wardround.client.checkprint import print_report
    from wardround.common.errors import CohortError, UsageError
    from wardround.common.study.reader import load

    if arguments.site and arguments.table and not arguments.site_column:
        raise UsageError("--site needs --site-column, the column that names the hospital")
    protocol = load(arguments.study)
    if arguments.policy:
        report = _check_policy(protocol, arguments.policy)
    else:
        report = _check_table(protocol, arguments.table, arguments.site_column, arguments.site)
    if arguments.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        print_report(report)
    return 0 if report.fits else CohortError.exit_code


def _check_policy(protocol: "StudyProtocol", path: Path) -> "CheckReport":
    from wardround.client.checkup import check
    from wardround.client.cohort import verbatim_columns
    from wardround.client.policy import SitePolicy
    from wardround.client.tables import read_table

    policy = SitePolicy.load(path)
    policy.check(protocol)
    frame = read_table(policy.table, verbatim=verbatim_columns(protocol, columns=policy.columns))
    return check(protocol, frame, minimum=policy.minimum_patients(protocol), columns=policy.columns)


def _check_table(protocol: "StudyProtocol", table: Path, site_column: str, site: str) -> "CheckReport":
    from wardround.client.checkup import check
    from wardround.client.cohort import verbatim_columns
    from wardround.client.sites import check_sites
    from wardround.client.tables import read_table

    frame = read_table(table, verbatim=verbatim_columns(protocol, site_column))
    if site:
        return check(protocol, _rows_of(frame, site_column, site))
    return check_sites(protocol, frame, site_column) if site_column else check(protocol, frame)


def _rows_of(frame: "pd.DataFrame", site_column: str, site: str) -> "pd.DataFrame":
    from wardround.client.sites import site_of_rows
    from wardround.common.errors import UsageError

    chosen = site_of_rows(frame, site_column) == site
    if not chosen.any():
        raise UsageError(f"no row of the table has {site!r} in {site_column!r}")
    rows: pd.DataFrame = frame.loc[chosen]
    return rows


def run_ledger(arguments: argparse.Namespace) -> int:
    """`wardround site ledger`."""
    from wardround.client.account import read_account
    from wardround.client.checkprint import print_account
    from wardround.client.policy import SitePolicy

    policy = SitePolicy.load(arguments.folder / "site.toml")
    account = read_account(policy)
    if arguments.json:
        print(json.dumps(account.as_dict(), indent=2, allow_nan=False))
    else:
        print_account(account)
    return 0
