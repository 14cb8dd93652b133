"""Round numbers of a draft: always outside what was seen, and never more precise than they look."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from wardround.common.study.rounding import outwards, significant


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([21.93, 96.29], (10.0, 110.0)),
        ([-5.31, 8.14], (-7.0, 10.0)),
        ([0.0, 1.0], (0.0, 2.0)),
        ([0.0, 1.0, 0.5], (0.0, 1.1)),
        ([3.0], (2.0, 4.0)),
        ([1e-6, 3e-6], (9e-7, 3.1e-6)),
        ([4.0e6, 9.9e6], (3e6, 11e6)),
    ],
)
def test_known_ranges(values: list[float], expected: tuple[float, float]) -> None:
    assert outwards(np.array(values)) == expected


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20))
def test_every_value_lies_strictly_inside_or_at_zero(values: list[float]) -> None:
    low, high = outwards(np.array(values))
    assert low < high
    assert max(values) < high
    assert low < min(values) or (low == 0.0 <= min(values))


@given(st.floats(1e-30, 1e30))
def test_three_digits_are_within_half_a_percent(value: float) -> None:
    assert abs(significant(value) / value - 1) <= 0.005
