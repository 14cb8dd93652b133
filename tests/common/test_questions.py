"""One set of measures for every outcome that gives probabilities."""

import numpy as np
import pytest

from wardround.common.learning.censoring import brier_at
from wardround.common.learning.metrics import brier
from wardround.common.learning.questions import MEASURES, measure, questions
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    SurvivalOutcome,
    Targets,
)

BINARY = BinaryOutcome(column="y", positive=("ill",), negative=("well",), source="s")
CLASSES = ClassOutcome(column="y", classes=("a", "b", "c"), source="s")
NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=99, mean=40, sd=10, source="s")
SURVIVAL = SurvivalOutcome(
    time_column="t",
    event_column="e",
    event_values=("1",),
    censored_values=("0",),
    unit="months",
    high=300,
    cut_points=(6.0, 12.0, 24.0, 36.0, 48.0, 60.0),
    source="s",
)
ONE = np.ones((1, 4))


def test_a_binary_outcome_asks_about_its_positive_class() -> None:
    y, p = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.1, 0.8, 0.6, 0.4])
    (found,) = questions(BINARY, Targets(value=y), p, None)
    assert found.subject == "y: ill"
    values = measure(found, ONE)
    assert tuple(values) == MEASURES
    assert values["brier"] == pytest.approx([brier(y, p)])


def test_every_class_is_a_question_and_their_brier_scores_add_up() -> None:
    rng = np.random.default_rng(3)
    y, p = np.array([0.0, 1.0, 2.0, 1.0]), rng.dirichlet(np.ones(3), 4)
    found = questions(CLASSES, Targets(value=y), p, None)
    assert [question.subject for question in found] == ["a", "b", "c"]
    assert sum(measure(each, ONE)["brier"][0] for each in found) == pytest.approx(brier(y, p))


def test_survival_is_asked_at_public_horizons_and_risk_is_one_minus_survival() -> None:
    time, event = np.array([3.0, 20.0, 30.0, 70.0]), np.array([True, False, True, False])
    survival = np.linspace(0.9, 0.2, 24).reshape(4, 6)
    found = questions(SURVIVAL, Targets(value=time, event=event), np.zeros(4), survival)
    assert [question.subject for question in found] == ["12 months", "36 months", "60 months"]
    assert found[1].y.tolist() == [1, 0, 1, 0]
    assert found[1].probability == pytest.approx(1 - survival[:, 3])
    assert found[1].weights(ONE)[0] == pytest.approx([1, 0, 1.5, 1.5])
    assert measure(found[1], ONE)["brier"] == pytest.approx(brier_at(time, event, survival[:, 3], ONE, 36.0))


@pytest.mark.parametrize("outcome", [NUMBER, SURVIVAL])
def test_without_probabilities_nothing_is_asked(outcome: ContinuousOutcome | SurvivalOutcome) -> None:
    targets = Targets(value=np.ones(4), event=np.ones(4, bool))
    assert questions(outcome, targets, np.zeros(4), None) == ()
