"""Outcomes: which terms contradict each other, how wide a model's output is, and targets of patients."""

import math
from typing import Any

import numpy as np
import pytest

from wardround.common.errors import ProtocolError
from wardround.common.study.outcomes import (
    OUTCOME_KINDS,
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
    Targets,
    outcome_kind,
    output_width,
)

BINARY: dict[str, Any] = {"column": "y", "positive": ("1",), "negative": ("0",), "source": "s"}
CLASSES: dict[str, Any] = {"column": "y", "classes": ("A", "B", "C"), "source": "s"}
NUMBER: dict[str, Any] = {
    "column": "y",
    "unit": "mm",
    "low": 0.0,
    "high": 9.0,
    "mean": 4.0,
    "sd": 2.0,
    "source": "s",
}
SURVIVAL: dict[str, Any] = {
    "time_column": "t",
    "event_column": "e",
    "event_values": ("1",),
    "censored_values": ("0",),
    "unit": "months",
    "high": 240.0,
    "cut_points": (12.0, 24.0),
    "source": "s",
}
COMPLETE: list[tuple[str, Outcome, int]] = [
    ("binary", BinaryOutcome(**BINARY), 1),
    ("classes", ClassOutcome(**CLASSES), 3),
    ("continuous", ContinuousOutcome(**NUMBER), 1),
    ("survival", SurvivalOutcome(**SURVIVAL), 2),
]
REFUSED: list[tuple[type[Outcome], dict[str, Any], dict[str, Any], str]] = [
    (BinaryOutcome, BINARY, {"positive": ()}, "distinct spellings"),
    (BinaryOutcome, BINARY, {"negative": ()}, "distinct spellings"),
    (BinaryOutcome, BINARY, {"negative": ("0", "1")}, "distinct spellings"),
    (BinaryOutcome, BINARY, {"positive": (">1",)}, "exact opposite"),
    (BinaryOutcome, BINARY, {"positive": (">1",), "negative": ("<=2",)}, "exact opposite"),
    (BinaryOutcome, BINARY, {"positive": (">1",), "negative": ("<1",)}, "exact opposite"),
    (BinaryOutcome, BINARY, {"positive": (">1", "yes"), "negative": ("<=1",)}, "exact opposite"),
    (ClassOutcome, CLASSES, {"classes": ("A",)}, "two distinct"),
    (ClassOutcome, CLASSES, {"classes": ("A", "A")}, "two distinct"),
    (ContinuousOutcome, NUMBER, {"low": 9.0}, "low < high"),
    (ContinuousOutcome, NUMBER, {"high": math.inf}, "finite"),
    (ContinuousOutcome, NUMBER, {"mean": math.nan}, "finite"),
    (ContinuousOutcome, NUMBER, {"sd": 0.0}, "sd > 0"),
    (SurvivalOutcome, SURVIVAL, {"cut_points": ()}, "increase"),
    (SurvivalOutcome, SURVIVAL, {"cut_points": (0.0, 12.0)}, "increase from above zero"),
    (SurvivalOutcome, SURVIVAL, {"cut_points": (12.0, 12.0)}, "increase"),
    (SurvivalOutcome, SURVIVAL, {"cut_points": (12.0, math.inf)}, "increase"),
    (SurvivalOutcome, SURVIVAL, {"cut_points": (12.0, math.nan)}, "increase"),
    (SurvivalOutcome, SURVIVAL, {"cut_points": (12.0, 241.0)}, "beyond high"),
    (SurvivalOutcome, SURVIVAL, {"high": 0.0}, "high > 0"),
    (SurvivalOutcome, SURVIVAL, {"high": math.inf}, "high > 0"),
    (SurvivalOutcome, SURVIVAL, {"unit": "weeks"}, "days, months, years"),
    (SurvivalOutcome, SURVIVAL, {"event_values": ()}, "distinct spellings"),
    (SurvivalOutcome, SURVIVAL, {"censored_values": ("1",)}, "distinct spellings"),
    (SurvivalOutcome, SURVIVAL, {"event_column": "t"}, "two columns"),
]


@pytest.mark.parametrize(("kind", "outcome", "width"), COMPLETE)
def test_each_kind_has_its_word_and_its_width(kind: str, outcome: Outcome, width: int) -> None:
    assert outcome_kind(outcome) == kind
    assert type(outcome) is OUTCOME_KINDS[kind]
    assert output_width(outcome) == width


def test_no_kind_is_forgotten() -> None:
    assert {kind for kind, _, _ in COMPLETE} == set(OUTCOME_KINDS)


@pytest.mark.parametrize(("cls", "terms", "change", "message"), REFUSED)
def test_a_contradiction_is_refused(
    cls: type[Outcome], terms: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProtocolError, match=message):
        cls(**{**terms, **change})


def test_targets_are_taken_in_the_given_order() -> None:
    targets = Targets(value=np.array([3.0, 5.0, 7.0]), event=np.array([True, False, True]))
    taken = targets.take(np.array([2, 0, 0]))
    assert taken.value.tolist() == [7.0, 3.0, 3.0]
    assert taken.event is not None
    assert taken.event.tolist() == [True, True, True]
    assert len(taken) == 3


def test_targets_without_events_stay_without() -> None:
    assert Targets(value=np.array([1.0, 0.0])).take(np.array([1])).event is None


@pytest.mark.parametrize(("yes", "no"), [(">0.4", "<=0.4"), ("<-1", ">=-1")])
def test_a_comparison_and_its_opposite_make_yes_and_no_of_numbers(yes: str, no: str) -> None:
    outcome = BinaryOutcome(column="score", positive=(yes,), negative=(no,), source="s")
    assert outcome.comparison == (yes[0], float(yes[1:]))
    assert BinaryOutcome(**BINARY).comparison is None
