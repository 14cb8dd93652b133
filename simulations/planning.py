"""From what a person typed to a `Plan`: which study, with which seed, over which hospitals."""

from dataclasses import replace
from pathlib import Path

from wardround.common.errors import UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.simulations.federation import Backend
from wardround.simulations.hospitals import Consortium
from wardround.simulations.recruitment import from_folders, from_table
from wardround.simulations.run import Plan

FEWEST_SITES = 2


def load_study(path: Path, *, seed: int) -> tuple[StudyProtocol, Path]:
    """The protocol and the folder of the files it names.

    With mechanism `none` and no seed of its own, the study takes the run's seed, so that the run can be repeated. A
    private study takes none: its randomness comes from the operating system.
    """
    protocol = load(path)
    if not protocol.private and protocol.seed is None:
        protocol = replace(protocol, seed=seed)
    return protocol, path.resolve().parent


def consortium_of(
    protocol: StudyProtocol,
    folder: Path,
    *,
    sites: Path | None,
    table: Path | None,
    site_column: str | None,
    out: Path,
    cohort: str,
    seed: int,
) -> Consortium:
    """The hospitals that somebody named: folders of their own, or a column of one table.

    Args:
        protocol: The study.
        folder: Where the files it names are.
        sites: Folder with one sub-folder per hospital; or None.
        table: All hospitals' patients, with `site_column`; or None.
        site_column: The column that names the hospital.
        out: The run folder, for imagined hospitals.
        cohort: What the patients of `table` are.
        seed: Of the split of `table`.

    Raises:
        UsageError: Both or neither were named, or the table's column is missing.
    """
    if (table is None) == (sites is None):
        raise UsageError("give either a table (with its site column) or a folder of sites")
    if sites is not None:
        return from_folders(protocol, folder, sites)
    if table is None or site_column is None:
        raise UsageError(
            "a table needs a site_column (--site-column)", advice="name the column that holds the hospital"
        )
    return from_table(protocol, folder, table, site_column=site_column, out=out, cohort=cohort, seed=seed)


def plan(
    protocol: StudyProtocol,
    folder: Path,
    consortium: Consortium,
    *,
    backend: Backend,
    seed: int,
    folds: int,
    leave_one_out: str,
) -> Plan:
    """Check that the pieces fit together.

    Raises:
        UsageError: Nothing to train, too few sites, too few for joint noise, nobody held out, or folds that would
            charge real ledgers many times.
    """
    _check_trains(protocol)
    sites = len(consortium.hospitals)
    if sites < FEWEST_SITES:
        raise UsageError(
            f"expected at least {FEWEST_SITES} sites that fit the protocol, found {sites} "
            f"({consortium.left_out} left out below its minimum)",
            advice="lower cohort.minimum_patients, or group small sites by a public column with --site-column",
        )
    if folds == 1 or folds < 0:
        raise UsageError(f"expected 0 or at least 2 folds, found {folds}")
    if folds and consortium.imagined is None:
        raise UsageError(
            "cross-validation trains on the same patients many times, and each time is charged",
            advice="use --folds with --table only; real ledgers pay for one study at a time",
        )
    if leave_one_out == "yes" and sites <= FEWEST_SITES:
        raise UsageError(
            f"leaving one site out needs at least {FEWEST_SITES + 1} sites, found {sites}",
            advice="leave out --leave-one-out",
        )
    _check_honest(protocol, sites, leave_one_out)
    if not folds and protocol.cohort.test_fraction == 0:
        raise UsageError(
            "cohort.test_fraction is 0: no patient is held out, so nothing can be compared",
            advice="raise it, or ask for cross-validation with --folds",
        )
    return Plan(
        protocol=protocol,
        folder=folder,
        consortium=consortium,
        backend=backend,
        seed=seed,
        folds=folds,
        leave_one_out=leave_one_out,
    )


def _check_trains(protocol: StudyProtocol) -> None:
    if protocol.monitoring is not None:
        raise UsageError(
            f"study {protocol.study.name} trains nothing: it evaluates a released model again",
            advice="`wardround evaluate RUN` does that, over the hospitals of the run that released it",
        )


def _check_honest(protocol: StudyProtocol, sites: int, leave_one_out: str) -> None:
    """Joint noise needs one site more than it counts on, also where one is left out in turn."""
    honest = protocol.privacy.honest_sites
    smallest = sites - (leave_one_out == "yes")
    if protocol.joint and honest >= smallest:
        raise UsageError(
            f"the study counts on {honest} honest sites, and the smallest sum here would have {smallest} "
            f"({sites} sites fit the protocol)",
            advice="plan it for fewer honest sites: `wardround study plan STUDY --honest H`",
        )
