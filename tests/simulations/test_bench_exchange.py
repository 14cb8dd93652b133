"""The measurement of an exchange measures what it says: a million parameters, real processes, and a floor below."""

import pytest

from wardround.common.errors import UsageError
from wardround.common.learning.models import initial
from wardround.simulations.bench_exchange import FEATURES, floor, measure, protocol_of


def test_the_model_has_a_million_parameters() -> None:
    model = initial(protocol_of(3), FEATURES)
    assert sum(value.size for value in model.values()) == 1_003_002


def test_the_floor_moves_and_checks_every_byte() -> None:
    assert 0 < floor(b"x" * 100_000) < 60
    with pytest.raises(UsageError):
        measure(exchanges=0)


@pytest.mark.slow
def test_an_exchange_is_above_its_floor() -> None:
    found = measure(exchanges=2)
    assert found["megabytes"] == pytest.approx(4.01, abs=0.01)
    assert found["exchange_s"] > 0
    assert found["training_s"] < found["exchange_s"] + found["training_s"]
    assert found["floor_s"] < found["exchange_s"]
