"""The price of privacy per step stays within what was promised."""

import pytest

from wardround.common.errors import UsageError
from wardround.simulations.bench_private import measure


def test_a_private_step_takes_at_most_four_times_a_plain_one() -> None:
    # Both kinds take turns in one process: a busy machine slows both. About 1.8 where it was written.
    found = measure(steps=3, repeats=3)
    assert found["ratio"] == pytest.approx(found["private_ms"] / found["plain_ms"])
    assert 0 < found["ratio"] <= 4


def test_nothing_can_be_measured_without_patients() -> None:
    with pytest.raises(UsageError, match="patients"):
        measure(patients=0)
