"""One table into one folder per hospital, as hospitals would hold it: the table, and a policy of its own.

A hospital's folder is never written over: its ledger remembers what its patients have already spent.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from wardround.client.spellings import identifiers
from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, UsageError
from wardround.common.study.writer import quoted
from wardround.simulations.names import folder_names

CohortKind = Literal["private", "public", "synthetic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitTerms:
    """What the first policy of every site says; each site changes its own.

    Attributes:
        cohort: What the patients are; `public` or `synthetic` allows mechanism `none`.
        epsilon_cap: Lifetime cap of a patient pool, at `delta`.
        delta: The lifetime delta.
        smallest_cohort: Patients below which the site takes no part.
    """

    cohort: CohortKind = "private"
    epsilon_cap: float = 8.0
    delta: float = 1e-5
    smallest_cohort: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFolder:
    """One written folder: the site's name, and where it is."""

    site: str
    path: Path


def split_table(frame: pd.DataFrame, site_column: str, out: Path, terms: SplitTerms) -> list[SiteFolder]:
    """Write one folder per site, with `patients.csv` and `site.toml`.

    Args:
        frame: The table as `read_table` gives it, with the site column read verbatim.
        site_column: Names the hospital of each row; rows without one are left out.
        out: Created if absent.
        terms: Of the first policies.

    Returns:
        The folders, sorted by site.

    Raises:
        UsageError: The column is absent, or names fewer than two sites.
        StorageError: One of the folders exists already.
    """
    if site_column not in frame.columns:
        raise UsageError(f"the table has no column {site_column!r}", advice="names are case-sensitive")
    codes = pd.Series(identifiers(frame[site_column]), index=frame.index)
    sites = sorted(set(codes) - {""})
    if len(sites) < 2:
        raise UsageError(f"column {site_column!r} names {len(sites)} sites, expected at least two")
    folders = [
        SiteFolder(site=site, path=out / name) for site, name in zip(sites, folder_names(sites), strict=True)
    ]
    _refuse_existing(folders)
    for folder in folders:
        _write(folder, frame[codes == folder.site], terms)
    return folders


def _refuse_existing(folders: Iterable[SiteFolder]) -> None:
    existing = [folder.path for folder in folders if folder.path.exists()]
    if existing:
        raise StorageError(
            f"{len(existing)} site folders exist already, among them {existing[0]}",
            advice="choose another --out; a site's folder holds the ledger of what its patients have spent",
        )


def _write(folder: SiteFolder, rows: pd.DataFrame, terms: SplitTerms) -> None:
    folder.path.mkdir(parents=True)
    table = rows.to_csv(index=False, lineterminator="\n").encode()
    write_atomic(folder.path / "patients.csv", table, mode=0o600)
    write_atomic(folder.path / "site.toml", policy_text(folder.site, terms).encode())


def policy_text(site: str, terms: SplitTerms) -> str:
    """The first `site.toml` of a site."""
    return "\n".join(
        [
            'format = "wardround-site"',
            "version = 1",
            f"site = {quoted(site)}",
            'table = "patients.csv"',
            f"cohort = {quoted(terms.cohort)}",
            f"epsilon_cap = {terms.epsilon_cap!r}",
            f"delta = {terms.delta!r}",
            f"smallest_cohort = {terms.smallest_cohort}",
            "",
        ]
    )
