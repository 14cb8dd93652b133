"""From tables to hospitals: one table with a hospital per row, or one folder per hospital."""

from pathlib import Path
from typing import Final

from wardround.client.checkup import check
from wardround.client.cohort import build_cohort, cohorts_by_site, verbatim_columns
from wardround.client.findings import CheckReport, summary
from wardround.client.heldout import own_split_key
from wardround.client.policy import SitePolicy
from wardround.client.tables import read_table
from wardround.common.errors import PolicyRefusal, UsageError
from wardround.common.formats import canonical, digest
from wardround.common.learning.features import FeaturePath
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.hospitals import (
    Consortium,
    Hospital,
    Imagined,
    imagined_folder,
    prepare_hospital,
    refused_by,
    split_key,
)
from wardround.simulations.runfolder import file_digest

NOT_ELIGIBLE: Final = frozenset(
    {"few-patients", "few-events", "no-events", "one-class", "small-class", "absent-class"}
)
"""Findings that leave a site out of a study without anything being wrong with its table."""


def from_table(
    protocol: StudyProtocol,
    folder: Path,
    table: Path,
    *,
    site_column: str,
    out: Path,
    cohort: str,
    seed: int,
) -> Consortium:
    """Imagine one hospital per value of a column.

    Args:
        protocol: The study.
        folder: Where the protocol's loadings are.
        table: All hospitals' patients.
        site_column: The column that names the hospital, or a public group of hospitals.
        out: The run folder; hospitals' folders are made below it when the run begins.
        cohort: What the patients are: `private`, `public` or `synthetic`.
        seed: Of the split into training and held-out patients.

    Raises:
        PolicyRefusal: The study has no privacy, and the patients are private.
        CohortError: The table does not fit the protocol. Nothing was written, whatever the reason.
    """
    _check_kind(protocol, cohort)
    frame = read_table(table, verbatim=verbatim_columns(protocol, site_column))
    path = FeaturePath.from_protocol(protocol, folder)
    found = cohorts_by_site(protocol, frame, site_column, path=path)
    fraction = protocol.cohort.test_fraction
    root = out / "sites"
    hospitals = [
        prepare_hospital(
            own, imagined_folder(root, own.site), test_fraction=fraction, key=split_key(seed, own.site)
        )
        for own in found.cohorts
    ]
    return Consortium(
        hospitals=tuple(hospitals),
        data_digest=digest(canonical([file_digest(table), site_column])),
        left_out=len(found.left_out),
        imagined=Imagined(root=root, table=table, cohort=cohort, delta=protocol.privacy.delta),
        notes=_warnings(found.report),
    )


def _check_kind(protocol: StudyProtocol, cohort: str) -> None:
    """What every imagined hospital's policy would say, before anything is written."""
    if not protocol.private and cohort == "private":
        raise PolicyRefusal(
            f"study {protocol.study.name} has no privacy mechanism, and this cohort is private",
            advice="set privacy.mechanism to 'joint-noise' or 'site-noise'; or, if anybody may read the table, "
            "say so: --cohort public (or synthetic)",
        )


def from_folders(protocol: StudyProtocol, folder: Path, sites: Path) -> Consortium:
    """Open one hospital per sub-folder, each with its own `site.toml`, identity and ledger.

    Args:
        protocol: The study.
        folder: Where the protocol's loadings are.
        sites: The folder of folders.

    Raises:
        UsageError: There is no site in it.
        CohortError: A site's table does not fit, other than by being too small.
        PolicyRefusal: A site's policy refuses the study.
    """
    homes = sorted(path.parent for path in sites.glob("*/site.toml"))
    if not homes:
        raise UsageError(
            f"expected sub-folders with a site.toml in {sites}, found none",
            advice="make them with `wardround site init` or `wardround study split`",
        )
    path = FeaturePath.from_protocol(protocol, folder)
    found = [_opened(protocol, home, path) for home in homes]
    hospitals = tuple(sorted((one for one, _, _ in found if one is not None), key=lambda one: one.name))
    names = [hospital.name for hospital in hospitals]
    if len(set(names)) < len(names):
        raise UsageError(f"two folders in {sites} hold a site of the same name", advice="give each its own")
    return Consortium(
        hospitals=hospitals,
        data_digest=digest(canonical(sorted(data for _, data, _ in found))),
        left_out=sum(one is None for one, _, _ in found),
        imagined=None,
        notes=tuple(dict.fromkeys(note for _, _, notes in found for note in notes)),
    )


def _opened(
    protocol: StudyProtocol, home: Path, path: FeaturePath
) -> tuple[Hospital | None, str, tuple[str, ...]]:
    """One hospital, or None where it is too small for the study; the digest of its table; warnings."""
    policy = SitePolicy.load(home / "site.toml")
    try:
        policy.check(protocol)
    except PolicyRefusal as refusal:
        raise refused_by(policy.site, refusal) from None
    data = file_digest(policy.table)
    frame = read_table(policy.table, verbatim=verbatim_columns(protocol, columns=policy.columns))
    minimum = policy.minimum_patients(protocol)
    report = check(protocol, frame, minimum=minimum, columns=policy.columns)
    refused = {finding.code for finding in report.refusals}
    if refused and refused <= NOT_ELIGIBLE:
        return None, data, ()
    own = build_cohort(protocol, frame, site=policy.site, path=path, minimum=minimum, columns=policy.columns)
    fraction = protocol.cohort.test_fraction
    hospital = prepare_hospital(own, home, test_fraction=fraction, key=own_split_key(home))
    return hospital, data, _warnings(report)


def _warnings(report: CheckReport) -> tuple[str, ...]:
    return tuple(summary(report.warnings))
