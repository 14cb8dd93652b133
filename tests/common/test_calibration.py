"""Calibration and decision curves against scikit-learn and plain loops, 20 cases each, and where they are undefined."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from wardround.common.learning.calibration import (
    BIN_EDGES,
    THRESHOLDS,
    curve,
    expected_error,
    in_the_large,
    net_benefit,
    recalibration,
    treat_all,
)

SEEDS = pytest.mark.parametrize("seed", range(20))
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def case(seed: int) -> Arrays:
    """Outcomes, probabilities with ties, zeros and ones, and two rows of counts, the first of them ones."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(30, 120))
    p = np.round(rng.random(n), int(rng.integers(1, 4)))
    y = (rng.random(n) < np.clip(0.2 + 0.6 * p, 0, 1)).astype(float)
    y[:2] = 0, 1
    counts = rng.integers(0, 4, n).astype(float)
    counts[:2] = 1
    return y, p, np.stack([np.ones(n), counts])


def logits(p: np.ndarray) -> np.ndarray:
    kept = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(kept / (1 - kept)))


@SEEDS
def test_the_curve_is_that_of_scikit_learn_for_the_sample_and_for_a_draw(seed: int) -> None:
    y, p, counts = case(seed)
    found = curve(y, p, counts)
    for row, count in enumerate(counts.astype(int)):
        observed, predicted = calibration_curve(np.repeat(y, count), np.repeat(p, count), n_bins=10)
        kept = found.weight[row] > 0
        assert found.observed[row][kept] == pytest.approx(observed, abs=1e-9)
        assert found.predicted[row][kept] == pytest.approx(predicted, abs=1e-9)


@SEEDS
def test_the_expected_error_is_a_plain_loop_over_the_bins(seed: int) -> None:
    y, p, counts = case(seed)
    expected = 0.0
    for number, (low, high) in enumerate(pairwise(BIN_EDGES)):
        inside = (p > low) & (p <= high) | (number == 0) & (p == 0)
        if inside.any():
            expected += inside.mean() * abs(p[inside].mean() - y[inside].mean())
    assert expected_error(y, p, counts)[0] == pytest.approx(expected, abs=1e-9)


@SEEDS
def test_slope_and_intercept_are_those_of_scikit_learn(seed: int) -> None:
    y, p, counts = case(seed)
    found = recalibration(y, p, counts)
    for row, weights in enumerate(counts):
        model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=500)
        model.fit(logits(p)[:, None], y, sample_weight=weights)
        assert found.slope[row] == pytest.approx(model.coef_[0, 0], abs=1e-6)
        assert found.intercept[row] == pytest.approx(model.intercept_[0], abs=1e-6)


@SEEDS
def test_calibration_in_the_large_makes_the_expected_number_the_observed_one(seed: int) -> None:
    y, p, counts = case(seed)
    for shift, weights in zip(in_the_large(y, p, counts), counts, strict=True):
        assert weights @ (1 / (1 + np.exp(-shift - logits(p)))) == pytest.approx(weights @ y, abs=1e-6)


@SEEDS
def test_net_benefit_is_a_plain_count_of_patients(seed: int) -> None:
    y, p, counts = case(seed)
    for threshold in THRESHOLDS:
        odds = threshold / (1 - threshold)
        for row, count in enumerate(counts.astype(int)):
            treated = [
                (t, pp) for t, pp, c in zip(y, p, count, strict=True) for _ in range(c) if pp >= threshold
            ]
            right = sum(t for t, _ in treated)
            expected = (right - (len(treated) - right) * odds) / count.sum()
            assert net_benefit(y, p, counts, threshold)[row] == pytest.approx(expected, abs=1e-9)
        share = y.mean()
        assert treat_all(y, counts, threshold)[0] == pytest.approx(share - (1 - share) * odds)


def test_overconfident_predictions_have_a_slope_of_one_half_and_timid_ones_of_two() -> None:
    """Observed shares are exactly expit(x / 2), where expit(x) was predicted."""
    x = np.array([-4.0, 4.0])
    share = 1 / (1 + np.exp(-x / 2))
    y, p = np.array([0.0, 1.0, 0.0, 1.0]), np.repeat(1 / (1 + np.exp(-x)), 2)
    weights = np.array([[1 - share[0], share[0], 1 - share[1], share[1]]])
    assert recalibration(y, p, weights).slope == pytest.approx([0.5])
    timid = np.repeat(1 / (1 + np.exp(-x / 4)), 2)
    assert recalibration(y, timid, weights).slope == pytest.approx([2.0])


def test_more_deaths_than_predicted_is_a_positive_intercept() -> None:
    y, p = np.array([1.0, 1.0, 1.0, 0.0]), np.full(4, 0.5)
    assert in_the_large(y, p, np.ones((1, 4))) == pytest.approx([np.log(3)])


@pytest.mark.parametrize(
    ("y", "p"),
    [
        ([1.0, 1.0, 1.0], [0.2, 0.5, 0.9]),
        ([0.0, 1.0, 1.0], [0.5, 0.5, 0.5]),
        ([0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.8, 0.9]),
    ],
    ids=["one outcome", "one prediction", "separated"],
)
def test_a_slope_that_does_not_exist_is_not_a_number(y: list[float], p: list[float]) -> None:
    found = recalibration(np.array(y), np.array(p), np.ones((1, len(y))))
    assert np.isnan(found.slope).all()
    assert np.isnan(found.intercept).all()


def test_nobody_gives_nothing_and_no_warning() -> None:
    none, weights = np.empty(0), np.empty((1, 0))
    assert np.isnan(expected_error(none, none, weights)).all()
    assert np.isnan(recalibration(none, none, weights).slope).all()
    assert np.isnan(in_the_large(none, none, weights)).all()
    assert np.isnan(net_benefit(none, none, weights, 0.5)).all()
