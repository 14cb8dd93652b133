"""Features that know too much."""

import numpy as np
import pytest
from tests.hospital import RESPONSE, SUBTYPE, SURVIVAL, checked, found, hospital, only, study

from wardround.common.study.outcomes import Outcome
from wardround.common.study.schema import Feature


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("outcome", [RESPONSE, SUBTYPE, SURVIVAL])
def test_a_feature_that_is_the_outcome_under_another_name_is_pointed_at(
    outcome: Outcome, sign: float
) -> None:
    frame = only(hospital(120), outcome)
    label = frame[study(outcome).outcome_columns[-1]]
    noise = np.random.default_rng(4).normal(0, 0.01, 120)
    first = label == sorted(label.unique())[0]
    frame["gene2"] = [f"{value:.5f}" for value in sign * np.where(first, 3.0, -3.0) + noise]
    assert found(checked(study(outcome), frame), "leak").column == "gene2"


def test_a_category_that_determines_the_outcome_is_pointed_at() -> None:
    frame = only(hospital(120))
    frame["stage"] = np.where(frame["response"] == "yes", "III", frame["stage"].replace("III", "II"))
    assert found(checked(study(), frame), "leak").column == "stage"


def test_a_feature_that_is_missing_exactly_for_one_class_is_pointed_at() -> None:
    frame = only(hospital(120))
    frame.loc[frame["response"] == "yes", "gene3"] = None
    assert found(checked(study(), frame), "leak").column == "gene3"


def test_a_strong_but_honest_feature_is_not_called_a_leak() -> None:
    frame = only(hospital(200))
    shift = np.where(frame["response"] == "yes", 2.0, 0.0)  # AUC about .92
    values = np.random.default_rng(5).normal(0, 1, 200) + shift
    frame["gene2"] = [f"{value:.5f}" for value in values]
    assert checked(study(), frame).findings == ()


def test_equal_columns_are_pointed_at() -> None:
    frame = only(hospital())
    frame["gene3"] = frame["gene1"]
    finding = found(checked(study(), frame), "identical-columns")
    assert finding.column == "gene3"
    assert "'gene1'" in finding.message


def test_rare_mutations_that_happen_to_agree_are_not_called_equal_columns() -> None:
    frame = only(hospital())
    rare = ["1"] * 4 + ["0"] * 56
    mutations = tuple(Feature(name=name, kind="binary", source="s") for name in ("mut_a", "mut_b"))
    report = checked(study(features=mutations), frame.assign(mut_a=rare, mut_b=rare))
    assert "identical-columns" not in report.codes()
