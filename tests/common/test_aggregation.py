"""Known answers, brute force, and what a faulty site can and cannot do."""

import itertools
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wardround.common.errors import StudyError
from wardround.common.learning import aggregation
from wardround.common.learning.aggregation import (
    combine,
    krum,
    squared_distances,
    trimmed_mean,
    weighted_mean,
)
from wardround.common.study.terms import STRATEGIES, FederationTerms, Strategy

MEANS: tuple[Strategy, ...] = ("fedavg", "fedavgm", "fedprox", "fedadam", "fedyogi", "fedadagrad")
ROBUST: tuple[Strategy, ...] = ("trimmed-mean", "median", "krum")


def rows(*values: list[float]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32)


def gaussian(seed: int, sites: int, width: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(sites, width)).astype(np.float32)


@pytest.mark.parametrize("strategy", MEANS)
def test_every_strategy_without_robustness_takes_the_weighted_mean(strategy: Strategy) -> None:
    updates = rows([1.0, -2.0], [4.0, 8.0])
    found = combine(FederationTerms(strategy=strategy), updates, np.array([3.0, 1.0]))
    assert found.tolist() == [1.75, 0.5]
    assert found.dtype == np.float64


def test_every_strategy_of_the_protocol_has_a_rule() -> None:
    assert set(MEANS) | set(ROBUST) == set(STRATEGIES) == set(get_args(Strategy))
    for strategy in STRATEGIES:
        assert combine(FederationTerms(strategy=strategy), gaussian(0, 5, 3), np.ones(5)).shape == (3,)


def test_the_weighted_mean_is_summed_in_float64() -> None:
    # In float32, 1e8 + 1 is 1e8 and the small site would vanish.
    found = weighted_mean(rows([1e8], [1.0], [-1e8]), np.ones(3))
    assert found[0] == pytest.approx(1 / 3, abs=1e-7)


def test_doubling_every_weight_changes_nothing() -> None:
    updates, weights = gaussian(1, 4, 7), np.array([1.0, 2.0, 3.0, 4.0])
    assert np.array_equal(weighted_mean(updates, weights), weighted_mean(updates, 2 * weights))


def test_the_trimmed_mean_cuts_each_end_of_each_coordinate() -> None:
    updates = rows([1.0, 50.0], [2.0, 3.0], [3.0, 4.0], [4.0, 5.0], [100.0, -9.0])
    found = combine(FederationTerms(strategy="trimmed-mean", trim=0.2), updates, np.ones(5))
    assert found.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("sites", "trim", "cut"),
    [(4, 0.2, 1), (7, 0.2, 2), (30, 0.1, 3), (3, 0.49, 1), (4, 0.49, 1), (5, 0.0, 0)],
)
def test_a_share_that_is_not_whole_is_rounded_up_and_leaves_someone(
    sites: int, trim: float, cut: int
) -> None:
    # Squares are not symmetric: each number of cut values has its own mean.
    updates = np.square(np.arange(sites, dtype=np.float32))[:, None]
    expected = sum(value**2 for value in range(cut, sites - cut)) / (sites - 2 * cut)
    assert trimmed_mean(updates, trim)[0] == pytest.approx(expected)


def test_rounding_up_is_seen_when_one_of_four_sites_lies() -> None:
    found = trimmed_mean(rows([1.0], [1.0], [2.0], [1e6]), 0.2)
    assert found[0] == 1.5


def test_a_trim_that_is_whole_in_decimals_is_not_raised_by_binary_rounding() -> None:
    # .07 * 100 is 7.000000000000001; squares make the number of cut values visible.
    updates = np.square(np.arange(100, dtype=np.float32))[:, None]
    assert trimmed_mean(updates, 0.07)[0] == np.square(np.arange(7, 93)).mean()


def test_the_median_is_the_middle_value_or_the_mean_of_two() -> None:
    terms = FederationTerms(strategy="median")
    assert combine(terms, rows([5.0], [1.0], [9.0]), np.ones(3))[0] == 5.0
    assert combine(terms, rows([5.0], [1.0], [9.0], [6.0]), np.ones(4))[0] == 5.5


def test_robust_rules_ignore_the_weights() -> None:
    updates = gaussian(2, 5, 4)
    for strategy in ROBUST:
        terms = FederationTerms(strategy=strategy)
        equal = combine(terms, updates, np.ones(5))
        assert np.array_equal(equal, combine(terms, updates, np.array([1.0, 1.0, 1e6, 1.0, 1.0])))


def test_krum_chooses_the_update_in_the_middle_of_the_honest_ones() -> None:
    # K = 5, f = 1: the two nearest others count. Scores: 1 + 6.25, 1 + 2.25, 2.25 + 4, 4 + 12.25, far.
    updates = rows([0.0], [1.0], [2.5], [4.5], [100.0])
    assert krum(updates, 1) == 1
    found = combine(FederationTerms(strategy="krum", byzantine=1), updates, np.ones(5))
    assert found.tolist() == [1.0]


def brute_force_krum(updates: NDArray[np.float32], byzantine: int) -> int:
    scores = []
    for i, mine in enumerate(updates.astype(np.float64)):
        others = [float(np.sum((mine - other) ** 2)) for j, other in enumerate(updates) if j != i]
        scores.append(sum(sorted(others)[: len(updates) - byzantine - 2]))
    return scores.index(min(scores))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.integers(0, 4))
def test_krum_agrees_with_a_plain_loop(seed: int, byzantine: int, more: int) -> None:
    updates = gaussian(seed, 2 * byzantine + 3 + more, 6)
    assert krum(updates, byzantine) == brute_force_krum(updates, byzantine)


@pytest.mark.parametrize(("byzantine", "sites"), [(0, 2), (1, 4), (2, 6)])
def test_krum_refuses_too_few_sites_and_names_the_number(byzantine: int, sites: int) -> None:
    with pytest.raises(StudyError, match=f"at least {2 * byzantine + 3} .* found {sites}") as caught:
        krum(gaussian(0, sites, 2), byzantine)
    assert "quorum" in caught.value.advice


@pytest.mark.parametrize("strategy", ["trimmed-mean", "median"])
def test_two_sites_are_too_few_for_a_robust_rule(strategy: Strategy) -> None:
    with pytest.raises(StudyError, match="at least 3"):
        combine(FederationTerms(strategy=strategy), gaussian(0, 2, 2), np.ones(2))


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e3, -1e6, 1e9]))
def test_one_liar_of_seven_cannot_leave_the_range_of_the_honest(seed: int, lie: float) -> None:
    honest = gaussian(seed, 6, 5)
    updates = np.vstack([honest[:2], np.full((1, 5), lie, dtype=np.float32), honest[2:]])
    for strategy in ROBUST:
        found = combine(FederationTerms(strategy=strategy, trim=0.15), updates, np.ones(7))
        assert np.all(found <= honest.max(axis=0))
        assert np.all(found >= honest.min(axis=0))
    mean = combine(FederationTerms(), updates, np.ones(7))
    assert np.all(np.abs(mean) > 10)


def test_the_order_of_sites_does_not_matter_beyond_rounding() -> None:
    updates, weights = gaussian(3, 5, 3), np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    for strategy in STRATEGIES:
        terms = FederationTerms(strategy=strategy)
        reference = combine(terms, updates, weights)
        for order in itertools.permutations(range(5)):
            found = combine(terms, updates[list(order)], weights[list(order)])
            assert found == pytest.approx(reference, abs=1e-15)


def test_equal_rounds_give_equal_bytes() -> None:
    updates, weights = gaussian(4, 6, 1000), np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    for strategy in STRATEGIES:
        terms = FederationTerms(strategy=strategy)
        assert combine(terms, updates, weights).tobytes() == combine(terms, updates, weights).tobytes()


def test_wide_models_are_worked_on_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    updates = gaussian(5, 5, 1001)
    whole = [combine(FederationTerms(strategy=name), updates, np.ones(5)) for name in ROBUST]
    distances = squared_distances(updates)
    monkeypatch.setattr(aggregation, "COLUMNS", 64)
    pieces = [combine(FederationTerms(strategy=name), updates, np.ones(5)) for name in ROBUST]
    assert all(np.array_equal(a, b) for a, b in zip(whole, pieces, strict=True))
    assert squared_distances(updates) == pytest.approx(distances)


def test_distances_of_nearly_equal_updates_do_not_cancel() -> None:
    updates = np.array([[1000.0], [1000.0 + 2**-13]], dtype=np.float32)
    assert squared_distances(updates)[0, 1] == 2.0**-26


@pytest.mark.parametrize(
    ("updates", "weights", "message"),
    [
        (np.zeros((0, 3)), np.ones(0), "one row per admitted update"),
        (np.zeros(3), np.ones(3), "one row per admitted update"),
        (np.zeros((2, 3)), np.ones(3), "expected 2 weights"),
        (np.zeros((2, 3)), np.array([1.0, 0.0]), "above zero"),
        (np.zeros((2, 3)), np.array([1.0, np.nan]), "above zero"),
        (np.array([[0.0], [np.nan]]), np.ones(2), "not finite"),
        (np.array([[0.0], [np.inf]]), np.ones(2), "not finite"),
    ],
)
def test_what_admission_should_have_stopped_is_still_refused(
    updates: NDArray[np.float64], weights: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        combine(FederationTerms(), updates.astype(np.float32), weights)
