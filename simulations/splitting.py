"""One table into one folder per hospital, as hospitals would hold it: its table, its policy, its identity.

A hospital's folder is never written over: its ledger remembers what its patients have already spent.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from wardround.client.sitefile import FirstPolicy, create_site
from wardround.client.sites import site_of_rows
from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, UsageError
from wardround.common.trust.identity import check_name
from wardround.simulations.names import folder_names

TABLE = "patients.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFolder:
    """One written folder: the site's name, and where it is."""

    site: str
    path: Path


def split_table(frame: pd.DataFrame, site_column: str, out: Path, first: FirstPolicy) -> list[SiteFolder]:
    """Write one folder per site, with `patients.csv`, `site.toml` and an identity key.

    Args:
        frame: The table as `read_table` gives it, with the site column read verbatim.
        site_column: Names the hospital of each row; rows without one are left out.
        out: Created if absent.
        first: The limits of every site's first policy; its site and table are not looked at.

    Returns:
        The folders, sorted by site.

    Raises:
        UsageError: The column is absent, names fewer than two sites, or one that cannot be a party's name.
        StorageError: One of the folders exists already.
    """
    if site_column not in frame.columns:
        raise UsageError(f"the table has no column {site_column!r}", advice="names are case-sensitive")
    codes = pd.Series(site_of_rows(frame, site_column), index=frame.index)  # as `simulate --table` names them
    sites = sorted(set(codes) - {""})
    if len(sites) < 2:
        raise UsageError(f"column {site_column!r} names {len(sites)} sites, expected at least two")
    for site in sites:
        check_name(site)
    folders = [
        SiteFolder(site=site, path=out / name) for site, name in zip(sites, folder_names(sites), strict=True)
    ]
    _refuse_existing(folders)
    for folder in folders:
        _write(folder, frame[codes == folder.site], first)
    return folders


def _refuse_existing(folders: Iterable[SiteFolder]) -> None:
    existing = [folder.path for folder in folders if folder.path.exists()]
    if existing:
        raise StorageError(
            f"{len(existing)} site folders exist already, among them {existing[0]}",
            advice="choose another --out; a site's folder holds the ledger of what its patients have spent",
        )


def _write(folder: SiteFolder, rows: pd.DataFrame, first: FirstPolicy) -> None:
    create_site(folder.path, replace(first, site=folder.site, table=folder.path / TABLE))
    write_atomic(folder.path / TABLE, rows.to_csv(index=False, lineterminator="\n").encode(), mode=0o600)
