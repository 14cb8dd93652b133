"""The leak guard: what tells the outcome or the site, and what only looks like it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from wardround.common.study.draft_leaks import SEPARATES, tells_classes, tells_number, tells_site

RNG = np.random.default_rng(11)
N = 400
CLASSES = (np.arange(N) % 4 == 0).astype(np.int64)


def noisy(strength: float) -> NDArray[np.float64]:
    """A column shifted by the class."""
    shifted: NDArray[np.float64] = np.random.default_rng(5).normal(size=N) + strength * CLASSES
    return shifted


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.0, 2.6, 2.8, 3.2, 6.0, -3.2])
def test_a_column_tells_a_class_exactly_if_its_auc_is_beyond_the_limit(strength: float) -> None:
    area = roc_auc_score(CLASSES, noisy(strength))
    assert tells_classes(noisy(strength), CLASSES) == (max(area, 1 - area) > SEPARATES)


def test_the_cases_above_lie_on_both_sides_of_the_limit() -> None:
    areas = [roc_auc_score(CLASSES, noisy(strength)) for strength in (2.6, 2.8)]
    assert areas[0] < SEPARATES < areas[1]


def test_groups_that_are_a_finer_naming_of_the_classes_tell_them() -> None:
    groups = 3 * CLASSES + RNG.permutation(N) % 3
    scrambled = np.array([4, 0, 5, 1, 3, 2])[groups].astype(float)
    assert tells_classes(scrambled, CLASSES)


def test_groups_that_are_right_four_times_in_five_do_not() -> None:
    wrong = RNG.random(N) < 0.2
    groups = np.where(wrong, 1 - CLASSES, CLASSES) + 2.0 * (RNG.permutation(N) % 2)
    assert not tells_classes(groups, CLASSES)


def test_a_value_that_only_one_class_has_tells_it() -> None:
    days_to_death = np.where(CLASSES == 1, RNG.random(N), np.nan)
    assert tells_classes(days_to_death, CLASSES)


def test_values_missing_at_random_tell_nothing() -> None:
    column = np.where(RNG.random(N) < 0.3, np.nan, RNG.normal(size=N))
    assert not tells_classes(column, CLASSES)


def test_a_class_of_four_is_not_judged_because_chance_separates_it() -> None:
    few = np.zeros(100, np.int64)
    few[:4] = 1
    assert not tells_classes(np.arange(100.0), few)
    few[:6] = 1
    assert tells_classes(np.arange(100.0), few)


def test_an_empty_column_tells_nothing() -> None:
    assert not tells_classes(np.full(N, np.nan), CLASSES)
    assert not tells_number(np.full(N, np.nan), np.arange(float(N)))
    assert not tells_site(np.full(N, np.nan), CLASSES)


def test_several_classes_are_told_only_if_all_are() -> None:
    classes = np.arange(N) % 3
    assert tells_classes(classes + 0.1 * RNG.random(N), classes)
    assert not tells_classes((classes == 0) + 0.1 * RNG.random(N), classes)


def test_a_table_sorted_by_the_outcome_does_not_make_ties_tell_it() -> None:
    classes = (np.arange(1000) >= 500).astype(np.int64)
    mostly_zero = np.zeros(1000)
    mostly_zero[::25] = np.arange(40) + 1.0
    assert not tells_classes(mostly_zero, classes)


def test_a_group_for_every_patient_tells_nothing() -> None:
    classes = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 0] * 3)
    assert not tells_classes(np.arange(30.0), classes)


def test_the_same_time_in_another_unit_is_found() -> None:
    months = RNG.exponential(20, N)
    assert tells_number(months * 30.4375 + RNG.normal(size=N), months)
    assert tells_number(-np.log(months), months)
    assert not tells_number(months + RNG.exponential(20, N), months)
    assert not tells_number(np.ones(N), months)


SITES = np.repeat(np.arange(5), 20)


def test_a_column_that_is_constant_within_every_site_names_it() -> None:
    assert tells_site(np.array([3.0, 1.0, 1.0, 2.0, 5.0])[SITES], SITES)


def test_a_finer_naming_of_the_sites_is_found() -> None:
    assert tells_site((2 * SITES + np.arange(100) % 2).astype(np.float64), SITES)


def test_ordinary_columns_do_not_name_the_site() -> None:
    assert not tells_site((np.arange(100) % 2).astype(float), SITES)
    assert not tells_site(RNG.normal(size=100), SITES)


def test_one_patient_per_site_is_no_evidence() -> None:
    assert not tells_site(np.arange(10.0), np.arange(10))
