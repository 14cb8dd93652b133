"""Guessing an outcome from its column."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from wardround.common.errors import UsageError
from wardround.common.study.draft_outcome import guess_outcome, guess_survival
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, ContinuousOutcome
from wardround.common.study.schema import DRAFTED


def table(**columns: Sequence[object]) -> pd.DataFrame:
    """A table as it is read: text, and NaN where missing."""
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("cells", "positive", "negative"),
    [
        (["0", "1", "1", np.nan], ("1",), ("0",)),
        ([0.0, 1.0, np.nan, 1.0], ("1",), ("0",)),
        (["1.0", "0.0"], ("1",), ("0",)),
        (["Yes", "No", " Yes "], ("Yes",), ("No",)),
        (["neg", "pos"], ("pos",), ("neg",)),
        (["LIVING", "DECEASED"], ("DECEASED",), ("LIVING",)),
        (["0:LIVING", "1:DECEASED"], ("1:DECEASED",), ("0:LIVING",)),
        (["+", "-"], ("+",), ("-",)),
    ],
)
def test_two_spellings_of_which_one_means_yes(
    cells: list[object], positive: tuple[str, ...], negative: tuple[str, ...]
) -> None:
    assert guess_outcome(table(y=cells), "y") == BinaryOutcome(
        column="y", positive=positive, negative=negative, source=DRAFTED
    )


def test_positive_makes_any_column_binary() -> None:
    outcome = guess_outcome(table(y=["LumA", "LumB", "Basal", "LumA"]), "y", positive=["LumA", "LumB"])
    assert isinstance(outcome, BinaryOutcome)
    assert (outcome.positive, outcome.negative) == (("LumA", "LumB"), ("Basal",))


@pytest.mark.parametrize(
    ("cells", "positive"),
    [(["male", "female"], []), (["1", "yes"], []), (["a", "b"], ["c"]), (["a", "b"], ["a", "b"])],
)
def test_an_unclear_yes_asks_for_it_and_shows_no_cell(cells: list[object], positive: list[str]) -> None:
    with pytest.raises(UsageError, match="not clear") as caught:
        guess_outcome(table(y=cells), "y", positive=positive)
    assert "--positive" in caught.value.advice
    assert not any(repr(cell) in str(caught.value) for cell in cells)


def test_words_become_sorted_classes() -> None:
    outcome = guess_outcome(table(y=["b", "c", "a", "a", np.nan, ""]), "y")
    assert outcome == ClassOutcome(column="y", classes=("a", "b", "c"), source=DRAFTED)


def test_few_whole_numbers_are_classes_and_many_are_a_measurement() -> None:
    assert isinstance(guess_outcome(table(y=[*"0123410"]), "y"), ClassOutcome)
    measured = guess_outcome(table(y=[str(number) for number in range(20, 60)]), "y")
    assert measured == ContinuousOutcome(
        column="y", unit="1", low=19.0, high=60.0, mean=39.5, sd=11.5, source=DRAFTED
    )


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1", "1"], "fewer than two distinct"),
        ([np.nan, ""], "fewer than two distinct"),
        ([f"word {number}" for number in range(31)], "more than 30 classes"),
    ],
)
def test_unusable_columns_are_refused(cells: list[object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        guess_outcome(table(y=cells), "y")
    with pytest.raises(UsageError, match="no column 'Y'"):
        guess_outcome(table(y=cells), "Y")


def test_cut_points_are_quantiles_of_event_times_only() -> None:
    times = np.arange(1.0, 401.0)
    observed = np.where(times <= 200, "1", "0")
    outcome = guess_survival(table(t=list(times), e=list(observed)), time="t", event="e", unit="days")
    expected = [float(f"{value:.3g}") for value in np.quantile(times[:200], np.linspace(0.095, 0.95, 10))]
    assert list(outcome.cut_points) == expected
    assert (outcome.high, outcome.unit, outcome.source) == (410.0, "days", DRAFTED)
    assert (outcome.event_values, outcome.censored_values) == (("1",), ("0",))


@pytest.mark.parametrize(("events", "intervals"), [(2, 2), (20, 2), (50, 5), (99, 9), (100, 10), (500, 10)])
def test_more_events_allow_more_intervals(events: int, intervals: int) -> None:
    frame = table(t=[1.0 + number for number in range(events)] + [9.0], e=["1"] * events + ["0"])
    assert len(guess_survival(frame, time="t", event="e", unit="months").cut_points) == intervals


def test_a_cause_of_death_can_be_named_as_the_event() -> None:
    status = ["Living", "Died of Disease", "Died of Other Causes"] * 4
    frame = table(t=[str(number + 1) for number in range(12)], e=list(status))
    outcome = guess_survival(frame, time="t", event="e", unit="months", positive=["Died of Disease"])
    assert outcome.event_values == ("Died of Disease",)
    assert outcome.censored_values == ("Died of Other Causes", "Living")


def test_times_of_zero_and_patients_without_a_time_are_left_aside() -> None:
    frame = table(t=["0", "5", "6", "7", np.nan, "-3"], e=["1", "1", "1", "0", "1", "1"])
    cuts = guess_survival(frame, time="t", event="e", unit="years").cut_points
    assert 5.0 < cuts[0] < cuts[-1] < 6.0


@pytest.mark.parametrize(
    ("times", "unit", "message"),
    [
        (["a", "b", "c"], "days", "no number above zero"),
        (["1", "2", "3"], "weeks", "days, months, years"),
        (["0", "2", "3"], "days", "fewer than two events"),
    ],
)
def test_an_unusable_follow_up_is_refused(times: list[object], unit: str, message: str) -> None:
    frame = table(t=times, e=["1", "1", "0"])
    with pytest.raises(UsageError, match=message):
        guess_survival(frame, time="t", event="e", unit=unit)
