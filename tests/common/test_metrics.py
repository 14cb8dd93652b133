"""Metrics against scikit-learn, scikit-survival and scipy, and where they are undefined."""

import time as clock
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score, brier_score_loss, r2_score, roc_auc_score
from sksurv.exceptions import NoComparablePairException
from sksurv.metrics import concordance_index_censored
from tests.outcomes import BINARY, CLASSES, NUMBER, SURVIVAL

from wardround.common.errors import UsageError
from wardround.common.learning import metrics
from wardround.common.learning.ordering import pairs_of_events, pairs_of_patients, smaller_before
from wardround.common.study.outcomes import (
    Outcome,
    Targets,
)

seeds = st.integers(0, 10_000)
sizes = st.integers(2, 60)


def probabilities(rng: np.random.Generator, n: int) -> np.ndarray:
    found: np.ndarray = rng.dirichlet(np.ones(4), n)
    return found


@given(sizes, seeds)
def test_binary_metrics_are_those_of_scikit_learn(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.concatenate([[0.0, 1.0], rng.integers(0, 2, n - 2).astype(float)])
    score = np.round(rng.random(n), 1)
    assert metrics.auc(y, score) == pytest.approx(roc_auc_score(y, score))
    assert metrics.accuracy(y, score) == pytest.approx(accuracy_score(y, score > 0.5))
    assert metrics.brier(y, score) == pytest.approx(brier_score_loss(y, score))


@given(seeds)
def test_class_metrics_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(4.0), rng.integers(0, 4, 40).astype(float)])
    p = probabilities(rng, 44)
    assert metrics.macro_auc(y, p) == pytest.approx(roc_auc_score(y, p, multi_class="ovr", average="macro"))
    assert metrics.accuracy(y, p) == pytest.approx(accuracy_score(y, p.argmax(axis=1)))
    assert metrics.brier(y, p) == pytest.approx(((p - np.eye(4)[y.astype(int)]) ** 2).sum(axis=1).mean())


def test_a_class_that_nobody_has_is_left_out_of_the_macro_auc() -> None:
    rng = np.random.default_rng(0)
    y, p = np.array([0.0, 1.0, 2.0, 0.0, 1.0, 2.0]), probabilities(rng, 6)
    expected = np.mean([roc_auc_score(y == place, p[:, place]) for place in range(3)])
    assert metrics.macro_auc(y, p) == pytest.approx(expected)


@given(sizes, seeds)
def test_continuous_metrics_are_those_of_scikit_learn_and_scipy(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.concatenate([[0.0, 9.0], rng.integers(0, 9, n - 2).astype(float)])
    predicted = np.concatenate([[0.0, 1.0], np.round(rng.normal(size=n - 2), 1)])
    assert metrics.r2(y, predicted) == pytest.approx(r2_score(y, predicted))
    assert metrics.spearman(y, predicted) == pytest.approx(spearmanr(y, predicted).statistic)


def sksurv_c_index(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """The oracle, which raises or divides by zero where no pair is comparable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(concordance_index_censored(event, time, risk)[0])
        except (ValueError, NoComparablePairException):
            return float("nan")


@given(sizes, seeds, st.sampled_from([3, 10, 1000]))
def test_the_c_index_is_that_of_scikit_survival_with_ties_in_time_and_risk(
    n: int, seed: int, values: int
) -> None:
    rng = np.random.default_rng(seed)
    time, risk = rng.integers(1, values + 1, n).astype(float), rng.integers(0, values, n).astype(float)
    event = rng.random(n) < 0.6
    found = metrics.c_index(time, event, risk)
    expected = sksurv_c_index(time, event, risk)
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_higher_risk_for_those_who_die_first_is_a_c_index_of_one() -> None:
    time, event = np.array([1.0, 2.0, 3.0]), np.array([True, True, True])
    assert metrics.c_index(time, event, -time) == 1.0
    assert metrics.c_index(time, event, time) == 0.0


def test_the_c_index_of_eleven_thousand_patients_takes_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(0)
    time, risk = rng.exponential(10, 11_000), rng.normal(size=11_000)
    event = rng.random(11_000) < 0.3
    started = clock.process_time()
    metrics.c_index(time, event, risk)
    assert clock.process_time() - started < 2  # measured: 0.02 s


@given(sizes, seeds)
def test_a_patients_pairs_are_those_of_all_pairs(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time, risk = rng.integers(1, 8, n).astype(float), rng.integers(0, 6, n).astype(float)
    event = rng.random(n) < 0.5
    before = (time[:, None] < time) | ((time[:, None] == time) & ~event)
    comparable = (event[:, None] & before).astype(float)
    right = comparable * (0.5 + 0.5 * np.sign(risk[:, None] - risk))
    as_event = pairs_of_events(time, event, risk)
    assert np.array_equal(as_event.comparable, comparable.sum(axis=1))
    assert np.array_equal(as_event.concordant, right.sum(axis=1))
    either = pairs_of_patients(time, event, risk)
    assert np.array_equal(either.comparable, comparable.sum(axis=1) + comparable.sum(axis=0))
    assert np.array_equal(either.concordant, right.sum(axis=1) + right.sum(axis=0))


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30))
def test_smaller_entries_before_are_counted(entries: list[tuple[int, bool]]) -> None:
    found = smaller_before(
        np.array([e[0] for e in entries], np.int64), np.array([e[1] for e in entries], bool)
    )
    expected = [
        sum(counted and other < rank for other, counted in entries[:place])
        for place, (rank, _) in enumerate(entries)
    ]
    assert found.tolist() == expected


def test_what_is_undefined_is_nan() -> None:
    one_class, score = np.ones(3), np.array([0.1, 0.2, 0.3])
    assert np.isnan(metrics.auc(one_class, score))
    assert np.isnan(metrics.macro_auc(np.zeros(3), np.tile([0.5, 0.5], (3, 1))))
    assert np.isnan(metrics.r2(one_class, score))
    assert np.isnan(metrics.spearman(one_class, score))
    assert np.isnan(metrics.spearman(score, one_class))
    assert np.isnan(metrics.c_index(score, np.zeros(3, np.bool_), score))
    assert np.isnan(metrics.c_index(np.ones(2), np.ones(2, np.bool_), np.array([1.0, 2.0])))


@pytest.mark.parametrize(
    ("outcome", "targets", "predictions"),
    [
        (BINARY, Targets(value=np.empty(0)), np.empty(0)),
        (CLASSES, Targets(value=np.empty(0)), np.empty((0, 4))),
        (NUMBER, Targets(value=np.empty(0)), np.empty(0)),
        (SURVIVAL, Targets(value=np.empty(0), event=np.empty(0, np.bool_)), np.empty(0)),
    ],
    ids=["binary", "class", "continuous", "survival"],
)
def test_every_metric_of_nobody_is_nan(outcome: Outcome, targets: Targets, predictions: np.ndarray) -> None:
    found = metrics.evaluate(outcome, targets, predictions)
    assert tuple(found) == metrics.metric_names(outcome)
    assert all(np.isnan(value) for value in found.values())


def test_evaluate_compares_continuous_outcomes_in_their_own_unit() -> None:
    targets = Targets(value=np.array([-1.0, 0.0, 2.0]))  # 30, 40, 60 mm
    found = metrics.evaluate(NUMBER, targets, np.array([30.0, 40.0, 60.0]))
    assert found == {"r2": 1.0, "spearman": pytest.approx(1.0)}


def test_evaluate_names_the_metrics_of_each_outcome() -> None:
    y = np.array([0.0, 1.0, 1.0, 0.0])
    binary = metrics.evaluate(BINARY, Targets(value=y), np.array([0.2, 0.9, 0.4, 0.3]))
    assert binary == {"auc": 1.0, "accuracy": 0.75, "brier": pytest.approx((0.04 + 0.01 + 0.36 + 0.09) / 4)}
    classes = metrics.evaluate(CLASSES, Targets(value=y), np.eye(4)[[0, 1, 1, 0]])
    assert classes == {"auc": 1.0, "accuracy": 1.0, "brier": 0.0}
    survival = Targets(value=np.array([1.0, 2.0]), event=np.array([True, False]))
    assert metrics.evaluate(SURVIVAL, survival, np.array([2.0, 1.0])) == {"c_index": 1.0}


def test_a_metric_of_another_outcome_and_predictions_of_another_length_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one of auc, accuracy, brier; found 'r2'"):
        metrics.score(BINARY, Targets(value=np.zeros(2)), np.zeros(2), "r2")
    with pytest.raises(UsageError, match="expected 2 predictions, found 3"):
        metrics.evaluate(BINARY, Targets(value=np.zeros(2)), np.zeros(3))
    with pytest.raises(UsageError, match="events beside the times"):
        metrics.evaluate(SURVIVAL, Targets(value=np.ones(2)), np.zeros(2))
