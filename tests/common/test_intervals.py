"""Bootstrap intervals: exact at unit counts, equal to a plain loop, of the right width, and fast."""

import time as clock
from typing import Final

import numpy as np
import pytest
from scipy.stats import norm
from tests.outcomes import BINARY, CLASSES, NUMBER, SURVIVAL

from wardround.common.errors import UsageError
from wardround.common.learning import intervals
from wardround.common.learning.intervals import bootstrap, paired_difference
from wardround.common.learning.metrics import metric_names, score
from wardround.common.learning.resampled import PAIR_LIMIT, resampled
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
    Targets,
)

CASES: Final = [
    (outcome, metric) for outcome in (BINARY, CLASSES, NUMBER, SURVIVAL) for metric in metric_names(outcome)
]
each_metric = pytest.mark.parametrize(
    ("outcome", "metric"), CASES, ids=[f"{type(outcome).__name__}-{metric}" for outcome, metric in CASES]
)


def patients(outcome: Outcome, n: int, seed: int) -> tuple[Targets, np.ndarray]:
    """Targets and predictions with ties in both."""
    rng = np.random.default_rng(seed)
    match outcome:
        case BinaryOutcome():
            y = np.asarray(np.arange(n) % 2, np.float64)
            return Targets(value=y), np.round(np.clip(0.3 * y + rng.random(n) * 0.7, 0, 1), 1)
        case ClassOutcome():
            y = np.asarray(np.arange(n) % 3, np.float64)  # nobody has class d
            raw = rng.random((n, 4)) + 0.5 * np.eye(4)[y.astype(int)]
            return Targets(value=y), raw / raw.sum(axis=1, keepdims=True)
        case ContinuousOutcome():
            y = np.asarray(np.round(rng.normal(size=n), 1), np.float64)
            return Targets(value=y), np.round(40 + 10 * y + 8 * rng.normal(size=n))
        case SurvivalOutcome():
            time = np.ceil(rng.exponential(20, n))
            risk = np.round(-np.log(time) + rng.normal(size=n), 1)
            return Targets(value=time, event=rng.random(n) < 0.6), risk


@each_metric
def test_unit_counts_give_the_plain_metric(outcome: Outcome, metric: str) -> None:
    targets, predictions = patients(outcome, 50, seed=1)
    found = resampled(outcome, targets, predictions, metric, np.ones((2, 50), np.float32))
    assert found == pytest.approx([score(outcome, targets, predictions, metric)] * 2, rel=1e-6)


@each_metric
def test_a_weighted_draw_is_the_metric_of_the_drawn_patients(outcome: Outcome, metric: str) -> None:
    targets, predictions = patients(outcome, 40, seed=2)
    drawn = np.random.default_rng(3).integers(40, size=(20, 40))
    counts = np.stack([np.bincount(draw, minlength=40) for draw in drawn]).astype(np.float32)
    expected = [score(outcome, targets.take(draw), predictions[draw], metric) for draw in drawn]
    assert resampled(outcome, targets, predictions, metric, counts) == pytest.approx(expected, rel=1e-5)


@each_metric
def test_an_interval_holds_the_metric_and_depends_on_the_generator_alone(
    outcome: Outcome, metric: str
) -> None:
    targets, predictions = patients(outcome, 60, seed=4)
    low, high = bootstrap(outcome, targets, predictions, metric, rng=np.random.default_rng(5))
    assert low < score(outcome, targets, predictions, metric) < high
    again = bootstrap(outcome, targets, predictions, metric, rng=np.random.default_rng(5))
    assert again == (low, high)


def test_the_interval_of_an_accuracy_has_the_binomial_width() -> None:
    y = np.asarray(np.arange(400) % 2, np.float64)
    predictions = np.where(np.arange(400) % 5 == 0, 1 - y, y)  # accuracy .8
    low, high = bootstrap(
        BINARY, Targets(value=y), predictions, "accuracy", rng=np.random.default_rng(0), resamples=4000
    )
    half = norm.ppf(0.975) * np.sqrt(0.8 * 0.2 / 400)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.004)


def test_the_interval_of_an_auc_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    y, hits = np.repeat([0.0, 1.0], 40), 0
    truth = norm.cdf(1 / np.sqrt(2))  # scores N(0, 1) and N(1, 1)
    for _ in range(200):
        low, high = bootstrap(
            BINARY, Targets(value=y), rng.normal(size=80) + y, "auc", rng=rng, resamples=200
        )
        hits += low <= truth <= high
    assert 0.88 <= hits / 200 <= 0.985


def test_the_linearised_c_index_has_the_interval_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    targets, risk = patients(SURVIVAL, 800, seed=7)
    exact = bootstrap(SURVIVAL, targets, risk, "c_index", rng=np.random.default_rng(8), resamples=2000)
    monkeypatch.setattr("wardround.common.learning.resampled.PAIR_LIMIT", 10)
    linear = bootstrap(SURVIVAL, targets, risk, "c_index", rng=np.random.default_rng(8), resamples=2000)
    assert linear == pytest.approx(exact, abs=0.002)
    assert linear != exact


def test_draws_in_blocks_give_as_many_draws_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "CELLS", 7 * 50)
    targets, predictions = patients(BINARY, 50, seed=9)
    drawn = intervals._draws(BINARY, targets, [predictions], "auc", np.random.default_rng(0), 30)
    assert drawn[0].shape == (30,)
    assert len(np.unique(drawn[0])) > 10


def test_auc_draws_keep_the_size_of_every_class() -> None:
    y = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    counts = intervals.drawn_counts(y.astype(np.int64), 100, np.random.default_rng(0))
    assert (counts[:, 0] == 1).all()
    assert (counts.sum(axis=1) == 5).all()
    assert counts[:, 1:].max() > 1


def test_one_positive_patient_still_has_an_interval() -> None:
    y, predictions = np.array([1.0, 0, 0, 0, 0]), np.array([0.5, 0.1, 0.2, 0.7, 0.8])
    low, high = bootstrap(BINARY, Targets(value=y), predictions, "auc", rng=np.random.default_rng(0))
    assert 0 <= low < 0.5 < high <= 1
    drawn = intervals._draws(BINARY, Targets(value=y), [predictions], "auc", np.random.default_rng(0), 100)
    assert np.isfinite(drawn[0]).all()


def test_an_undefined_metric_has_no_interval_and_no_difference() -> None:
    nobody_died = Targets(value=np.arange(1.0, 6.0), event=np.zeros(5, np.bool_))
    risk = np.arange(5.0)
    rng = np.random.default_rng(0)
    assert np.isnan(bootstrap(SURVIVAL, nobody_died, risk, "c_index", rng=rng)).all()
    assert np.isnan(paired_difference(SURVIVAL, nobody_died, risk, risk, "c_index", rng=rng)).all()


def test_a_model_compared_with_itself_is_better_half_of_the_time() -> None:
    targets, predictions = patients(BINARY, 50, seed=10)
    found = paired_difference(BINARY, targets, predictions, predictions, "auc", rng=np.random.default_rng(0))
    assert found == (0.0, 0.0, 0.0, 0.5)


@each_metric
def test_the_better_model_is_better_in_nearly_all_paired_draws(outcome: Outcome, metric: str) -> None:
    targets, good = patients(outcome, 200, seed=11)
    bad = np.roll(good, 1, axis=0)  # somebody else's predictions
    found = paired_difference(outcome, targets, good, bad, metric, rng=np.random.default_rng(0))
    expected = score(outcome, targets, good, metric) - score(outcome, targets, bad, metric)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    assert found.probability_better > 0.95


def test_the_paired_interval_is_narrower_than_two_separate_ones() -> None:
    targets, good = patients(SURVIVAL, 300, seed=12)
    near = good + np.random.default_rng(0).normal(0, 0.1, 300)
    found = paired_difference(SURVIVAL, targets, good, near, "c_index", rng=np.random.default_rng(0))
    low, high = bootstrap(SURVIVAL, targets, good, "c_index", rng=np.random.default_rng(0))
    assert found.high - found.low < 0.6 * (high - low)


def test_an_unknown_metric_is_refused() -> None:
    targets, predictions = patients(BINARY, 10, seed=13)
    with pytest.raises(UsageError, match="r2"):
        bootstrap(BINARY, targets, predictions, "r2", rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="no metric"):
        resampled(BINARY, targets, predictions, "f1", np.ones((1, 10), np.float32))


def test_the_intervals_of_a_large_study_take_seconds() -> None:
    rng = np.random.default_rng(0)
    targets, predictions = patients(CLASSES, 300, seed=14)
    started = clock.process_time()
    for _ in range(13 * 3):
        for metric in metric_names(CLASSES):
            bootstrap(CLASSES, targets, predictions, metric, rng=rng)
    many, risk = patients(SURVIVAL, 11_000, seed=15)
    assert len(many) > PAIR_LIMIT
    bootstrap(SURVIVAL, many, risk, "c_index", rng=rng)
    assert clock.process_time() - started < 3
