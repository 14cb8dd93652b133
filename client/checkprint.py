"""Reports for a person's screen: tables of columns and findings, and the account of a patient pool."""

import math
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wardround.client.account import Account, PoolAccount
from wardround.client.findings import SHOWN, CheckReport, ColumnReport, Finding, by_code

SHOWN_COLUMNS: Final = 40
"""Columns that are listed one by one; of a wider table only those with findings are, up to this many."""


def print_report(report: CheckReport, console: Console | None = None) -> None:
    """Columns, findings, advice, and the verdict `fit` or `does not fit` as the last line."""
    out = console or Console(highlight=False)
    _print_columns(report, out)
    for title, findings in (("Refused", report.refusals), ("Worth a look", report.warnings)):
        if findings:
            out.print(f"\n{title}:", soft_wrap=True)
            _print_findings(findings, out)
    refused, warned = len(report.refusals), len(report.warnings)
    verdict = "fit" if report.fits else "does not fit"
    out.print(Text(f"\n{refused} refusing findings, {warned} to look at: {verdict}"), soft_wrap=True)


def _print_columns(report: CheckReport, out: Console) -> None:
    chosen = list(report.columns)
    if len(chosen) > SHOWN_COLUMNS:
        chosen = [column for column in chosen if column.codes or column.role != "feature"][:SHOWN_COLUMNS]
    table = Table(box=None, pad_edge=False)
    for heading in ("column", "role", "kind", "unit", "missing", "findings"):
        table.add_column(heading, justify="right" if heading == "missing" else "left", overflow="fold")
    for column in chosen:
        table.add_row(*map(Text, _cells(column)))
    out.print(table)
    if hidden := len(report.columns) - len(chosen):
        out.print(f"... and {hidden} more columns", soft_wrap=True)


def _cells(column: ColumnReport) -> tuple[str, ...]:
    missing = "absent" if column.missing_percent is None else f"{column.missing_percent}%"
    return (column.name, column.role, column.kind, column.unit, missing, ", ".join(column.codes))


def _print_findings(findings: tuple[Finding, ...], out: Console) -> None:
    advised: set[str] = set()
    for group in by_code(findings).values():
        for finding in group[:SHOWN]:
            out.print(Text(f"  {finding.line()}"), soft_wrap=True)
            if finding.advice and finding.advice not in advised:
                out.print(Text(f"      {finding.advice}"), soft_wrap=True)
                advised.add(finding.advice)
        if len(group) > SHOWN:
            out.print(Text(f"  [{group[0].code}] and {len(group) - SHOWN} more"), soft_wrap=True)


def print_account(account: PoolAccount, console: Console | None = None) -> None:
    """What each study cost, what all cost together, what is left, and which cap limits which account."""
    out = console or Console(highlight=False)
    scope = f"per patient (add or remove one), at delta {account.delta:g}"
    out.print(Text(f"Patient pool {account.pool!r}, {scope}"), soft_wrap=True)
    both = _differ(account)
    if account.studies:
        out.print(_studies(account, both=both), soft_wrap=True)
    else:
        out.print("No study has reserved anything.", soft_wrap=True)
    tolerated, alone = account.accounts["tolerated"], account.accounts["everyone-else"]
    if both:
        out.print("\nIf as many other hospitals are honest as each study counts on:", soft_wrap=True)
    _print_balance(tolerated, "epsilon_cap", out)
    if both or math.isfinite(alone.cap):
        out.print("\nIf all others collude, so that only this site's own noise is left:", soft_wrap=True)
        _print_balance(alone, "epsilon_cap_alone", out)
    for against, balance in account.held_out.items():
        if against == "tolerated":
            out.print("\nHeld-out patients, who evaluate models and do not train:", soft_wrap=True)
            _print_balance(balance, "epsilon_cap_held_out", out)
        elif both or math.isfinite(balance.cap):
            out.print("\nHeld-out patients, if all others collude:", soft_wrap=True)
            _print_balance(balance, "epsilon_cap_alone", out)


def _differ(account: PoolAccount) -> bool:
    """Whether some study counted on other hospitals' noise: otherwise both accounts say the same."""
    costs = [study.epsilon for study in account.studies] + [
        {against: one.exposure for against, one in account.accounts.items()}
    ]
    return any(cost["tolerated"] != cost["everyone-else"] for cost in costs)


def _studies(account: PoolAccount, *, both: bool) -> Table:
    table = Table("study", "releases", "epsilon on its own", box=None, pad_edge=False)
    if both:
        table.add_column("if all others collude")
    if account.held_out:
        table.add_column("of those held out")
    for study in account.studies:
        costs = [_words(study.epsilon["tolerated"]), _words(study.epsilon["everyone-else"])]
        shown = costs[: 1 + both]
        if account.held_out:
            shown.append(_words(study.tables_epsilon["tolerated"]))
        table.add_row(Text(study.name), str(study.releases), *shown)
    return table


def _print_balance(account: Account, cap: str, out: Console) -> None:
    out.print(f"spent by all studies together: epsilon {_words(account.spent)}", soft_wrap=True)
    out.print(f"if open studies use all they reserved: epsilon {_words(account.exposure)}", soft_wrap=True)
    if math.isinf(account.cap):
        out.print(f"lifetime cap ({cap}): none", soft_wrap=True)
    else:
        left = f"epsilon {_words(account.cap)}; left: {account.remaining:.4f}"
        out.print(f"lifetime cap ({cap}): {left}", soft_wrap=True)


def _words(epsilon: float) -> str:
    return f"{epsilon:.4f}" if math.isfinite(epsilon) else "infinite (no guarantee)"
