"""The price of clipping per step stays near what was promised."""

import pytest

from wardround.common.errors import UsageError
from wardround.simulations.bench_clipping import times


def test_a_clipped_step_takes_at_most_four_times_a_plain_one() -> None:
    # The kinds take turns in one process. About 1.7 where it was written; 2 is what `wardround bench` accepts.
    found = times(5_000, 64, repeats=5)
    assert set(found) == {"plain_ms", "double_ms", "clipped_ms"}
    assert 0 < found["clipped_ms"] <= 4 * found["plain_ms"]


def test_nothing_can_be_measured_without_patients() -> None:
    with pytest.raises(UsageError, match="batch"):
        times(1_000, 0)
