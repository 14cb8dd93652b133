"""Predictions in the outcome's own terms."""

import math
from typing import Final

import numpy as np
import pytest
from tests.outcomes import BINARY, NUMBER, SURVIVAL

from wardround.common.errors import StudyError, UsageError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.predictions import predict
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import (
    ClassOutcome,
    Outcome,
    Targets,
)
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, ModelTerms, StudyTerms

# Two patients; the first has two rows, 0 and 2, the second one row, 1.
ROWS: Final = PatientRows(
    inputs=np.array([[0.0], [2.0], [1.0]], np.float32),
    patient=np.array([0, 0, 1]),
    targets=Targets(value=np.zeros(2)),
)


def protocol(outcome: Outcome, loss: str = "default") -> StudyProtocol:
    return StudyProtocol(
        study=StudyTerms(name="demo", question="q", purpose="p"),
        outcome=outcome,
        features=(Feature(name="x", kind="binary", source="s"),),
        cohort=CohortTerms(patient_column="id"),
        privacy=PrivacyTerms(mechanism="none"),
        model=ModelTerms(loss="cox" if loss == "cox" else "default"),
    )


def layer(name: str, weight: list[list[float]], bias: list[float]) -> dict[str, np.ndarray]:
    return {f"{name}.weight": np.array(weight, np.float32), f"{name}.bias": np.array(bias, np.float32)}


def test_a_binary_prediction_is_the_mean_probability_of_the_patients_rows() -> None:
    study = protocol(BINARY)
    found = predict(study, layer("output", [[math.log(3)]], [0.0]), ROWS)
    assert found == pytest.approx([(0.5 + 0.9) / 2, 0.75])


def test_class_predictions_are_mean_probabilities_that_sum_to_one() -> None:
    study = protocol(ClassOutcome(column="y", classes=("a", "b"), source="s"))
    found = predict(study, layer("output", [[0.0], [math.log(3)]], [0.0, 0.0]), ROWS)
    assert found == pytest.approx(np.array([[0.3, 0.7], [0.25, 0.75]]))


def test_a_continuous_prediction_is_in_the_outcomes_unit() -> None:
    study = protocol(NUMBER)
    assert predict(study, layer("output", [[1.0]], [0.5]), ROWS) == pytest.approx([55.0, 55.0])


def test_a_risk_score_leaves_the_baseline_hazards_out() -> None:
    risk = {"risk.weight": np.array([[3.0]], np.float32)}
    hazards = {**risk, "hazard.bias": np.array([-7, 9], np.float32)}
    assert predict(protocol(SURVIVAL), hazards, ROWS) == pytest.approx([3.0, 3.0])
    assert predict(protocol(SURVIVAL, loss="cox"), risk, ROWS) == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(("size", "expected"), [(1e4, [0.75, 1.0]), (-1e4, [0.25, 0.0])])
def test_extreme_logits_give_probabilities(size: float, expected: list[float]) -> None:
    study = protocol(BINARY)
    assert predict(study, layer("output", [[size]], [0.0]), ROWS) == pytest.approx(expected)


def test_a_diverged_model_is_refused_with_advice() -> None:
    study = protocol(BINARY)
    with pytest.raises(StudyError, match="not finite") as caught:
        predict(study, layer("output", [[math.nan]], [0.0]), ROWS)
    assert "learning rate" in caught.value.advice


def test_a_model_of_another_width_is_refused() -> None:
    study = protocol(BINARY)
    with pytest.raises(UsageError, match="expected layers"):
        predict(study, layer("output", [[1.0, 1.0]], [0.0]), ROWS)


def test_nobody_gets_no_predictions() -> None:
    study = protocol(ClassOutcome(column="y", classes=("a", "b"), source="s"))
    nobody = ROWS.take(np.array([], np.int64))
    assert predict(study, layer("output", [[0.0], [1.0]], [0.0, 0.0]), nobody).shape == (0, 2)
