"""The rows about calibration and decisions, with answers known beforehand."""

import math

import numpy as np
import pytest
from tests.runs import RESPONSE, SURVIVAL

from wardround.common.learning.censoring import integrated_brier
from wardround.common.study.outcomes import ContinuousOutcome, Targets
from wardround.simulations.calibrating import CalibrationTables, calibration_tables, wilson
from wardround.simulations.evaluation import Board

NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=99, mean=40, sd=10, source="s")


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def board(n: int = 200, *, temper: float = 1.0) -> Board:
    """Two hospitals; the truth is drawn from probabilities whose logits the model multiplies by `temper`."""
    source = np.random.default_rng(7)
    made = Board(outcome=RESPONSE, truth={}, groups={})
    truth, groups = dict(made.truth), dict(made.groups)
    for site in ("north", "south"):
        logits = source.normal(0, 1.5, n)
        truth[site] = Targets(value=(source.random(n) < 1 / (1 + np.exp(-logits))).astype(float))
        groups[site] = {"sex": np.array(["f", "m", "m", "m"] * (n // 4), dtype=object)}
        made.add("federated", site, 1 / (1 + np.exp(-temper * logits)))
    return Board(outcome=RESPONSE, truth=truth, groups=groups, predictions=made.predictions)


def tables(made: Board) -> CalibrationTables:
    return calibration_tables(made, rng(), resamples=100)


def value(
    found: CalibrationTables, measure: str, on: str = "all", group: str = ""
) -> tuple[float, float, float]:
    row = next(r for r in found.measures if (r.measure, r.on, r.group) == (measure, on, group))
    return row.low, row.value, row.high


def test_honest_probabilities_have_a_slope_near_one_and_doubled_logits_near_one_half() -> None:
    low, slope, high = value(tables(board()), "calibration_slope")
    assert low < 1 < high
    low, halved, high = value(tables(board(temper=2)), "calibration_slope")
    assert halved == pytest.approx(slope / 2)
    assert high < 0.9


def test_sites_groups_and_everybody_are_measured() -> None:
    found = tables(board())
    places = {(row.on, row.column, row.group) for row in found.measures}
    assert places == {
        ("all", "", ""),
        ("north", "", ""),
        ("south", "", ""),
        ("all", "sex", "f"),
        ("all", "sex", "m"),
    }
    assert {(row.on, row.group) for row in found.bins} == {("all", ""), ("all", "f"), ("all", "m")}
    assert {row.patients for row in found.measures if row.group == "f"} == {100}


def test_the_bins_of_all_patients_hold_every_patient_once() -> None:
    found = [row for row in tables(board()).bins if row.group == ""]
    assert sum(row.patients for row in found) == 400
    events = sum(row.patients * row.observed for row in found)
    assert events == pytest.approx(sum(targets.value.sum() for targets in board().truth.values()))
    assert all(row.above < row.predicted <= row.upto for row in found)
    assert all(row.low <= row.observed <= row.high for row in found)


def test_a_decision_curve_starts_at_treating_all_and_a_useful_model_stays_above() -> None:
    rows = [row for row in tables(board()).benefits if row.group == ""]
    assert [row.threshold for row in rows] == pytest.approx(np.arange(1, 20) / 20)
    middle = next(row for row in rows if row.threshold == 0.5)
    assert middle.low <= middle.value <= middle.high
    assert middle.low > max(0, middle.treat_all)


def test_a_group_with_too_few_patients_has_no_curve() -> None:
    made = board(40)
    assert {row.group for row in tables(made).bins} == {"", "m"}


def test_an_outcome_without_probabilities_has_no_tables() -> None:
    made = Board(outcome=NUMBER, truth={}, groups={})
    truth = {site: Targets(value=np.arange(40.0)) for site in ("north", "south")}
    made = Board(outcome=NUMBER, truth=truth, groups={site: {} for site in truth})
    for site in truth:
        made.add("federated", site, np.arange(40.0))
    assert tables(made) == CalibrationTables()


def test_survival_is_judged_at_horizons_and_over_all_of_them() -> None:
    source = np.random.default_rng(5)
    time, event = np.ceil(source.exponential(30, 80)), source.random(80) < 0.7
    survival = np.sort(source.random((80, 4)))[:, ::-1]
    made = Board(
        outcome=SURVIVAL,
        truth={site: Targets(value=time, event=event) for site in ("north", "south")},
        groups={"north": {}, "south": {}},
    )
    for site in ("north", "south"):
        made.add("federated", site, -time, survival)
    found = tables(made)
    subjects = {row.subject for row in found.measures if row.measure == "calibration_slope"}
    assert subjects == {"12 months", "24 months", "48 months"}
    whole = next(row for row in found.measures if (row.measure, row.on) == ("integrated_brier", "all"))
    two = np.tile(time, 2), np.tile(event, 2), np.tile(survival, (2, 1))
    assert whole.subject == "6 to 48 months"
    assert whole.value == integrated_brier(*two, np.ones((1, 160)), np.array(SURVIVAL.cut_points))[0]
    assert whole.low < whole.value < whole.high


def test_wilsons_interval_holds_a_share_that_was_never_seen() -> None:
    low, high = wilson(0.0, 5)
    assert low == 0
    assert high == pytest.approx(0.434, abs=1e-3)  # Newcombe (1998), by his formula 3 without correction
    assert math.isclose(wilson(1.0, 5)[0], 1 - high)
