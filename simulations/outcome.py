"""From predictions and ledgers to `Results`: what a run measured and what it may claim."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from wardround.common.code import package_digest
from wardround.common.learning.evaluating import PrivateEvaluation
from wardround.common.privacy.accounting import Relation
from wardround.common.privacy.events import DpEvent
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.calibrating import CalibrationTables, calibration_tables
from wardround.simulations.evaluation import Board, evaluation_rows, gain_rows
from wardround.simulations.hospitals import Consortium, exposures, held_out_exposures
from wardround.simulations.observers import HEADLINE, cost, observers
from wardround.simulations.resultrows import CohortRow, EpsilonRow
from wardround.simulations.results import Results
from wardround.simulations.runfolder import RunFolder
from wardround.simulations.subgroups import group_tables


def summarise(
    protocol: StudyProtocol,
    consortium: Consortium,
    board: Board,
    run: RunFolder,
    *,
    seed: int,
    folds: int,
    private: PrivateEvaluation | None = None,
) -> Results:
    """Everything that `results.json` says.

    Args:
        protocol: The study.
        consortium: Its hospitals; their ledgers are read.
        board: Predictions of every model.
        run: The run folder, for the curves.
        seed: Of the resamples behind the intervals.
        folds: 0, or the number of cross-validation folds.
        private: What the study's own evaluation released, if it has one.
    """
    rng, drafted = np.random.default_rng(seed), protocol.drafted
    pools = _pools(protocol, consortium, board)
    spent = pools.epsilons("add-or-remove")
    claimed = [row.value for row in spent if row.adversary in HEADLINE]
    # In this order, so that what was drawn before new tables came is drawn as it was.
    evaluation, gains = evaluation_rows(board, rng), gain_rows(board, rng)
    groups, calibrated = group_tables(board, rng), calibration_tables(board, rng)
    return Results(
        study=protocol.study.name,
        mechanism=protocol.privacy.mechanism,
        training_private=protocol.private and not drafted and all(map(math.isfinite, claimed)),
        evaluation_private=False,
        delta=protocol.privacy.delta,
        epsilon=spent,
        replaced=pools.epsilons("replace-one") if protocol.private else (),
        honest_sites=protocol.privacy.honest_sites,
        rounds=protocol.federation.rounds,
        evaluation=evaluation,
        gains=gains,
        curves=run.curves(),
        subgroups=groups.values,
        gaps=groups.gaps,
        worst_groups=groups.worst,
        **_calibrated(calibrated),
        **(_private(private, pools) if private else {}),
        cohorts=_cohorts(consortium, board),
        left_out_sites=consortium.left_out,
        drafted=drafted,
        imagined_sites=consortium.imagined is not None,
        protocol_digest=protocol.digest,
        data_digest=consortium.data_digest,
        code_digest=package_digest(),
        code_version=version("wardround"),
        notes=(*consortium.notes, *_notes(protocol, folds)),
    )


def _calibrated(found: CalibrationTables) -> dict[str, Any]:
    return {
        "calibration": found.measures,
        "calibration_bins": found.bins,
        "net_benefit": found.benefits,
    }


def _cohorts(consortium: Consortium, board: Board) -> tuple[CohortRow, ...]:
    return tuple(
        CohortRow(site=h.name, patients=h.rows.n_patients, held_out=len(board.truth[h.name]))
        for h in consortium.hospitals
    )


def _private(found: PrivateEvaluation, pools: "_Pools") -> dict[str, Any]:
    return {
        "private_evaluation": found.rows,
        "judgements": (found.judgement,),
        "private_bins": found.bins,
        "held_out_epsilon": pools.held_out(),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pools:
    """What each hospital's ledger says was charged over its patients' lifetime, this run included.

    Attributes:
        protocol: The study.
        spent: Site -> everything that was charged.
        sites: The fewest sites in any of their sums; 0 where the ledgers may hold sums of other studies.
        evaluated: Site -> everything that was charged to its held-out patients.
    """

    protocol: StudyProtocol
    spent: Mapping[str, Sequence[DpEvent]]
    sites: int
    evaluated: Mapping[str, Sequence[DpEvent]]

    def held_out(self) -> tuple[EpsilonRow, ...]:
        """The held-out patients of every site against every observer."""
        delta = self.protocol.evaluation.delta if self.protocol.evaluation else self.protocol.privacy.delta
        return tuple(
            EpsilonRow(
                site=site, adversary=observer, value=cost(events, observer, sites=self.sites, delta=delta)
            )
            for site, events in self.evaluated.items()
            for observer in observers(self.protocol.privacy.mechanism)
        )

    def epsilons(self, relation: Relation) -> tuple[EpsilonRow, ...]:
        """Every pool against every observer."""
        return tuple(
            EpsilonRow(site=site, adversary=observer, value=self._epsilon(events, observer, relation))
            for site, events in self.spent.items()
            for observer in observers(self.protocol.privacy.mechanism)
        )

    def _epsilon(self, events: Sequence[DpEvent], observer: str, relation: Relation) -> float:
        if not self.protocol.private:
            return math.inf
        delta = self.protocol.privacy.delta
        return cost(events, observer, sites=self.sites, delta=delta, relation=relation)


def _pools(protocol: StudyProtocol, consortium: Consortium, board: Board) -> _Pools:
    spent = {hospital.name: exposures(hospital) for hospital in consortium.hospitals}
    one_left_out = any(name.startswith("federated-without:") for name in board.predictions)
    training = len([site for site in spent if site not in protocol.external_sites])
    sites = protocol.federation.quorum or training - one_left_out
    evaluated = {hospital.name: held_out_exposures(hospital) for hospital in consortium.hospitals}
    known = 0 if consortium.imagined is None else sites
    return _Pools(protocol=protocol, spent=spent, sites=known, evaluated=evaluated)


def _notes(protocol: StudyProtocol, folds: int) -> list[str]:
    notes = []
    if folds:
        notes.append(
            f"Models were compared by {folds}-fold cross-validation: {folds} studies on the same patients. "
            "The epsilon shown is that of all of them together. The model that was kept is the last fold's."
        )
    if protocol.model.loss == "cox":
        notes.append(
            "The Cox loss gives an order of risk and no probability: calibration, decision curves and the Brier score "
            "were not measured."
        )
    if protocol.drafted:
        notes.append("Public constants were drafted from this table: results with it are not private.")
    return notes
