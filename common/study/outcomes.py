"""What a study predicts, and the targets of patients.

Signs and units are fixed here once: `event` is True when the death or relapse was observed, `time` is positive
in the outcome's `unit`, and a higher risk score always means a worse prognosis.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryOutcome:
    """Yes or no. `positive` and `negative` are the spellings found in the column."""

    column: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse empty or overlapping spellings."""
        if not self.positive or not self.negative or set(self.positive) & set(self.negative):
            raise ProtocolError(f"outcome {self.column!r}: positive and negative need distinct spellings")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOutcome:
    """One of several classes, listed publicly; their order is the order of the model's outputs."""

    column: str
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse fewer than two classes or a class listed twice."""
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ProtocolError(f"outcome {self.column!r}: list at least two distinct classes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousOutcome:
    """A number in `unit`, clamped to the public range [low, high], standardised by public `mean` and `sd`."""

    column: str
    unit: str
    low: float
    high: float
    mean: float
    sd: float
    source: str

    def __post_init__(self) -> None:
        """Refuse an empty range or a non-positive sd."""
        if not (self.low < self.high and self.sd > 0):
            raise ProtocolError(f"outcome {self.column!r}: expected low < high and sd > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivalOutcome:
    """Right-censored time to an event.

    Attributes:
        time_column: Time from the index date, in `unit`, > 0.
        event_column: Whether the event was observed at that time.
        event_values: Spellings that mean observed; `censored_values`: spellings that mean censored.
        unit: `days`, `months` or `years`.
        high: Largest plausible time in `unit`.
        cut_points: Public, increasing, in `unit`: the ends of the discrete-time intervals. A patient followed
            beyond the last cut point counts as censored there.
    """

    time_column: str
    event_column: str
    event_values: tuple[str, ...]
    censored_values: tuple[str, ...]
    unit: str
    high: float
    cut_points: tuple[float, ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse unordered cut points, an unknown unit and overlapping spellings."""
        cuts = self.cut_points
        if not cuts or cuts[0] <= 0 or any(b <= a for a, b in zip(cuts, cuts[1:], strict=False)):
            raise ProtocolError(f"outcome {self.time_column!r}: cut points must increase from above zero")
        if self.unit not in DAYS_PER_UNIT:
            raise ProtocolError(f"outcome {self.time_column!r}: unit is one of {', '.join(DAYS_PER_UNIT)}")
        if not self.event_values or set(self.event_values) & set(self.censored_values):
            raise ProtocolError(
                f"outcome {self.event_column!r}: observed and censored need distinct spellings"
            )
        if not self.high > 0:
            raise ProtocolError(f"outcome {self.time_column!r}: expected high > 0")


DAYS_PER_UNIT: Final = {"days": 1.0, "months": 30.4375, "years": 365.25}

Outcome = BinaryOutcome | ClassOutcome | ContinuousOutcome | SurvivalOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The outcome of n patients. Private: an argument or a local value, never a field of anything public.

    Attributes:
        value: Shape (n,). Binary: 0 or 1. Class: index into `classes`. Continuous: standardised by the public
            moments. Survival: time in the outcome's unit.
        event: Shape (n,), True where the event was observed; None unless survival.
    """

    value: NDArray[np.float64]
    event: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.value)

    def take(self, patients: NDArray[np.int64]) -> "Targets":
        """The targets of some patients, in the given order."""
        event = None if self.event is None else self.event[patients]
        return Targets(value=self.value[patients], event=event)


def output_width(outcome: Outcome) -> int:
    """How many numbers a model gives per patient: logits, or hazards of each interval."""
    match outcome:
        case ClassOutcome():
            return len(outcome.classes)
        case SurvivalOutcome():
            return len(outcome.cut_points)
        case _:
            return 1
