"""Shares of inputs are those that can be worked out by hand, and no patient is needed for them."""

from dataclasses import replace

import numpy as np
import pytest
from tests.runs import PUBLIC, RESPONSE, SURVIVAL, study

from wardround.common.learning.explaining import Explanation, explain
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.loadings import Loadings
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.reference import reference_features
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.outcomes import ClassOutcome, Outcome
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, InputTerms, ModelTerms

AGE = Feature(name="age", kind="continuous", low=-100, high=100, source=PUBLIC)
GENE = Feature(name="gene", kind="continuous", modality="expression", low=-100, high=100, source=PUBLIC)
RARE = Feature(name="rare", kind="binary", mean=0.1, sd=0.3, modality="mutation", source=PUBLIC)
STAGE = Feature(name="stage", kind="categorical", categories=("I", "II"), missing="indicator", source=PUBLIC)
LINEAR, ESTIMATED = ModelTerms(), ModelTerms(kind="mlp", hidden=(4,))


def model(
    *features: Feature,
    outcome: Outcome = RESPONSE,
    terms: ModelTerms = LINEAR,
    inputs: InputTerms = InputTerms(source=PUBLIC),  # noqa: B008 - frozen
    loadings: Loadings | None = None,
    **layers: list[object],
) -> ReleasedModel:
    """A model with the given layers (`__` stands for a dot)."""
    protocol = replace(
        study(outcome),
        features=features,
        model=terms,
        inputs=inputs,
        cohort=CohortTerms(patient_column="patient"),
    )
    path = FeaturePath(features=features, optional_modalities=(), inputs=inputs, loadings=loadings)
    start: Parameters = initial(protocol, path.width)
    given = {name.replace("__", "."): np.array(value, np.float32) for name, value in layers.items()}
    assert set(given) <= set(start)
    return ReleasedModel(protocol=protocol, parameters={**start, **given}, path=path)


def shares(found: Explanation) -> dict[str, float]:
    return {row.name: row.share for row in found.features}


def test_a_linear_model_divides_its_variance_by_squared_weights() -> None:
    found = explain(model(AGE, GENE, output__weight=[[3.0, -4.0]]))
    assert shares(found) == pytest.approx({"age": 9 / 25, "gene": 16 / 25}, abs=1e-9)
    assert [row.name for row in found.features] == ["gene", "age"]
    assert [row.error for row in found.features] == [0, 0]
    assert {row.modality: row.share for row in found.modalities} == pytest.approx(
        {"clinical": 0.36, "expression": 0.64}
    )


def test_a_rare_mutation_counts_by_its_public_prevalence() -> None:
    found = explain(model(AGE, RARE, output__weight=[[1.0, 1.0]]))
    assert shares(found)["rare"] == pytest.approx(0.5, abs=0.01)  # .1 * .9 / .3^2 = 1, as one sd of age
    assert found.variance == pytest.approx(2, abs=0.02)


def test_a_category_is_one_input_and_its_missing_mark_stays_out() -> None:
    found = explain(model(AGE, STAGE, output__weight=[[1.0, 2.0, 0.0, 99.0]]))
    assert shares(found)["stage"] == pytest.approx(0.5, abs=0.01)  # 2 or 0, each in half: variance 1


def test_a_plausible_range_limits_what_a_number_can_do() -> None:
    narrow = replace(AGE, low=-0.1, high=0.1)
    assert shares(explain(model(narrow, GENE, output__weight=[[1.0, 1.0]])))["age"] < 0.01


def test_loadings_pass_the_share_on_to_the_features_behind_a_component() -> None:
    loadings = Loadings(
        features=("age", "gene"), components=("PC1",), matrix=np.array([[0.6], [0.8]], np.float32)
    )
    found = explain(model(AGE, GENE, loadings=loadings, output__weight=[[2.0]]))
    assert shares(found) == pytest.approx({"age": 0.36, "gene": 0.64}, abs=1e-6)


def test_a_higher_risk_score_means_a_worse_prognosis() -> None:
    found = explain(model(AGE, GENE, outcome=SURVIVAL, risk__weight=[[1.0, -0.5]]))
    assert {row.name: row.direction for row in found.features} == {
        "age": "worse prognosis",
        "gene": "better prognosis",
    }


def test_directions_name_the_outcome_and_are_left_out_where_there_is_none() -> None:
    binary = explain(model(AGE, GENE, output__weight=[[1.0, -0.5]]))
    assert [row.direction for row in binary.features] == ["more likely yes", "less likely yes"]
    classes = ClassOutcome(column="type", classes=("a", "b", "c"), source=PUBLIC)
    several = explain(model(AGE, GENE, outcome=classes, output__weight=[[1, 0], [0, 0], [0, 0]]))
    assert {row.direction for row in several.features} == {""}


def test_what_all_classes_share_carries_nothing() -> None:
    classes = ClassOutcome(column="type", classes=("a", "b"), source=PUBLIC)
    found = explain(model(AGE, GENE, outcome=classes, output__weight=[[5, 1], [5, -1]]))
    assert shares(found) == pytest.approx({"age": 0, "gene": 1}, abs=1e-9)


def test_the_estimate_agrees_with_the_exact_shares_where_both_are_known() -> None:
    # Rows of length 1 make the model nonlinear; with eight equal inputs each must carry an eighth.
    features = tuple(replace(AGE, name=f"x{number}") for number in range(8))
    inputs = InputTerms(norm="unit", source=PUBLIC)
    found = explain(model(*features, inputs=inputs, output__weight=[[1.0] * 8]))
    for row in found.features:
        assert abs(row.share - 1 / 8) < 5 * row.error
        assert 0 < row.error < 0.02
    assert sum(row.share for row in found.features) == pytest.approx(1)


def test_an_mlp_that_ignores_an_input_gives_it_nothing_and_everybody_the_same_numbers() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(4, 2))
    weights[:, 1] = 0
    made = model(
        AGE, GENE, terms=ESTIMATED, hidden1__weight=weights.tolist(), output__weight=[[1, 2, -1, 0.5]]
    )
    found = explain(made)
    assert shares(found)["gene"] == pytest.approx(0, abs=1e-12)
    assert explain(made) == found


def test_a_model_that_says_nothing_has_no_shares() -> None:
    assert set(shares(explain(model(AGE, GENE))).values()) == {0.0}


def test_reference_patients_have_the_public_moments() -> None:
    path = model(AGE, RARE).path
    for feature in reference_features(path):
        spread = feature.weights @ np.square(feature.values[:, 0] - feature.mean[0])
        assert feature.mean[0] == pytest.approx(0, abs=1e-9)
        assert spread == pytest.approx(1, abs=0.01)
        assert feature.weights.sum() == pytest.approx(1)
