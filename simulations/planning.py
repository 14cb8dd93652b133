"""From what a person typed to a `Plan`: which study, with which seed, over which hospitals."""

from dataclasses import replace
from pathlib import Path

from wardround.common.errors import UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.simulations.federation import Backend
from wardround.simulations.hospitals import Consortium
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
        UsageError: Too few sites, nobody held out, or folds that would charge real ledgers many times.
    """
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
