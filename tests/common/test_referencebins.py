"""Bins lie where a model answers, and anybody finds the same ones without a patient."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.hospital import SURVIVAL, study
from tests.predicting import released

from wardround.common.learning.histograms import Bins
from wardround.common.learning.referencebins import imagined, reference_bins

STEPS = (-2.0, 0.0, 2.0)


def scaled(folder: Path, size: float) -> Bins:
    model = released(folder)
    parameters = {name: (size * value).astype(np.float32) for name, value in model.parameters.items()}
    return reference_bins(replace(model, parameters=parameters), STEPS)


def test_a_timid_models_answers_are_told_apart(tmp_path: Path) -> None:
    edges = np.array(scaled(tmp_path, 0.5).edges)
    assert {0.1192, 0.5, 0.8808} <= set(edges)
    assert len(edges) > len(STEPS)
    assert (np.diff(edges) > 0).all()


def test_edges_never_coincide_whatever_the_model_says(tmp_path: Path) -> None:
    for size in (0.0, 1e-6, 1.0, 1e3):
        ends = scaled(tmp_path, size).ends
        assert (np.diff(ends) > 0).all()
        assert len(ends) <= 2 * len(STEPS) + 2


def test_the_same_model_gives_the_same_bins_and_survival_has_some_too(tmp_path: Path) -> None:
    assert scaled(tmp_path, 1.0) == scaled(tmp_path, 1.0)
    assert len(reference_bins(released(tmp_path, study(SURVIVAL), size=0.1), (-1.5, 0.0))) >= 3


def test_imagined_patients_stay_in_the_public_range() -> None:
    frame = imagined(study().features)
    assert frame["age"].between(18, 105).all()
    assert set(frame["stage"]) == {"I", "II", "III"}
    assert set(frame["sex"]) == {"male", "female"}
    assert set(frame["smoker"]) == {0, 1}
