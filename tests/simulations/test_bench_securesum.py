"""What the benchmark of the secure sum measures, and that it compares like with like."""

import math

import numpy as np
import pytest

from wardround.common.errors import UsageError
from wardround.common.flower.internals import secagg_masked
from wardround.common.trust.masking import add_masks
from wardround.simulations.bench_securesum import measure


def test_what_is_measured_are_seconds_bytes_and_a_ratio() -> None:
    # How long it may take says `wardround bench`, at full size on an idle machine.
    found = measure(sites=3, values=100_000, repeats=1)
    assert found["site_s"] > 0
    assert 0 < found["ratio"] < math.inf
    assert found["float32_mib"] < found["upload_mib"] <= 1.01 * found["float32_mib"]


def test_both_sides_mask_every_value() -> None:
    keys = [bytes([number]) * 32 for number in range(1, 4)]
    ours = add_masks(np.zeros(1000, np.uint32), plus=keys, minus=[])
    flowers = secagg_masked(np.zeros(1000, np.int64), keys)
    assert len(set(ours.tolist())) > 990
    assert len(set(flowers.tolist())) > 990


def test_nothing_can_be_measured_without_values() -> None:
    with pytest.raises(UsageError, match="values"):
        measure(values=0)
