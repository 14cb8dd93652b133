"""Features: which terms contradict each other."""

import math
from typing import Any

import pytest

from wardround.common.errors import ProtocolError
from wardround.common.study.schema import Feature

AGE: dict[str, Any] = {
    "name": "age",
    "kind": "continuous",
    "unit": "years",
    "low": 0.0,
    "high": 120.0,
    "source": "textbook",
}
SEX: dict[str, Any] = {"name": "sex", "kind": "binary", "categories": ("female", "male"), "source": "s"}
STAGE: dict[str, Any] = {"name": "stage", "kind": "categorical", "categories": ("I", "II"), "source": "s"}

REFUSED = [
    (AGE, {"low": -math.inf}, "finite low < high"),
    (AGE, {"high": math.inf}, "finite low < high"),
    (AGE, {"low": 120.0}, "low < high"),
    (AGE, {"low": math.nan}, "low < high"),
    (AGE, {"high": math.nan}, "low < high"),
    (AGE, {"mean": math.nan}, "finite mean"),
    (AGE, {"mean": math.inf}, "finite mean"),
    (AGE, {"sd": 0.0}, "sd > 0"),
    (AGE, {"sd": -1.0}, "sd > 0"),
    (AGE, {"sd": math.inf}, "sd > 0"),
    (AGE, {"transform": "log1p", "low": -1.0}, "log1p needs low >= 0"),
    (AGE, {"transform": "sqrt"}, "transform is one of none, log1p"),
    (AGE, {"missing": "mean"}, "missing is one of refuse, reference, indicator"),
    (AGE, {"kind": "number"}, "kind is one of continuous, binary, categorical"),
    (AGE, {"categories": ("a", "b")}, "no categories"),
    (AGE, {"name": " "}, "needs a name"),
    (AGE, {"source": " "}, "source"),
    (AGE, {"modality": ""}, "modality"),
    (SEX, {"categories": ("female",)}, "exactly"),
    (SEX, {"categories": ("a", "b", "c")}, "exactly"),
    (SEX, {"categories": ("a", "a")}, "twice"),
    (SEX, {"sd": 0.0}, "sd > 0"),
    (SEX, {"mean": math.nan}, "finite mean"),
    (SEX, {"low": math.nan}, "low < high"),
    (STAGE, {"categories": ("I",)}, "at least two"),
    (STAGE, {"categories": ()}, "at least two"),
    (STAGE, {"categories": ("I", "II", "I")}, "twice"),
]


@pytest.mark.parametrize("terms", [AGE, SEX, STAGE, {**SEX, "categories": ()}])
def test_a_complete_feature_is_accepted(terms: dict[str, Any]) -> None:
    assert Feature(**terms).name == terms["name"]


@pytest.mark.parametrize(("terms", "change", "message"), REFUSED)
def test_a_contradiction_is_refused(terms: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        Feature(**{**terms, **change})


def test_the_message_names_the_feature() -> None:
    with pytest.raises(ProtocolError, match="'age'"):
        Feature(**{**AGE, "sd": 0.0})
