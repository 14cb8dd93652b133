"""Argument checks: what passes, what is refused, and that the message names the argument."""

import math

import pytest

from wardround.common.checks import in_range, not_negative, one_of, positive, unique
from wardround.common.errors import UsageError


@pytest.mark.parametrize("value", [1, 0.5, 1e-300, 1e300])
def test_positive_accepts_finite_numbers_above_zero(value: float) -> None:
    positive(delta=value)


@pytest.mark.parametrize("value", [0, -1, -1e-300, math.inf, -math.inf, math.nan, 10**400, -(10**400)])
def test_positive_refuses_the_rest(value: float) -> None:
    with pytest.raises(UsageError, match=r"expected delta > 0, found"):
        positive(delta=value)


@pytest.mark.parametrize("value", [0, 0.0, -0.0, 3])
def test_not_negative_accepts_zero(value: float) -> None:
    not_negative(l2=value)


@pytest.mark.parametrize("value", [-1, math.inf, math.nan, 10**400])
def test_not_negative_refuses_the_rest(value: float) -> None:
    with pytest.raises(UsageError, match=r"expected l2 >= 0, found"):
        not_negative(l2=value)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_in_range_includes_both_ends(value: float) -> None:
    in_range(0, 1, sample_rate=value)


@pytest.mark.parametrize("value", [-0.001, 1.001, math.nan, math.inf])
def test_in_range_refuses_the_rest(value: float) -> None:
    with pytest.raises(UsageError, match=r"expected 0 <= sample_rate <= 1, found"):
        in_range(0, 1, sample_rate=value)


def test_one_of_names_the_allowed_words() -> None:
    one_of(("linear", "mlp"), kind="mlp")
    with pytest.raises(UsageError, match=r"expected kind to be one of linear, mlp; found 'tree'"):
        one_of(("linear", "mlp"), kind="tree")


def test_unique_counts_repeats_and_never_shows_them() -> None:
    unique(patients=["a", "b"])
    with pytest.raises(UsageError, match=r"expected patients to be unique, found 2 repeated") as caught:
        unique(patients=["secret", "secret", "secret", "b"])
    assert "secret" not in str(caught.value)


def test_every_named_value_is_checked() -> None:
    with pytest.raises(UsageError, match="second"):
        positive(first=1.0, second=-1.0)
