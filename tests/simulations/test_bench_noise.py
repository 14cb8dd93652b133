"""Integer noise is fast enough that no site notices it."""

import pytest

from wardround.common.errors import UsageError
from wardround.simulations.bench_noise import FEWEST_PER_SECOND, measure


def test_noise_comes_at_more_than_five_million_shares_a_second() -> None:
    # 40 to 77 million, and a ratio of 1.1 to 1.5, where it was written.
    found = measure(repeats=3)
    assert found["per_second"] >= FEWEST_PER_SECOND
    assert 0 < found["ratio"] <= 4


def test_nothing_can_be_measured_without_shares() -> None:
    with pytest.raises(UsageError, match="shares"):
        measure(shares=0)
