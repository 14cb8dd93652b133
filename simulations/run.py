"""Simulate one federated study on one machine: from a table or from site folders to a run folder with a report.

The federated model is trained by the production objects (see `federation`); local-only and pooled models are trained
on the same patients; everything is compared on the same held-out patients. A run that was interrupted is resumed by
asking for the same run again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wardround.common.errors import UsageError
from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.evaluated import Evaluated
from wardround.common.learning.evaluating import evaluation_of
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.metrics import evaluate
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import predict, survival_of
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.baselines import train_baselines
from wardround.simulations.cardfacts import write_model_card
from wardround.simulations.carriers import carrier_rows
from wardround.simulations.crosssite import MOST, cross_rows
from wardround.simulations.evaluation import ALL, Board, Predictions
from wardround.simulations.evidencerows import CarrierRow
from wardround.simulations.federation import Backend, Federation, released_table, run_federation
from wardround.simulations.heldouttable import simulated_calibration
from wardround.simulations.hospitals import Consortium, Hospital, fold_of, spends
from wardround.simulations.outcome import summarise
from wardround.simulations.report import write_report
from wardround.simulations.resultrows import PRIMARY, CurveRow
from wardround.simulations.results import Results
from wardround.simulations.runfolder import RunFacts, RunFolder
from wardround.simulations.variants import cross_validated, variant, with_external

Step = Callable[[str, int, int], None]
"""Progress: what is being done, how much of it is done, out of how much."""

CURVE_POINTS = 20
_CARRIERS = 1
"""Names the randomness of the carriers' test, so that what others draw stays as it is."""
_CALIBRATION = 2
"""Likewise that of the noise in the calibration table."""
_CROSS_SITE = 3
"""Likewise that of the intervals of each model at each hospital."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One simulation.

    Attributes:
        protocol: The study; a seed given on the command line is already in it where the mechanism allows one.
        folder: Where the protocol's loadings are, or None.
        consortium: The hospitals and their patients.
        backend: `inline` or `ray`.
        seed: Of intervals and baselines.
        folds: 0 for the protocol's one held-out split; K >= 2 for K-fold cross-validation of every model.
        leave_one_out: Also train without each site in turn and test on it.
    """

    protocol: StudyProtocol
    folder: Path | None
    consortium: Consortium
    backend: Backend = "inline"
    seed: int = 0
    folds: int = 0
    leave_one_out: str = "no"


def simulate(plan: Plan, out: Path, *, step: Step = lambda *_: None) -> Results:
    """Run the plan, or finish an interrupted run of the same plan.

    Args:
        plan: What to run.
        out: The run folder.
        step: Called as work proceeds.

    Raises:
        UsageError: `out` holds something else, or external sites would train.
        PolicyRefusal: A site's own policy refuses the study.
        StudyError: A round used up its attempts, or training diverged.
    """
    if plan.folds and plan.protocol.external_sites:
        raise UsageError(
            "cross-validation would train on patients of external sites",
            advice="leave --folds out, or evaluation.external_sites",
        )
    run = RunFolder(out)
    run.claim(_facts(plan))
    run.keep_protocol(plan.protocol, plan.folder)
    plan.consortium.move_in()
    path = FeaturePath.from_protocol(plan.protocol, plan.folder)
    plan = replace(plan, consortium=with_external(plan.consortium, plan.protocol))
    board = Board(
        outcome=plan.protocol.outcome,
        truth={h.name: h.held_out().targets for h in _tested(plan)},
        groups={h.name: h.held_out_groups() for h in _tested(plan)},
    )
    final, released = _fill(board, plan, run, step)
    model = ReleasedModel(protocol=plan.protocol, parameters=final, path=path)
    model.save(run.model)
    _calibrate(plan, model, run, released)
    run.keep_ledgers({h.name: spends(h) for h in plan.consortium.hospitals})
    step("evaluating", 0, 1)
    private = evaluation_of(plan.protocol, final, released) if released else None
    results = summarise(
        plan.protocol, plan.consortium, board, run, seed=plan.seed, folds=plan.folds, private=private
    )
    across = cross_rows(board, np.random.default_rng([plan.seed, _CROSS_SITE]))
    results = replace(results, carriers=_carriers(plan, model), cross_site=across)
    write_report(results, plan.protocol, run.path)
    write_model_card(results, model, run.path)
    results.save(run.results)
    step("evaluating", 1, 1)
    return results


def _calibrate(plan: Plan, model: ReleasedModel, run: RunFolder, released: Evaluated | None) -> None:
    """Leave beside the model what a hospital needs to say how sure it is; of the last fold, as the model is."""
    if released is not None:
        calibration_of(model.protocol, model.parameters, released, origin="simulation").save(run.calibration)
        return
    rng = np.random.default_rng([plan.seed, _CALIBRATION])
    found = simulated_calibration(model, [h.held_out() for h in _split_as_released(plan)], rng)
    if found is not None:
        found.save(run.calibration)


def _facts(plan: Plan) -> RunFacts:
    return RunFacts(
        protocol=plan.protocol.digest,
        data=plan.consortium.data_digest,
        backend=plan.backend,
        seed=plan.seed,
        folds=plan.folds,
        leave_one_out=plan.leave_one_out,
    )


def _carriers(plan: Plan, model: ReleasedModel) -> tuple[CarrierRow, ...]:
    return carrier_rows(model, _split_as_released(plan), np.random.default_rng([plan.seed, _CARRIERS]))


def _split_as_released(plan: Plan) -> Sequence[Hospital]:
    """The hospitals whose held-out patients did not train the released model: that of the last fold, if there are."""
    hospitals = plan.consortium.hospitals
    if not plan.folds:
        return hospitals
    return [fold_of(h, plan.folds - 1, plan.folds, seed=plan.seed) for h in hospitals]


def _tested(plan: Plan) -> Sequence[Hospital]:
    """The hospitals as they are tested: under cross-validation every patient is held out once."""
    hospitals = plan.consortium.hospitals
    return [h.all_held_out() for h in hospitals] if plan.folds else hospitals


def _fill(board: Board, plan: Plan, run: RunFolder, step: Step) -> tuple[Parameters, Evaluated | None]:
    """Train everything and note every prediction; returns the federated model (of the last fold), and its table."""
    if not plan.folds:
        model = _one_split(board, plan, plan.consortium.hospitals, run, step, suffix="")
        return model, released_table(run.path / "federation", plan.protocol)
    plan = replace(plan, protocol=cross_validated(plan.protocol))
    parts: list[tuple[Board, Sequence[Hospital]]] = []
    final: Parameters = {}
    for fold in range(plan.folds):
        hospitals = [fold_of(h, fold, plan.folds, seed=plan.seed) for h in plan.consortium.hospitals]
        part = Board(outcome=board.outcome, truth={}, groups={})
        final = _one_split(part, plan, hospitals, run, step, suffix=f"-fold-{fold + 1}")
        parts.append((part, hospitals))
    _join(board, parts)
    return final, None


def _join(board: Board, parts: Sequence[tuple[Board, Sequence[Hospital]]]) -> None:
    """Put the predictions of all folds back into the order of the patients."""
    for part, hospitals in parts:
        for kept, found in (
            (board.predictions, part.predictions),
            (board.survival, part.survival),
            (board.cross, part.cross),
        ):
            for model, by_site in found.items():
                for hospital in hospitals:
                    if hospital.name in by_site:
                        _put(kept.setdefault(model, {}), hospital, by_site[hospital.name])


def _put(kept: dict[str, Predictions], hospital: Hospital, made: Predictions) -> None:
    """What one fold said of its patients of a hospital, into the whole."""
    empty = np.full((hospital.rows.n_patients, *made.shape[1:]), np.nan)
    kept.setdefault(hospital.name, empty)[hospital.test] = made


def _one_split(
    board: Board, plan: Plan, hospitals: Sequence[Hospital], run: RunFolder, step: Step, *, suffix: str
) -> Parameters:
    """Train federated, local, pooled and, if asked, leave-one-out models; note what each says of held-out patients."""
    protocol = variant(plan.protocol, suffix)
    hook = _Curves(protocol, hospitals, run, step, measured="yes" if not suffix else "no")
    federated = run_federation(
        Federation(
            protocol=protocol,
            hospitals=hospitals,
            folder=run.path / f"federation{suffix}",
            backend=plan.backend,
            archiving="none" if suffix else "keep",
        ),
        on_round=hook.after_round,
    )
    step("training the yardsticks", 0, 1)
    training = {h.name: h.training() for h in hospitals if h.name not in protocol.external_sites}
    models = train_baselines(protocol, training, seed=plan.seed)
    step("training the yardsticks", 1, 1)
    for hospital in hospitals:
        own = f"local:{hospital.name}"
        for name, model in {"federated": federated, **models}.items():
            if name in ("federated", "pooled", own):
                _note(board, name, protocol, model, hospital)
            elif len(hospitals) <= MOST:
                board.cross.setdefault(name, {})[hospital.name] = predict(
                    protocol, model, hospital.held_out()
                )
    if plan.leave_one_out == "yes":
        _leave_one_out(board, plan, hospitals, run, step, suffix=suffix)
    return federated


def _note(board: Board, name: str, protocol: StudyProtocol, model: Parameters, hospital: Hospital) -> None:
    made = predict(protocol, model, hospital.held_out())
    board.add(name, hospital.name, made, survival_of(protocol, model, made))


def _leave_one_out(
    board: Board, plan: Plan, hospitals: Sequence[Hospital], run: RunFolder, step: Step, *, suffix: str
) -> None:
    hospitals = [h for h in hospitals if h.name not in plan.protocol.external_sites]
    for number, left in enumerate(hospitals):
        step("leaving one site out", number, len(hospitals))
        name = f"{suffix}-without-{number + 1}"
        protocol = variant(plan.protocol, name)
        model = run_federation(
            Federation(
                protocol=protocol,
                hospitals=[h for h in hospitals if h is not left],
                folder=run.path / f"federation{name}",
                backend=plan.backend,
                archiving="none",
            )
        )
        _note(board, f"federated-without:{left.name}", protocol, model, left)
    step("leaving one site out", len(hospitals), len(hospitals))


class _Curves:
    """Measures the joint model on held-out patients as rounds complete, about `CURVE_POINTS` times."""

    def __init__(
        self,
        protocol: StudyProtocol,
        hospitals: Sequence[Hospital],
        run: RunFolder,
        step: Step,
        *,
        measured: str,
    ) -> None:
        self._protocol = protocol
        self._held_out = {h.name: h.held_out() for h in hospitals} if measured == "yes" else {}
        self._run = run
        self._step = step
        self._every = max(1, -(-protocol.federation.rounds // CURVE_POINTS))

    def after_round(self, number: int, parameters: Parameters) -> None:
        rounds = self._protocol.federation.rounds
        if self._held_out and (number % self._every == 0 or number in (1, rounds)):
            self._measure(number, parameters)
        self._step(f"round {number} of {rounds}", number, rounds)

    def _measure(self, number: int, parameters: Parameters) -> None:
        made = {site: predict(self._protocol, parameters, rows) for site, rows in self._held_out.items()}
        board = Board(
            outcome=self._protocol.outcome,
            truth={site: rows.targets for site, rows in self._held_out.items()},
            groups={},
            predictions={"federated": made},
        )
        whole = board.pooled("federated")
        places = [(site, board.truth[site], made[site]) for site in made]
        rows = []
        for on, targets, predictions in [*places, *([(ALL, *whole)] if whole else [])]:
            values = evaluate(self._protocol.outcome, targets, predictions)
            metric = next(name for name in PRIMARY if name in values)
            rows.append(CurveRow(round=number, on=on, metric=metric, value=values[metric]))
        self._run.add_curves(rows)
