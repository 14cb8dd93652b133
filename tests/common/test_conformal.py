"""Prediction sets hold the truth as often as declared, and privacy noise never makes them too small in secret."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from tests.imagined import forecasts

from wardround.common.errors import UsageError
from wardround.common.learning.conformal import (
    DISTANCES,
    ScoredTable,
    admitted,
    class_scores,
    coverage_found,
    forecast_scores,
    of_classes,
    of_distances,
    of_forecasts,
    threshold,
)
from wardround.common.learning.histograms import PROBABILITY, Forecasts, binary_table
from wardround.common.learning.noisytables import NoisedTable
from wardround.common.learning.tablebins import spread_bins

QUIET = 1e-9


def exact(patients: Forecasts) -> np.ndarray:
    return binary_table(patients, bins=PROBABILITY)[:, :, 0].astype(np.float64)


def noised(cells: np.ndarray, deviation: float, rng: np.random.Generator) -> NoisedTable:
    return NoisedTable(cells=cells + rng.normal(0, deviation, cells.shape), deviation=deviation)


def of_truth(patients: Forecasts) -> np.ndarray:
    """The score of what happened to each patient."""
    scores = forecast_scores(patients.probability, PROBABILITY)
    return np.asarray(scores[np.arange(len(scores)), patients.y.astype(int)])


@pytest.mark.parametrize("n", [9, 19, 60, 301])
@pytest.mark.parametrize("coverage", [0.795, 0.885, 0.955])  # no rank is met to the last digit
def test_without_noise_the_threshold_is_that_of_split_conformal_prediction(n: int, coverage: float) -> None:
    patients = forecasts(n, seed=n)
    rank = math.ceil(round((n + 1) * coverage, 9))
    by_hand = math.inf if rank > n else np.sort(of_truth(patients))[rank - 1]
    found = threshold(
        of_forecasts(NoisedTable(cells=exact(patients), deviation=QUIET), PROBABILITY), coverage=coverage
    )
    # A threshold between two scores of cells admits the same outcomes.
    scores = of_forecasts(NoisedTable(cells=exact(patients), deviation=QUIET), PROBABILITY).scores
    assert (admitted(scores, found) == admitted(scores, by_hand)).all()


def test_with_fewer_patients_than_the_coverage_needs_there_is_no_threshold() -> None:
    table = NoisedTable(cells=exact(forecasts(8)), deviation=QUIET)
    assert math.isinf(threshold(of_forecasts(table, PROBABILITY), coverage=0.9))
    assert math.isfinite(threshold(of_forecasts(table, PROBABILITY), coverage=0.8))


@pytest.mark.parametrize(("n", "deviation"), [(300, 0.5), (300, 4.0), (1000, 2.0)])
def test_noise_makes_a_set_too_small_no_more_often_than_stated(n: int, deviation: float) -> None:
    rng = np.random.default_rng(1)
    cells = exact(forecasts(n, seed=2))
    least = threshold(of_forecasts(NoisedTable(cells=cells, deviation=QUIET), PROBABILITY))
    drawn = [
        threshold(of_forecasts(noised(cells, deviation, rng), PROBABILITY), confidence=0.8)
        for _ in range(1000)
    ]
    smaller = sum(one < least for one in drawn)
    assert binomtest(smaller, 1000, 0.2, alternative="greater").pvalue > 1e-3


def test_the_correction_is_exact_where_only_two_cells_decide() -> None:
    # One hypothesis stands at its very limit: it is accepted in just 1 - confidence of the draws.
    rng = np.random.default_rng(3)
    cells, scores = np.array([900.0, 99.1]), np.array([0.1, 0.9])
    found = [
        threshold(ScoredTable(table=noised(cells, 5.0, rng), scores=scores), confidence=0.9) == 0.1
        for _ in range(2000)
    ]
    assert 0.07 < np.mean(found) < 0.13


def test_a_lower_threshold_is_not_tried_once_one_has_failed() -> None:
    # Noise below zero would let the lowest pass by luck; the middle one has failed before it.
    cells, scores = np.array([1000.0, -200.0, 150.0]), np.array([0.1, 0.5, 0.9])
    scored = ScoredTable(table=NoisedTable(cells=cells, deviation=1.0), scores=scores)
    assert threshold(scored, coverage=0.9) == 0.9


def test_new_patients_are_covered_as_declared_under_noise() -> None:
    rng = np.random.default_rng(4)
    held = []
    for number in range(300):
        table = noised(exact(forecasts(300, seed=number)), 2.0, rng)
        limit = threshold(of_forecasts(table, PROBABILITY), coverage=0.8)
        held.append(admitted(of_truth(forecasts(200, seed=10_000 + number)), limit).mean())
    assert 0.8 <= np.mean(held) < 0.9


def test_several_classes_are_covered_from_one_table_per_class() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1.5, (4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = (rng.random((4000, 1)) > np.cumsum(p, axis=1)).sum(axis=1)
    first = slice(0, 1000)
    bins = (PROBABILITY, spread_bins(-0.8, 1.8), spread_bins(0.5, 3.0))  # each class has its own
    asked = [Forecasts(p[first, k], (y[first] == k).astype(np.float64)) for k in range(3)]
    cells = np.stack([binary_table(one, bins=own)[:, :, 0] for one, own in zip(asked, bins, strict=True)])
    limit = threshold(of_classes(noised(cells, 2.0, rng), bins), coverage=0.9)
    sets = admitted(class_scores(p[1000:], bins), limit)
    held = sets[np.arange(3000), y[1000:]].mean()
    assert 0.89 < held < 0.97  # eight bins are coarse
    assert 1.0 < sets.sum(axis=1).mean() < 2.9


def test_a_distance_beyond_the_last_edge_is_never_promised() -> None:
    far = np.zeros(len(DISTANCES))
    far[-1] = 1000.0
    assert math.isinf(threshold(of_distances(NoisedTable(cells=far, deviation=1.0), DISTANCES)))
    near = np.zeros(len(DISTANCES))
    near[7] = 1000.0
    assert threshold(of_distances(NoisedTable(cells=near, deviation=0.1), DISTANCES)) == 1.0


def test_coverage_among_known_outcomes_has_the_exact_binomial_interval() -> None:
    for held, of in ((0, 30), (25, 30), (30, 30), (180, 200)):
        found = coverage_found(np.arange(of) < held, 0.9)
        oracle = binomtest(held, of).proportion_ci(method="exact")
        assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert coverage_found(np.arange(200) < 150, 0.9).verdict == "below"
    assert coverage_found(np.arange(200) < 181, 0.9).verdict == "as declared"
    assert coverage_found(np.arange(200) < 200, 0.9).verdict == "above"
    assert coverage_found(np.arange(19) < 1, 0.9).verdict == "too few patients to tell"


def test_scores_that_are_no_numbers_or_not_one_per_cell_are_refused() -> None:
    table = NoisedTable(cells=np.zeros(3), deviation=1.0)
    for scores in (np.zeros(2), np.array([0.0, np.nan, 1.0])):
        with pytest.raises(UsageError, match="one score for each"):
            ScoredTable(table=table, scores=scores)
    with pytest.raises(UsageError):
        threshold(ScoredTable(table=table, scores=np.zeros(3)), coverage=1.0)
