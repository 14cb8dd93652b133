"""A first guess of an outcome from the column that holds it. Whoever drafts must read it before anyone signs it.

Assumes a column of one study's own table, so every constant is marked `DRAFTED`.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.study.draft_table import YES, read_columns, spellings
from wardround.common.study.outcomes import (
    DAYS_PER_UNIT,
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)
from wardround.common.study.rounding import outwards, significant
from wardround.common.study.schema import DRAFTED

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES: Final = 30
MOST_CODED_CLASSES: Final = 10
"""More distinct whole numbers than this are read as a measurement, not as classes."""


def guess_outcome(frame: "pd.DataFrame", column: str, *, positive: Collection[str] = ()) -> Outcome:
    """Binary, classes or continuous, by what the column holds.

    Args:
        frame: The table.
        column: The outcome's column.
        positive: Spellings that mean yes; makes the outcome binary.

    Raises:
        UsageError: The column is absent or constant, or yes and no cannot be told apart.
    """
    words = _words(frame, column)
    table = read_columns(frame, [column])
    if positive or len(words) == 2:
        yes, no = _yes_and_no(column, words, positive)
        return BinaryOutcome(column=column, positive=yes, negative=no, source=DRAFTED)
    values = table.known(0)
    if not table.numeric(0) or _looks_coded(values):
        return _classes(column, words)
    low, high = outwards(values)
    return ContinuousOutcome(
        column=column,
        unit="1",
        low=low,
        high=high,
        mean=significant(float(values.mean())),
        sd=significant(float(values.std())),
        source=DRAFTED,
    )


def guess_survival(
    frame: "pd.DataFrame", *, time: str, event: str, unit: str, positive: Collection[str] = ()
) -> SurvivalOutcome:
    """Time to an event, with interval ends at quantiles of the observed event times.

    Args:
        frame: The table.
        time: Column of the time since the index date, in `unit`.
        event: Column that says whether the event was observed.
        unit: `days`, `months` or `years`.
        positive: Spellings of `event` that mean observed; guessed where absent.

    Raises:
        UsageError: A column is absent or not usable, or fewer than two events are in the table.
    """
    yes, no = _yes_and_no(event, _words(frame, event), positive)
    if unit not in DAYS_PER_UNIT:
        raise UsageError(f"expected --unit to be one of {', '.join(DAYS_PER_UNIT)}; found {unit!r}")
    _words(frame, time)
    times, observed = _times(frame, time, event, yes)
    cuts = _cut_points(times[observed], time)
    return SurvivalOutcome(
        time_column=time,
        event_column=event,
        event_values=yes,
        censored_values=no,
        unit=unit,
        high=max(outwards(times)[1], cuts[-1]),
        cut_points=cuts,
        source=DRAFTED,
    )


def _words(frame: "pd.DataFrame", column: str) -> tuple[str, ...]:
    if column not in frame.columns:
        raise UsageError(f"the table has no column {column!r}", advice="names are case-sensitive")
    words = spellings(frame[column])
    if len(words) < 2:
        raise UsageError(f"outcome column {column!r} holds fewer than two distinct values")
    return words


def _yes_and_no(
    column: str, words: tuple[str, ...], positive: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    yes = tuple(word for word in words if word in positive or (not positive and YES.fullmatch(word)))
    no = tuple(word for word in words if word not in yes)
    if set(positive) - set(words) or not yes or not no or (len(words) > 2 and not positive):
        raise UsageError(
            f"column {column!r} has {len(words)} distinct spellings, and which of them mean yes is not clear",
            advice="name each spelling that means yes (the event was observed) with --positive",
        )
    return yes, no


def _looks_coded(values: NDArray[np.float64]) -> bool:
    distinct = np.unique(values)
    return len(distinct) <= MOST_CODED_CLASSES and bool((distinct == np.round(distinct)).all())


def _classes(column: str, words: tuple[str, ...]) -> ClassOutcome:
    if len(words) > MOST_CLASSES:
        raise UsageError(
            f"outcome column {column!r} has {len(words)} distinct spellings, more than {MOST_CLASSES} classes",
            advice="choose another column, or group the classes first",
        )
    return ClassOutcome(column=column, classes=words, source=DRAFTED)


def _times(
    frame: "pd.DataFrame", time: str, event: str, yes: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    from wardround.common.learning.values import category_codes, numbers

    times = numbers(frame[[time]])[:, 0]
    usable = times > 0
    if not usable.any():
        raise UsageError(f"time column {time!r} holds no number above zero")
    observed: NDArray[np.bool_] = category_codes(frame[event], yes) >= 0
    return times[usable], observed[usable]


def _cut_points(event_times: NDArray[np.float64], time: str) -> tuple[float, ...]:
    """Quantiles up to the 95th, so that few patients reach the last interval's end; 2 to 10 of them."""
    if len(event_times) < 2:
        raise UsageError(f"fewer than two events have a time above zero in column {time!r}")
    count = int(np.clip(len(event_times) // 10, 2, 10))
    quantiles = np.quantile(event_times, np.linspace(0, 0.95, count + 1)[1:])
    return tuple(sorted({significant(float(value)) for value in quantiles}))
