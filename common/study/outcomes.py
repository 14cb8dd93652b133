"""What a study predicts, and the targets of patients.

Signs and units are fixed here once: `event` is True when the death or relapse was observed, `time` is
positive in the outcome's `unit`, and a higher risk score always means a worse prognosis.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import ProtocolError


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryOutcome:
    """Yes or no.

    Attributes:
        column: The column that holds the outcome, one value per patient.
        positive: Spellings that mean yes; for a column of numbers one comparison, e.g. `>0.4`.
        negative: Spellings that mean no; for a column of numbers the opposite comparison, `<=0.4`.
        source: Where these constants come from.
    """

    column: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse empty or overlapping spellings, and a comparison that leaves a gap."""
        if not self.positive or not self.negative or set(self.positive) & set(self.negative):
            raise ProtocolError(f"outcome {self.column!r}: positive and negative need distinct spellings")
        found = [_COMPARISON.fullmatch(each) for each in (*self.positive, *self.negative)]
        if any(found) and not _opposite(found):
            raise ProtocolError(
                f"outcome {self.column!r}: a comparison stands alone and needs its exact opposite",
                advice='for example positive = [">0.4"] and negative = ["<=0.4"]',
            )

    @property
    def comparison(self) -> tuple[str, float] | None:
        """The sign and number that mean yes, where the column holds numbers.

        Example:
            >>> BinaryOutcome(column="x", positive=(">0.4",), negative=("<=0.4",), source="s").comparison
            ('>', 0.4)
        """
        found = _COMPARISON.fullmatch(self.positive[0])
        return (found[1], float(found[2])) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassOutcome:
    """One of several classes, listed publicly.

    Attributes:
        column: The column that holds the outcome, one value per patient.
        classes: Every class, spelled as in the column; their order is the order of the model's outputs.
        source: Where these constants come from.
    """

    column: str
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        """Refuse fewer than two classes or a class listed twice."""
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise ProtocolError(f"outcome {self.column!r}: list at least two distinct classes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousOutcome:
    """A number, clamped to a public range and standardised by public moments.

    Attributes:
        column: The column that holds the outcome, one value per patient.
        unit: UCUM-like unit of the column; `1` where there is none.
        low: Smallest plausible value, in `unit`; smaller ones are read as this.
        high: Largest plausible value, in `unit`; larger ones are read as this.
        mean: Public reference mean, in `unit`.
        sd: Public reference standard deviation, in `unit`, > 0.
        source: Where these constants come from.
    """

    column: str
    unit: str
    low: float
    high: float
    mean: float
    sd: float
    source: str

    def __post_init__(self) -> None:
        """Refuse an empty or endless range and a non-positive sd."""
        numbers = (self.low, self.high, self.mean, self.sd)
        if not (all(map(math.isfinite, numbers)) and self.low < self.high and self.sd > 0):
            raise ProtocolError(f"outcome {self.column!r}: expected finite low < high, mean and sd > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class SurvivalOutcome:
    """Right-censored time to an event.

    Attributes:
        time_column: Time from the index date, in `unit`, > 0.
        event_column: Whether the event was observed at that time.
        event_values: Spellings that mean observed.
        censored_values: Spellings that mean censored.
        unit: `days`, `months` or `years`.
        high: Largest plausible time in `unit`.
        cut_points: Public, increasing, in `unit`: the ends of the discrete-time intervals. A patient followed
            beyond the last cut point counts as censored there.
        source: Where these constants come from.
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
        ordered = all(low < high < math.inf for low, high in pairwise((0.0, *cuts)))
        if not cuts or not ordered:
            raise ProtocolError(f"outcome {self.time_column!r}: cut points must increase from above zero")
        if self.unit not in DAYS_PER_UNIT:
            raise ProtocolError(f"outcome {self.time_column!r}: unit is one of {', '.join(DAYS_PER_UNIT)}")
        if not self.event_values or set(self.event_values) & set(self.censored_values):
            raise ProtocolError(
                f"outcome {self.event_column!r}: observed and censored need distinct spellings"
            )
        if not 0 < self.high < math.inf:
            raise ProtocolError(f"outcome {self.time_column!r}: expected a finite high > 0")
        if cuts[-1] > self.high:
            raise ProtocolError(f"outcome {self.time_column!r}: the last cut point is beyond high")
        if self.time_column == self.event_column:
            raise ProtocolError(f"outcome {self.time_column!r}: time and event are two columns")


_COMPARISON: Final = re.compile(r"(<=|>=|<|>)([+-]?[0-9]+(?:\.[0-9]+)?)")
_OPPOSITE: Final = {">": "<=", "<=": ">", "<": ">=", ">=": "<"}


def _opposite(found: Sequence[re.Match[str] | None]) -> bool:
    """Whether these are exactly two comparisons, of which one holds wherever the other does not."""
    match found:
        case [re.Match() as first, re.Match() as second]:
            return second[1] == _OPPOSITE[first[1]] and float(second[2]) == float(first[2])
        case _:
            return False


DAYS_PER_UNIT: Final = {"days": 1.0, "months": 30.4375, "years": 365.25}

Outcome = BinaryOutcome | ClassOutcome | ContinuousOutcome | SurvivalOutcome

OUTCOME_KINDS: Final[Mapping[str, type[Outcome]]] = {
    "binary": BinaryOutcome,
    "classes": ClassOutcome,
    "continuous": ContinuousOutcome,
    "survival": SurvivalOutcome,
}
"""The word for each outcome in `study.toml` and in the signed bytes."""


def outcome_kind(outcome: Outcome) -> str:
    """The word for an outcome: `binary`, `classes`, `continuous` or `survival`."""
    return next(kind for kind, cls in OUTCOME_KINDS.items() if isinstance(outcome, cls))


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The outcome of n patients. Private: an argument or a local value, never a field of anything public.

    Attributes:
        value: Shape (n,). Binary: 0 or 1. Class: index into `classes`. Continuous: standardised by the public
            moments. Survival: time in the outcome's unit.
        event: Shape (n,), True where the event was observed; None unless survival.
    """

    value: NDArray[np.float64] = field(repr=False)
    event: NDArray[np.bool_] | None = field(default=None, repr=False)

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
