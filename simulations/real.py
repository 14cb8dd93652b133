"""The real cohorts, from raw file to results table: every protocol of `simulations/studies`, as a researcher runs it.

Each run is `wardround simulate STUDY --table FILE --site-column S --cohort public`, in this process and with the same
objects; published splits, single modalities and added indicators are made here, and the page names them. Then the
published federated results are repeated (`published`).

    python -m wardround.simulations.real DATA --out docs/results

Assumes the folder of real cohorts beside the checkout. Nothing here tries to identify anyone.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from wardround.client.cohort import prepare, verbatim_columns
from wardround.client.spellings import identifiers
from wardround.client.tables import read_table
from wardround.common.formats import canonical, digest
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.simulations import published
from wardround.simulations.hospitals import Consortium, Hospital
from wardround.simulations.planning import load_study, plan
from wardround.simulations.real_cases import CASES, Case, PublishedFolds
from wardround.simulations.real_page import Run, page
from wardround.simulations.recruitment import from_table
from wardround.simulations.run import simulate
from wardround.simulations.runfolder import file_digest

STUDIES: Final = Path(__file__).parent / "studies"
SEED: Final = 0


def protocol_of(case: Case) -> tuple[StudyProtocol, Path]:
    """The protocol of a case and the folder it lies in."""
    protocol, folder = load_study(STUDIES / f"{case.study}.toml", seed=SEED)
    features = tuple(f for f in protocol.features if case.only in ("", f.modality))
    # The largest stable step of plain descent goes down with the number of standardised inputs.
    rate = protocol.federation.learning_rate * len(protocol.features) / len(features)
    added = tuple(
        Feature(name=name, kind="binary", source="an indicator stays 0 or 1") for name in case.indicators
    )
    federation = replace(protocol.federation, learning_rate=rate)
    return replace(protocol, features=(*features, *added), federation=federation), folder


def run_case(case: Case, data: Path, out: Path) -> Run:
    """Run one case.

    Args:
        case: What to run.
        data: The folder of the real cohorts.
        out: The run folder, new.

    Raises:
        CohortError: The table does not fit the protocol.
        StorageError: The table is not there.
    """
    start = time.monotonic()
    protocol, folder = protocol_of(case)
    consortium = from_table(
        protocol,
        folder,
        data / case.table,
        site_column=case.site_column,
        out=out,
        cohort="public",
        seed=SEED,
    )
    if case.published is not None:
        consortium = with_published_folds(consortium, protocol, data / case.table, case.published)
    chosen = plan(
        protocol,
        folder,
        consortium,
        backend="inline",
        seed=SEED,
        folds=case.folds,
        leave_one_out=case.leave_one_out,
    )
    results = simulate(chosen, out)
    return Run(case=case, results=results, seconds=time.monotonic() - start)


def with_published_folds(
    consortium: Consortium, protocol: StudyProtocol, table: Path, split: PublishedFolds
) -> Consortium:
    """The same hospitals with the published training and test patients; those of neither take no part.

    Args:
        consortium: As read from the table.
        protocol: Names the patient column.
        table: The file.
        split: Which column says it, and how.
    """
    frame = read_table(table, verbatim=verbatim_columns(protocol))
    fold = dict(zip(prepare(protocol, frame).ids, identifiers(frame[split.column]), strict=True))
    hospitals = tuple(_split(hospital, fold, split) for hospital in consortium.hospitals)
    named = digest(canonical([consortium.data_digest, split.column, *split.train, split.test]))
    return replace(consortium, hospitals=hospitals, data_digest=named)


def _split(hospital: Hospital, fold: dict[str, str], split: PublishedFolds) -> Hospital:
    folds = np.array([fold[patient] for patient in hospital.ids], dtype=object)
    return replace(
        hospital, train=np.flatnonzero(np.isin(folds, split.train)), test=np.flatnonzero(folds == split.test)
    )


def run_all(cases: Sequence[Case], data: Path, folder: Path, *, jobs: int) -> list[Run]:
    """Run the cases in several processes, the first ones first; returns them in the given order.

    Args:
        cases: What to run.
        data: The folder of the real cohorts.
        folder: Gets one run folder per case.
        jobs: Processes.
    """
    # Fresh processes: one that was forked after torch started its threads may hang.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {
            pool.submit(run_case, case, data, folder / f"{number:02d}"): number
            for number, case in enumerate(cases)
        }
        done: dict[int, Run] = {}
        for future in as_completed(waiting):
            run = future.result()
            done[waiting[future]] = run
            print(
                f"{len(done)} of {len(cases)}: {run.case.name}, {run.seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return [done[number] for number in range(len(cases))]


def facts(data: Path, cases: Sequence[Case]) -> dict[str, str]:
    """Digests of the files that were read, and the version that the figures depend on most."""
    tables = dict.fromkeys(case.table for case in cases)
    return {
        "torch": torch.__version__,
        **{table: file_digest(data / table) for table in tables},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every real cohort and write `real.md`, then the comparison with published results, `published.md`."""
    parser = argparse.ArgumentParser(prog="python -m wardround.simulations.real", description=main.__doc__)
    parser.add_argument("data", type=Path, help="the folder of the real cohorts")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the pages to write, e.g. docs/results"
    )
    parser.add_argument("--runs", type=Path, help="keep the run folders here (default: they are thrown away)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    given = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the processes start: more threads only wait
    with tempfile.TemporaryDirectory(prefix="wardround-real-") as spare:
        start = time.monotonic()
        runs = run_all(CASES, given.data, given.runs or Path(spare), jobs=given.jobs)
        minutes = (time.monotonic() - start) / 60
    given.out.mkdir(parents=True, exist_ok=True)
    text = page(runs, facts(given.data, CASES), minutes=minutes, jobs=given.jobs)
    (given.out / "real.md").write_text(text, encoding="utf-8")
    print(given.out / "real.md")
    published.main([str(given.data), "--out", str(given.out / "published.md")])


if __name__ == "__main__":
    main()
