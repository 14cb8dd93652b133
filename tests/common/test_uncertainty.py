"""What a released table says about one patient: an interval that says what it covers, a set, or why there is none."""

import math
from dataclasses import replace

import numpy as np
from lifelines import KaplanMeierFitter
from tests.imagined import TIMES, courses, forecasts

from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.conformal import DISTANCES
from wardround.common.learning.histograms import PROBABILITY, Bins, Courses, binary_table, survival_table
from wardround.common.learning.noisytables import NoisedTable
from wardround.common.learning.uncertainty import Uncertainty, kaplan_meier
from wardround.common.study.evaluation import subjects_of
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)

BINARY = BinaryOutcome(column="y", positive=("yes",), negative=("no",), source="s")
CLASSES = ClassOutcome(column="y", classes=("a", "b", "c"), source="s")
NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=100, mean=50, sd=10, source="s")
SURVIVAL = SurvivalOutcome(
    time_column="t", event_column="e", event_values=("1",), censored_values=("0",), unit="months",
    high=120.0, cut_points=(6.0, 12.0, 24.0, 48.0), source="s",
)  # fmt: skip
CHANCES = Bins(edges=(0.15, 0.3, 0.45, 0.65), low=0.0, high=1.0, source="s")


def uncertain(outcome: Outcome, cells: np.ndarray, bins: Bins, deviation: float = 2.0) -> Uncertainty:
    noise = np.random.default_rng(5).normal(0, deviation, cells.shape)
    calibration = Calibration(
        protocol="p", model="m", table=NoisedTable(cells=cells + noise, deviation=deviation),
        bins=(bins,) * len(subjects_of(outcome)),
        times=TIMES if isinstance(outcome, SurvivalOutcome) else None,
        epsilon=3.0, delta=1e-5, mechanism="joint-noise", sites=4, origin="study",
    )  # fmt: skip
    return Uncertainty(outcome=outcome, calibration=calibration)


def binary(n: int = 2000, seed: int = 1) -> Uncertainty:
    return uncertain(BINARY, binary_table(forecasts(n, seed), bins=PROBABILITY)[None, :, :, 0], PROBABILITY)


def test_the_interval_is_of_the_share_in_the_bin_and_that_of_no_is_its_mirror() -> None:
    answers = binary()
    p = np.array([0.03, 0.3, 0.6, 0.95])
    found = answers.intervals(np.stack([1 - p, p], axis=1))
    assert found.shape == (4, 2, 2)
    assert np.allclose(found[:, 0, 0], 1 - found[:, 1, 1])
    assert np.allclose(found[:, 0, 1], 1 - found[:, 1, 0])
    assert ((found[:, 1, 0] < [0.05, 0.35, 0.7, 1.0]) & (found[:, 1, 1] > [0.0, 0.2, 0.5, 0.85])).all()


def test_intervals_hold_the_true_share_of_their_bin_in_nearly_all_repetitions() -> None:
    # Patients of a model that is right: the truth in a bin is the mean of its probabilities.
    many = forecasts(400_000, seed=9).probability
    place = PROBABILITY.place(many)
    truth = np.array([many[place == b].mean() for b in range(len(PROBABILITY))])
    held: list[bool] = []
    for seed in range(25):
        low, high = binary(1000, seed=100 + seed).by_bin[0].T
        known = ~np.isnan(low)
        held += ((low <= truth) & (truth <= high))[known].tolist()
    assert len(held) > 150
    assert np.mean(held) > 0.93


def test_a_bin_with_hardly_a_patient_is_answered_together_with_its_neighbour() -> None:
    cells = binary_table(forecasts(2000), bins=PROBABILITY)[None, :, :, 0].copy()
    cells[0, 7] = 0
    answers = uncertain(BINARY, cells, PROBABILITY)
    assert answers.groups[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 6]
    assert (answers.by_bin[0, 7] == answers.by_bin[0, 6]).all()


def test_groups_hold_enough_patients_and_few_patients_get_no_interval_at_all() -> None:
    few = binary(400)
    for number in np.unique(few.groups[0]):
        assert few.calibration.table.cells[0][few.groups[0] == number].sum() >= 50
    assert np.isnan(binary(8).by_bin).all()


def test_equal_tables_give_equal_answers() -> None:
    assert (binary().by_bin == binary().by_bin).all()


def test_a_set_is_empty_small_or_everything_and_follows_the_probability() -> None:
    p = np.array([0.01, 0.5, 0.99])
    sets = binary().sets(np.stack([1 - p, p], axis=1))
    assert sets is not None
    assert sets.tolist() == [[True, False], [True, True], [False, True]]


def test_too_few_patients_give_no_set_rather_than_a_small_one() -> None:
    p = np.array([[0.5, 0.5]])
    assert binary(20).sets(p) is None


def test_classes_have_an_interval_and_a_set_each() -> None:
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 1, 1], 1500)
    y = (rng.random((1500, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    cells = np.zeros((3, len(PROBABILITY), 2))
    for k in range(3):
        np.add.at(cells[k], (PROBABILITY.place(p[:, k]), (y == k).astype(int)), 1)
    answers = uncertain(CLASSES, cells, PROBABILITY)
    asked = np.array([[0.9, 0.06, 0.04], [0.3, 0.3, 0.4]])
    sets, intervals = answers.sets(asked), answers.intervals(asked)
    assert sets is not None
    assert sets.tolist() == [[True, False, False], [True, True, True]]
    assert intervals.shape == (2, 3, 2)
    assert intervals[0, 0, 0] > 0.65


def test_a_number_has_a_reach_and_survival_has_no_set_at_all() -> None:
    distance = np.abs(np.random.default_rng(3).normal(0, 1, 1000))
    cells = np.bincount(DISTANCES.place(distance), minlength=len(DISTANCES)).astype(np.float64)
    assert 1.64 <= uncertain(NUMBER, cells, DISTANCES).limit <= 2.1
    assert math.isinf(of_courses().limit)


def of_courses(n: int = 800) -> Uncertainty:
    people = courses(n)
    chance = 1 - np.exp(-48 / 40 * np.exp(people.risk))
    cells = survival_table(Courses(chance, people.time, people.event), risks=CHANCES, times=TIMES)
    return uncertain(SURVIVAL, cells.astype(np.float64), CHANCES)


def test_survival_intervals_hold_what_is_true_in_the_bin_and_fall_with_time_and_risk() -> None:
    answers = of_courses(3000).survival_by_bin
    risk = np.random.default_rng(8).normal(0, 1, 200_000)
    place = CHANCES.place(1 - np.exp(-48 / 40 * np.exp(risk)))
    for b in range(len(CHANCES)):
        truth = np.exp(-np.array(TIMES.edges) / 40 * np.exp(risk[place == b])[:, None]).mean(axis=0)
        low, high = answers[b].T
        known = ~np.isnan(low)
        assert known.all() or b == 0
        assert (low[known] - 0.02 <= truth[known]).all()
        assert (truth[known] <= high[known] + 0.02).all()
    middle = np.nanmean(answers, axis=2)
    assert (np.diff(middle[1:], axis=1) < 0).all()
    assert (np.diff(middle[1:, -1]) < 0).all()


def test_kaplan_meier_is_that_of_lifelines() -> None:
    people = courses(300, seed=4)
    fitted = KaplanMeierFitter().fit(people.time, people.event)
    for at in (3.0, 12.0, 24.0, 60.0):
        assert kaplan_meier(people, at) == float(fitted.predict(at)) or math.isclose(
            kaplan_meier(people, at), float(fitted.predict(at)), abs_tol=1e-9
        )
    assert math.isnan(kaplan_meier(replace_none(people), 3.0))


def replace_none(people: Courses) -> Courses:
    nobody = np.zeros(0)
    return people._replace(risk=nobody, time=nobody, event=np.zeros(0, np.bool_))


def test_another_coverage_gives_another_set() -> None:
    wide = replace(binary(), coverage=0.99)
    assert wide.limit > binary().limit
