"""From predictions and ledgers to `Results`: what a run measured and what it may claim."""

import math
from importlib.metadata import version

import numpy as np

from wardround.common.privacy.accounting import epsilon
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.evaluation import Board, evaluation_rows, gain_rows, subgroup_rows
from wardround.simulations.hospitals import Consortium, exposures
from wardround.simulations.resultrows import CohortRow, EpsilonRow
from wardround.simulations.results import Results
from wardround.simulations.runfolder import RunFolder, code_digest

SERVER = "server, all other sites and outsiders together"


def summarise(
    protocol: StudyProtocol, consortium: Consortium, board: Board, run: RunFolder, *, seed: int, folds: int
) -> Results:
    """Everything that `results.json` says.

    Args:
        protocol: The study.
        consortium: Its hospitals; their ledgers are read.
        board: Predictions of every model.
        run: The run folder, for the curves.
        seed: Of the resamples behind the intervals.
        folds: 0, or the number of cross-validation folds.
    """
    rng = np.random.default_rng(seed)
    drafted = protocol.drafted
    spent = _epsilons(protocol, consortium)
    return Results(
        study=protocol.study.name,
        mechanism=protocol.privacy.mechanism,
        training_private=protocol.private and not drafted and all(math.isfinite(row.value) for row in spent),
        evaluation_private=False,
        delta=protocol.privacy.delta,
        epsilon=tuple(spent),
        rounds=protocol.federation.rounds,
        evaluation=evaluation_rows(board, rng),
        gains=gain_rows(board, rng),
        curves=run.curves(),
        subgroups=subgroup_rows(board, rng),
        cohorts=tuple(
            CohortRow(site=h.name, patients=h.rows.n_patients, held_out=len(board.truth[h.name]))
            for h in consortium.hospitals
        ),
        left_out_sites=consortium.left_out,
        drafted=drafted,
        imagined_sites=consortium.imagined is not None,
        protocol_digest=protocol.digest,
        data_digest=consortium.data_digest,
        code_digest=code_digest(),
        code_version=version("wardround"),
        notes=(*consortium.notes, *_notes(protocol, folds)),
    )


def _epsilons(protocol: StudyProtocol, consortium: Consortium) -> list[EpsilonRow]:
    """What each patient pool's ledger says was spent over its lifetime, this run included."""
    rows = []
    for hospital in consortium.hospitals:
        spent = exposures(hospital)
        value = epsilon(spent, protocol.privacy.delta) if protocol.private else math.inf
        rows.append(EpsilonRow(site=hospital.name, adversary=SERVER, value=value))
    return rows


def _notes(protocol: StudyProtocol, folds: int) -> list[str]:
    notes = []
    if folds:
        notes.append(
            f"Models were compared by {folds}-fold cross-validation: {folds} studies on the same patients. "
            "The epsilon shown is that of all of them together. The model that was kept is the last fold's."
        )
    if protocol.drafted:
        notes.append("Public constants were drafted from this table: results with it are not private.")
    return notes
