"""The benchmark of prediction times what it says it times."""

import pytest

from wardround.simulations import bench_predict


def test_both_sides_read_the_same_table_and_take_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_predict, "PATIENTS", 40)
    pairs = bench_predict.measure(repeats=2)
    assert len(pairs) == 2
    assert all(ours > 0 and floor > 0 for ours, floor in pairs)
