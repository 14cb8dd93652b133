"""The price of privacy per step stays within what was promised."""

import pytest

from wardround.common.errors import UsageError
from wardround.simulations.bench_private import measure


def test_the_ratio_is_that_of_the_two_times() -> None:
    # `wardround bench` has the limit, at full size on an idle machine.
    found = measure(steps=3, repeats=3)
    assert found["ratio"] == pytest.approx(found["private_ms"] / found["plain_ms"])
    assert found["ratio"] > 0


def test_nothing_can_be_measured_without_patients() -> None:
    with pytest.raises(UsageError, match="patients"):
        measure(patients=0)
