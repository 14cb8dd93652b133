"""Explanations add up, agree with closed forms and finite differences, and show no other patient."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.hospital import FEATURES, SUBTYPE, SURVIVAL, study
from tests.predicting import ordinary, released, with_optional

from wardround.common.learning.attribution import SHOWN, explain
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.loadings import Loadings
from wardround.common.learning.predictions import scoring_module
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.outcomes import ContinuousOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import InputTerms, ModelTerms

MLP = ModelTerms(kind="mlp", hidden=(12, 6))
NUMBER = ContinuousOutcome(column="months", unit="months", low=0, high=300, mean=30, sd=30, source="s")


def explained(model: ReleasedModel, frame: pd.DataFrame):  # type: ignore[no-untyped-def]
    codes = pd.factorize(frame["patient"])[0].astype(np.int64)
    return explain(model, model.path.standardised(frame), codes)


def logit(p: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(p / (1 - p)))


def shown(found, patient: int) -> dict[str, float]:  # type: ignore[no-untyped-def]
    return {moved.feature: moved.contribution for moved in found.features[patient]}


def test_for_a_linear_model_a_contribution_is_weight_times_standardised_value(tmp_path: Path) -> None:
    model, frame = released(tmp_path), ordinary(6)
    found = explained(model, frame)
    weights = dict(zip(model.path.names, model.parameters["output.weight"][0], strict=True))
    for patient in range(6):
        for moved in found.features[patient]:
            feature = next(one for one in FEATURES if one.name == moved.feature)
            if feature.kind == "continuous":
                value = (float(frame[feature.name].iloc[patient]) - feature.mean) / feature.sd
                assert moved.contribution == pytest.approx(weights[feature.name] * value, rel=1e-4)
    assert np.allclose(found.output, logit(model.predict_proba(frame)["yes"].to_numpy()), atol=1e-4)
    assert np.allclose(found.reference, model.parameters["output.bias"][0], atol=1e-6)


@pytest.mark.parametrize("terms", [ModelTerms(), MLP])
@pytest.mark.parametrize("norm", ["none", "unit"])
@pytest.mark.parametrize("outcome", [None, SUBTYPE, SURVIVAL, NUMBER])
def test_contributions_add_up_to_the_difference_from_the_public_reference(
    tmp_path: Path, terms: ModelTerms, norm: str, outcome: object
) -> None:
    protocol = replace(with_optional("expression"), model=terms, inputs=InputTerms(norm=norm))  # type: ignore[arg-type]
    if outcome is not None:
        protocol = replace(protocol, outcome=outcome)  # type: ignore[arg-type]
    found = explained(released(tmp_path, protocol), ordinary(8))
    total = sum(found.modalities.values())
    assert np.allclose(total + found.unexplained, found.output - found.reference, atol=1e-5)
    assert found.complete.all()
    assert np.abs(found.output - found.reference).max() > 0.1
    assert set(found.modalities) == {"clinical", "expression"}


def test_slopes_are_the_mean_of_finite_differences_along_the_straight_path(tmp_path: Path) -> None:
    model, frame = released(tmp_path, replace(study(), model=MLP)), ordinary(3)
    found = explained(model, frame)
    inputs = model.path.transform(frame).astype(np.float64)
    module = scoring_module(model.protocol, model.parameters, model.path.width).double()

    def output(at: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(module(torch.tensor(at)).numpy()[:, 0])

    column = model.path.names.index("age")
    step, path = np.zeros(inputs.shape[1]), (np.arange(4000) + 0.5) / 4000
    step[column] = 1e-4
    for patient in range(3):
        along = path[:, None] * inputs[patient]
        slope = (output(along + step) - output(along - step)).mean() / 2e-4
        by_hand = slope * inputs[patient, column]
        if "age" in shown(found, patient):
            assert shown(found, patient)["age"] == pytest.approx(by_hand, abs=2e-3)
    assert any("age" in shown(found, patient) for patient in range(3))


def test_components_are_handed_back_to_their_features(tmp_path: Path) -> None:
    protocol = study()
    names = tuple(f"gene{n}" for n in range(4))
    matrix = np.random.default_rng(2).normal(size=(4, 2)).astype(np.float32)
    path = FeaturePath(
        features=protocol.features,
        optional_modalities=(),
        inputs=InputTerms(norm="unit"),
        loadings=Loadings(features=names, components=("a", "b"), matrix=matrix),
    )
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(1, path.width)).astype(np.float32)
    model = ReleasedModel(
        protocol=protocol,
        parameters={"output.weight": weights, "output.bias": np.zeros(1, np.float32)},
        path=path,
    )
    frame = ordinary(5)
    found = explained(model, frame)
    slopes = dict(zip(path.names, weights[0], strict=True))
    z = path.standardised(frame).values
    scale = np.linalg.norm(path._compressed(z, np.zeros((5, 0), np.float32)), axis=1)
    places = [[column.name for column in path.columns].index(name) for name in names]
    by_hand = (z[:, places] * (matrix @ np.array([slopes["a"], slopes["b"]]))).sum(axis=1) / scale
    assert np.allclose(found.modalities["expression"], by_hand, atol=1e-4)
    assert found.complete.all()


def test_what_is_missing_contributes_nothing(tmp_path: Path) -> None:
    frame = ordinary(4).assign(age=np.nan, sex=np.nan)
    found = explained(released(tmp_path), frame)
    assert all({"age", "sex"} & set(shown(found, patient)) == set() for patient in range(4))


def test_the_range_of_a_feature_is_what_the_model_says_at_its_ends(tmp_path: Path) -> None:
    model, frame = released(tmp_path), ordinary(5)
    found = explained(model, frame)
    for patient in range(5):
        for moved in found.features[patient]:
            feature: Feature = next(one for one in FEATURES if one.name == moved.feature)
            settings = feature.categories or ("0", "1")
            if feature.kind == "continuous":
                settings = tuple(str(value) for value in np.linspace(feature.low, feature.high, 9))
            row = frame.iloc[[patient]]
            answers = [
                model.predict_proba(row.assign(**{feature.name: setting}))["yes"].iloc[0]
                for setting in settings
            ]
            assert (moved.low, moved.high) == pytest.approx((min(answers), max(answers)), abs=1e-5)


def test_the_samples_of_a_patient_are_averaged_in_any_order(tmp_path: Path) -> None:
    model = released(tmp_path)
    first, second = ordinary(1), ordinary(1, seed=9).assign(patient=ordinary(1)["patient"])
    both = explained(model, pd.concat([first, second]))
    apart = [explained(model, one) for one in (first, second)]
    assert both.output[0] == pytest.approx(np.mean([one.output[0] for one in apart]))
    for name, value in both.modalities.items():
        assert value[0] == pytest.approx(np.mean([one.modalities[name][0] for one in apart]), abs=1e-6)


def test_the_class_that_is_explained_is_the_likeliest_of_the_patient(tmp_path: Path) -> None:
    protocol: StudyProtocol = study(SUBTYPE)
    model, frame = released(tmp_path, protocol), ordinary(12)
    found, chances = explained(model, frame), model.predict_proba(frame)
    assert list(found.subject) == [f"log-odds of {name}" for name in chances.idxmax(axis=1)]
    assert np.allclose(found.output, logit(chances.max(axis=1).to_numpy()), atol=1e-4)
    assert len(set(found.subject)) > 1


def test_another_patient_changes_nothing_and_is_not_seen(tmp_path: Path) -> None:
    model, frame = released(tmp_path, replace(study(), model=MLP)), ordinary(10)
    alone, among = explained(model, frame.iloc[[4]]), explained(model, frame)
    assert alone.output[0] == pytest.approx(among.output[4], abs=1e-6)
    assert len(alone.features[0]) == SHOWN
    for one, other in zip(alone.features[0], among.features[4], strict=True):
        assert one.feature == other.feature
        assert one.contribution == pytest.approx(other.contribution, abs=1e-5)
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-5)
