"""The question of every hospital: is the joint model better than ours, by how much, and how sure are we?

Everything here is exact, on held-out patients, and therefore stays in a simulation: training may be private, these
tables are not. All models are compared on the same patients, and differences are paired.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning.enough import enough
from wardround.common.learning.intervals import bootstrap, paired_difference
from wardround.common.learning.metrics import evaluate
from wardround.common.study.outcomes import Outcome, Targets
from wardround.simulations.hospitals import Groups
from wardround.simulations.resultrows import EvaluationRow, GainRow

ALL = "all"

Predictions = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Held-out patients and what each model said of them.

    Attributes:
        outcome: What is predicted.
        truth: Targets of the held-out patients of each site.
        groups: Subgroup columns of the same patients, in the same order.
        predictions: Model name to site to predictions, in the same order; a model need not cover every site.
        cross: Likewise what a hospital's own model said of patients of the others.
        survival: Likewise the chance of no event up to each cut point; only models that give one.
    """

    outcome: Outcome
    truth: Mapping[str, Targets]
    groups: Mapping[str, Groups]
    predictions: dict[str, dict[str, Predictions]] = field(default_factory=dict)
    survival: dict[str, dict[str, Predictions]] = field(default_factory=dict)
    cross: dict[str, dict[str, Predictions]] = field(default_factory=dict)

    def add(
        self, model: str, site: str, predictions: Predictions, survival: Predictions | None = None
    ) -> None:
        """Note what a model said of a site's held-out patients."""
        self.predictions.setdefault(model, {})[site] = predictions
        if survival is not None:
            self.survival.setdefault(model, {})[site] = survival

    def pooled(self, model: str) -> tuple[Targets, Predictions] | None:
        """All held-out patients together, if the model covers every site."""
        found = self.predictions[model]
        if set(found) != set(self.truth) or len(found) < 2:
            return None
        parts = [self.truth[site] for site in self.truth]
        events = [part.event for part in parts if part.event is not None]
        targets = Targets(
            value=np.concatenate([part.value for part in parts]),
            event=np.concatenate(events) if events else None,
        )
        return targets, np.concatenate([found[site] for site in self.truth])

    def pooled_survival(self, model: str) -> Predictions | None:
        """The same patients' survival, if the model gives any for every site."""
        found = self.survival.get(model, {})
        return np.concatenate([found[site] for site in self.truth]) if set(found) == set(self.truth) else None

    def pooled_groups(self) -> Groups:
        """The same patients' subgroup columns."""
        parts = [self.groups[site] for site in self.truth]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def evaluation_rows(board: Board, rng: np.random.Generator) -> tuple[EvaluationRow, ...]:
    """Every model on every site it covers, and on all patients together, with 95% intervals.

    Args:
        board: Truth and predictions.
        rng: Draws the resamples.
    """
    return tuple(row for model in board.predictions for row in _rows_of(board, model, rng))


def _rows_of(board: Board, model: str, rng: np.random.Generator) -> Iterator[EvaluationRow]:
    places = [(site, board.truth[site], made) for site, made in board.predictions[model].items()]
    if (whole := board.pooled(model)) is not None:
        places.append((ALL, *whole))
    for on, targets, made in places:
        for metric, value in evaluate(board.outcome, targets, made).items():
            low, high = _interval(board.outcome, targets, made, metric, value, rng)
            yield EvaluationRow(model=model, on=on, metric=metric, value=value, low=low, high=high)


def _interval(
    outcome: Outcome,
    targets: Targets,
    made: Predictions,
    metric: str,
    value: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    if math.isnan(value):
        return math.nan, math.nan
    return bootstrap(outcome, targets, made, metric, rng=rng)


def gain_rows(board: Board, rng: np.random.Generator) -> tuple[GainRow, ...]:
    """Per hospital and metric: the federated model against the hospital's own, on the same patients.

    Args:
        board: Truth and predictions of `federated` and of `local:<site>`.
        rng: Draws the resamples.
    """
    return tuple(row for site in board.truth for row in _gains_of(board, site, rng))


def _gains_of(board: Board, site: str, rng: np.random.Generator) -> Iterator[GainRow]:
    joint = board.predictions.get("federated", {}).get(site)
    own = board.predictions.get(f"local:{site}", {}).get(site)
    if joint is None or own is None:
        return
    targets = board.truth[site]
    ours = evaluate(board.outcome, targets, own)
    for metric, value in evaluate(board.outcome, targets, joint).items():
        if math.isnan(value) or math.isnan(ours[metric]):
            continue
        found = paired_difference(board.outcome, targets, joint, own, metric, rng=rng)
        if not enough(board.outcome, targets):
            found = found._replace(low=math.nan, high=math.nan, probability_better=math.nan)
        yield GainRow(
            site=site,
            metric=metric,
            federated=value,
            local=ours[metric],
            difference=found.value,
            low=found.low,
            high=found.high,
            probability_better=found.probability_better,
        )
