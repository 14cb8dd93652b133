"""Survival probabilities against scikit-survival, 20 cases with ties and censoring, and the hazard model by hand."""

import numpy as np
import pytest
from sksurv.metrics import brier_score, integrated_brier_score
from sksurv.nonparametric import CensoringDistributionEstimator
from sksurv.util import Surv

from wardround.common.learning.calibration import recalibration
from wardround.common.learning.censoring import (
    brier_at,
    followed,
    horizon_weights,
    integrated_brier,
    survival_curves,
)

SEEDS = pytest.mark.parametrize("seed", range(20))
Case = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def case(seed: int) -> Case:
    """Times with many ties, events, two rows of counts, horizons within follow-up, and predicted survival."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(40, 120))
    time = np.ceil(rng.exponential(12, n))
    event = rng.random(n) < 0.6
    time[0], event[0] = 60.0, False
    counts = rng.integers(0, 3, n).astype(float)
    counts[0] = 1
    times = np.array([2.0, 6.0, 11.5, 24.0])
    curves = survival_curves(rng.normal(size=n), rng.normal(-1.5, 0.5, 4))
    return time, event, np.stack([np.ones(n), counts]), times, curves


def drawn(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.repeat(values, count.astype(int), axis=0)


@SEEDS
def test_brier_scores_are_those_of_scikit_survival_for_the_sample_and_for_a_draw(seed: int) -> None:
    time, event, counts, times, curves = case(seed)
    whole = integrated_brier(time, event, curves, counts, times)
    for row, count in enumerate(counts):
        target = Surv.from_arrays(drawn(event, count), drawn(time, count))
        expected = brier_score(target, target, drawn(curves, count), times)[1]
        for place, horizon in enumerate(times):
            found = brier_at(time, event, curves[:, place], counts, horizon)[row]
            assert found == pytest.approx(expected[place], abs=1e-9)
        assert whole[row] == pytest.approx(
            integrated_brier_score(target, target, drawn(curves, count), times), abs=1e-9
        )


@SEEDS
def test_the_chance_of_being_followed_is_that_of_scikit_survival(seed: int) -> None:
    time, event, counts, times, _ = case(seed)
    known = CensoringDistributionEstimator().fit(Surv.from_arrays(event, time))
    for horizon in times:
        found = followed(time, event, counts, horizon)
        assert found.own[0] == pytest.approx(known.predict_proba(time), abs=1e-9)
        assert found.horizon[0] == pytest.approx(known.predict_proba(np.array([horizon]))[0], abs=1e-9)


@SEEDS
def test_calibration_at_a_horizon_weighs_the_followed_by_scikit_survivals_chance(seed: int) -> None:
    """The same slope as a regression on patients who are repeated in proportion to their weight."""
    from sklearn.linear_model import LogisticRegression

    time, event, counts, times, curves = case(seed)
    known, horizon = CensoringDistributionEstimator().fit(Surv.from_arrays(event, time)), times[2]
    by_then = (time <= horizon) & event
    chance = np.where(by_then, known.predict_proba(time), known.predict_proba(np.array([horizon]))[0])
    weights = np.where(by_then | (time > horizon), 1 / chance, 0.0)
    assert horizon_weights(time, event, counts, horizon)[0] == pytest.approx(weights, abs=1e-9)
    risk = 1 - curves[:, 2]
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=500)
    model.fit(np.log(risk / (1 - risk))[:, None], by_then, sample_weight=weights)
    found = recalibration(by_then.astype(float), risk, horizon_weights(time, event, counts, horizon))
    assert found.slope[0] == pytest.approx(model.coef_[0, 0], abs=1e-6)


def test_without_losses_every_patient_counts_once() -> None:
    time, event = np.array([1.0, 2.0, 2.0, 5.0]), np.ones(4, bool)
    assert horizon_weights(time, event, np.ones((1, 4)), 2.0).tolist() == [[1, 1, 1, 1]]


def test_a_lost_patient_hands_its_weight_to_those_who_were_followed_longer() -> None:
    time, event = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True])
    assert horizon_weights(time, event, np.ones((1, 4)), 3.0)[0] == pytest.approx([1, 0, 1.5, 1.5])


def test_a_higher_risk_survives_less_and_survival_only_falls() -> None:
    curves = survival_curves(np.array([-1.0, 0.0, 2.0]), np.array([-2.0, -1.0, -3.0]))
    assert (np.diff(curves, axis=0) < 0).all()
    assert (np.diff(curves, axis=1) < 0).all()
    hazards = 1 / (1 + np.exp(-np.array([0.0, 1.0, -1.0])))
    assert curves[2] == pytest.approx(np.cumprod(1 - hazards))


def test_nobody_gives_no_score_and_no_warning() -> None:
    none = np.empty(0)
    found = integrated_brier(
        none, none.astype(bool), np.empty((0, 2)), np.empty((1, 0)), np.array([1.0, 2.0])
    )
    assert np.isnan(found).all()
