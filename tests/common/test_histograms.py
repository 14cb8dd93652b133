"""One patient, one cell: the table that a private evaluation adds noise to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import UsageError
from wardround.common.learning.histograms import (
    PROBABILITY,
    Bins,
    Courses,
    Forecasts,
    binary_table,
    survival_table,
)

RISKS = Bins(edges=(-0.5, 0.5), low=-2.0, high=2.0, source="s")
TIMES = Bins(edges=(12.0, 24.0), low=0.0, high=60.0, source="s")
GROUPS = ("f", "m")
scores = st.one_of(st.floats(-2, 3), st.just(float("nan")), st.just(float("inf")), st.just(float("-inf")))
patients = st.lists(
    st.tuples(scores, st.sampled_from([0.0, 1.0, float("nan"), 7.0]), st.sampled_from(["f", "m", "x", None])),
    min_size=1,
    max_size=30,
)


def table(rows: list[tuple[float, float, str | None]]) -> np.ndarray:
    score, y, group = zip(*rows, strict=True) if rows else ((), (), ())
    return binary_table(Forecasts(np.array(score), np.array(y)), bins=PROBABILITY, group=group, groups=GROUPS)


@given(patients, st.integers(0, 29))
def test_taking_a_patient_away_changes_one_cell_by_one(
    rows: list[tuple[float, float, str | None]], which: int
) -> None:
    """Sensitivity 1, for any score, outcome and group, crafted ones too."""
    without = [row for place, row in enumerate(rows) if place != which % len(rows)]
    change = table(rows) - table(without)
    assert np.abs(change).sum() == 1
    assert table(rows).sum() == len(rows)


@given(st.lists(st.tuples(scores, scores, st.booleans()), min_size=1, max_size=20), st.integers(0, 19))
def test_a_survival_table_has_sensitivity_one_too(rows: list[tuple[float, float, bool]], which: int) -> None:
    def counted(chosen: list[tuple[float, float, bool]]) -> np.ndarray:
        risk, time, event = (np.array([row[place] for row in chosen]) for place in range(3))
        return survival_table(Courses(risk, time, event.astype(bool)), risks=RISKS, times=TIMES)

    without = [row for place, row in enumerate(rows) if place != which % len(rows)]
    assert np.abs(counted(rows) - counted(without)).sum() == 1


def test_patients_lie_where_the_edges_say_and_unknown_groups_come_last() -> None:
    found = table([(0.05, 1.0, "f"), (0.06, 0.0, "m"), (0.99, 1.0, None)])
    assert found.shape == (8, 2, 3)
    assert (found[0, 1, 0], found[1, 0, 1], found[7, 1, 2]) == (1, 1, 1)


def test_risk_time_and_event_are_three_axes() -> None:
    course = Courses(np.array([-1.0, 0.9]), np.array([12.0, 30.0]), np.array([True, False]))
    found = survival_table(course, risks=RISKS, times=TIMES)
    assert (found[0, 0, 1], found[2, 2, 0], found.sum()) == (1, 1, 2)


def test_a_patient_with_two_scores_is_refused() -> None:
    with pytest.raises(UsageError, match="one value of each kind for each patient"):
        binary_table(Forecasts(np.zeros(3), np.zeros(2)), bins=PROBABILITY)
    with pytest.raises(UsageError, match="for each of 2 patients"):
        binary_table(Forecasts(np.zeros(2), np.zeros(2)), bins=PROBABILITY, group=["f"], groups=GROUPS)


def test_edges_that_do_not_increase_are_refused() -> None:
    with pytest.raises(UsageError, match="increasing finite bin edges"):
        Bins(edges=(0.5, 0.4), low=0.0, high=1.0, source="s")
