"""One rule says whether so few patients can be judged."""

import numpy as np
import pytest
from tests.runs import RESPONSE, SURVIVAL

from wardround.common.learning.enough import FEWEST, enough
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome, Outcome, Targets

CLASSES = ClassOutcome(column="y", classes=("a", "b", "c"), source="s")
NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=99, mean=40, sd=10, source="s")


@pytest.mark.parametrize(
    ("outcome", "targets", "expected"),
    [
        (RESPONSE, Targets(value=np.repeat([0.0, 1.0], [90, FEWEST])), True),
        (RESPONSE, Targets(value=np.repeat([0.0, 1.0], [90, FEWEST - 1])), False),
        (CLASSES, Targets(value=np.repeat([0.0, 1.0, 2.0], [90, 6, 4])), True),
        (CLASSES, Targets(value=np.zeros(90)), False),
        (NUMBER, Targets(value=np.zeros(2 * FEWEST)), True),
        (NUMBER, Targets(value=np.zeros(2 * FEWEST - 1)), False),
        (SURVIVAL, Targets(value=np.ones(90), event=np.arange(90) < FEWEST), True),
        (SURVIVAL, Targets(value=np.ones(90), event=np.arange(90) < FEWEST - 1), False),
        (RESPONSE, Targets(value=np.empty(0)), False),
    ],
)
def test_ten_patients_of_each_kind_are_needed(outcome: Outcome, targets: Targets, expected: bool) -> None:
    assert enough(outcome, targets) is expected
