"""Yes-or-no questions about patients, so that every outcome's probabilities are judged by the same measures.

Binary: did it happen. Class: is it this class, for each class. Survival: did it happen by this horizon, for at most
`HORIZONS` of the public cut points; patients who were lost before it count through the others (see `censoring`). A
continuous outcome asks none. Exact, not private.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning import calibration
from wardround.common.learning.censoring import horizon_weights
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, Outcome, SurvivalOutcome, Targets

Numbers = NDArray[np.float64]

HORIZONS: Final = 3
MEASURES: Final = (
    "calibration_slope",
    "calibration_intercept",
    "calibration_in_the_large",
    "expected_calibration_error",
    "brier",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question about n patients, and what a model answered.

    Attributes:
        subject: The class, or the horizon with its unit.
        y: Shape (n,), 1 where it happened.
        probability: Shape (n,), of it happening.
        targets: Times and events, where patients may have been lost; else None.
        horizon: By when, for survival.
    """

    subject: str
    y: Numbers = field(repr=False)
    probability: Numbers = field(repr=False)
    targets: Targets | None = field(default=None, repr=False)
    horizon: float = math.inf

    def weights(self, counts: Numbers) -> Numbers:
        """What each patient counts for in each draw, shape (draws, n); see `censoring.horizon_weights`."""
        if self.targets is None or self.targets.event is None:
            return counts
        return horizon_weights(self.targets.value, self.targets.event, counts, self.horizon)


def questions(
    outcome: Outcome, targets: Targets, predictions: Numbers, survival: Numbers | None
) -> tuple[Question, ...]:
    """Every question of an outcome.

    Args:
        outcome: The study's outcome.
        targets: n patients.
        predictions: As `predictions.predict` gives them.
        survival: Shape (n, J), for survival: the chance of no event up to each cut point; None where the model gives
            none, as with the Cox loss.
    """
    match outcome:
        case BinaryOutcome():
            subject = f"{outcome.column}: {outcome.positive[0]}"
            return (Question(subject=subject, y=targets.value, probability=predictions),)
        case ClassOutcome():
            return tuple(
                Question(
                    subject=name,
                    y=(targets.value == place).astype(np.float64),
                    probability=predictions[:, place],
                )
                for place, name in enumerate(outcome.classes)
            )
        case SurvivalOutcome() if survival is not None:
            return tuple(_at(outcome, targets, survival, place) for place in horizons(outcome))
        case _:
            return ()


def horizons(outcome: SurvivalOutcome) -> list[int]:
    """Places of the cut points that are asked about: the last one, and others spread evenly before it.

    Example:
        >>> horizons(SurvivalOutcome(
        ...     time_column="t", event_column="e", event_values=("1",), censored_values=("0",), unit="months",
        ...     high=99.0, cut_points=(6.0, 12.0, 24.0, 36.0, 48.0, 60.0), source="s",
        ... ))
        [1, 3, 5]
    """
    total = len(outcome.cut_points)
    asked = min(HORIZONS, total)
    return [math.ceil(total * (number + 1) / asked) - 1 for number in range(asked)]


def _at(outcome: SurvivalOutcome, targets: Targets, survival: Numbers, place: int) -> Question:
    horizon = outcome.cut_points[place]
    event = np.zeros(len(targets), np.bool_) if targets.event is None else targets.event
    return Question(
        subject=f"{horizon:g} {outcome.unit}",
        y=((targets.value <= horizon) & event).astype(np.float64),
        probability=1 - survival[:, place],
        targets=targets,
        horizon=horizon,
    )


def measure(question: Question, counts: Numbers) -> dict[str, Numbers]:
    """Every measure of `MEASURES` in each draw, shapes (draws,); NaN where undefined.

    Args:
        question: n patients.
        counts: Shape (draws, n), how often each was drawn; a row of ones is the sample itself.
    """
    y, p, weights = question.y, question.probability, question.weights(counts)
    fitted = calibration.recalibration(y, p, weights)
    return {
        "calibration_slope": fitted.slope,
        "calibration_intercept": fitted.intercept,
        "calibration_in_the_large": calibration.in_the_large(y, p, weights),
        "expected_calibration_error": calibration.expected_error(y, p, weights),
        "brier": calibration.ratio(weights @ (y - p) ** 2, counts.sum(axis=1, dtype=np.float64)),
    }
