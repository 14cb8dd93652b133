"""Bins of an evaluation lie where the released model's answers do, and everybody finds the same."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit
from tests.evaluating import evaluated
from tests.studies import PUBLIC, WIDTH, patients, private_protocol

from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.evaluated import Evaluated
from wardround.common.learning.evaluating import evaluation_of
from wardround.common.learning.histograms import PROBABILITY, Bins, Forecasts, binary_table
from wardround.common.learning.imagined import answers, imagined_scores
from wardround.common.learning.metrics import auc, brier
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import scores
from wardround.common.learning.tablebins import score_bins, spread_bins
from wardround.common.learning.tableevaluation import forecast_measures
from wardround.common.learning.tabulating import counted
from wardround.common.study.evaluation import EvaluationTerms, score_bins_of
from wardround.common.study.outcomes import ClassOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import InputTerms, ModelTerms

STUDY = evaluated(private_protocol())
CLASSES = replace(
    STUDY, outcome=ClassOutcome(column="kind", classes=("a", "b", "c"), source=PUBLIC),
    evaluation=replace(STUDY.evaluation, subject="a"),  # type: ignore[type-var]
)  # fmt: skip
MLP = ModelTerms(kind="mlp", hidden=(5, 4))


def terms(protocol: StudyProtocol) -> EvaluationTerms:
    assert protocol.evaluation is not None
    return protocol.evaluation


def timid(weight: float = 0.1, bias: float = -1.0) -> Parameters:
    """Right about whom, and always far too careful about how likely."""
    model = initial(STUDY, WIDTH)
    model["output.weight"][0, 0], model["output.bias"][0] = weight, bias
    return model


@pytest.mark.parametrize("weight", [0.05, 0.3, 2.0, 8.0])
@pytest.mark.parametrize("bias", [0.0, -2.5])
def test_a_table_tells_how_a_timid_and_a_bold_model_order_patients(weight: float, bias: float) -> None:
    rows, model = patients(1, n=20_000), timid(weight, bias)
    y, p = rows.targets.value, expit(weight * rows.inputs[:, 0].astype(np.float64) + bias)
    (bins,) = score_bins(STUDY, terms(STUDY), model)
    table = binary_table(Forecasts(p, y), bins=bins)[None, :, :, 0].astype(np.float64)
    found = {name: each.binned(table)[0] for name, each in forecast_measures(bins, 0.0).items()}
    assert found["auc"] == pytest.approx(auc(y, p), abs=0.02)
    assert found["brier"] == pytest.approx(brier(y, p), abs=0.01)
    assert (table.sum(axis=2) / table.sum()).max() < 0.3


def test_round_numbers_would_not_have_told() -> None:
    rows = patients(1, n=20_000)
    y, p = rows.targets.value, expit(0.1 * rows.inputs[:, 0].astype(np.float64) - 1)
    table = binary_table(Forecasts(p, y), bins=PROBABILITY)[None, :, :, 0].astype(np.float64)
    assert forecast_measures(PROBABILITY, 0.0)["auc"].binned(table)[0] < auc(y, p) - 0.1


def worlds() -> Mapping[str, tuple[float, float]]:
    middles, spreads = (-1e9, -6.0, -2.0, -0.9, 0.0, 0.003, 1.8, 40.0), (0.0, 1e-9, 0.02, 0.5, 1.0, 4.0, 1e12)
    return {f"{middle:g} {spread:g}": (middle, spread) for middle in middles for spread in spreads}


@pytest.mark.parametrize("world", worlds().values(), ids=worlds().keys())
def test_there_are_always_eight_distinct_bins_with_one_half_among_their_edges(
    world: tuple[float, float],
) -> None:
    bins = spread_bins(*world)
    assert len(bins) == 8
    assert 0.5 in bins.edges
    assert len({f"{edge:g}" for edge in bins.edges}) == 7  # measures are named after them
    assert ((bins.spans >= 0) & (bins.spans <= 1)).all()
    assert (np.diff(bins.spans, axis=1) > 0).all()
    assert (np.diff(bins.middles) > 0).all()


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -3e38, 1e-30])
def test_a_model_that_says_nothing_or_no_number_has_bins_too(value: float) -> None:
    for protocol in (STUDY, CLASSES, replace(STUDY, model=MLP)):
        model = initial(protocol, WIDTH)
        for layer in model.values():
            layer[:] = value
        found = score_bins(protocol, terms(protocol), model)
        assert [len(bins) for bins in found] == [8] * (3 if protocol is CLASSES else 1)


def test_edges_do_not_depend_on_the_last_digits_of_a_machine() -> None:
    model = timid()
    first = score_bins(STUDY, terms(STUDY), model)
    nudged: Parameters = {name: layer.astype(np.float64) * (1 + 1e-13) for name, layer in model.items()}  # type: ignore[misc]
    assert score_bins(STUDY, terms(STUDY), nudged) == first


def test_stated_edges_stay_as_they_are_for_every_class() -> None:
    stated = replace(CLASSES, evaluation=replace(terms(CLASSES), score_edges=(0.2, 0.5)))
    found = score_bins(stated, terms(stated), initial(stated, WIDTH))
    assert [(bins.edges, bins.low, bins.high) for bins in found] == [((0.2, 0.5), 0.0, 1.0)] * 3


def test_a_rare_class_has_bins_of_its_own() -> None:
    model = initial(CLASSES, WIDTH)
    model["output.bias"][:] = [2.0, 0.0, -3.0]
    common, _, rare = score_bins(CLASSES, terms(CLASSES), model)
    assert logit(np.median(common.edges)) > 0 > -3 > logit(np.median(rare.edges))


def test_site_auditor_and_prediction_find_the_same_bins() -> None:
    model, rows = timid(), patients(1, n=300)
    table = counted(STUDY, model, rows, np.zeros((300, 1), np.int64))
    released = Evaluated(table=table, sites=("a", "b"))
    (bins,) = calibration_of(STUDY, model, released).bins
    said = evaluation_of(STUDY, model, released).bins
    assert [each.up_to for each in said[:-1]] == [*bins.edges]
    assert [each.middle for each in said] == bins.middles.tolist()
    place = bins.place(expit(0.1 * rows.inputs[:, 0].astype(np.float64) - 1))
    counts = table.reshape(8, 2, 3).sum(axis=(1, 2))
    np.testing.assert_array_equal(np.bincount(place, minlength=8), counts)
    assert score_bins_of(terms(STUDY), STUDY.outcome) == len(bins)


@pytest.mark.parametrize("protocol", [STUDY, CLASSES], ids=["binary", "classes"])
@pytest.mark.parametrize("model", [ModelTerms(), MLP], ids=["linear", "mlp"])
def test_numpy_alone_says_what_torch_says(protocol: StudyProtocol, model: ModelTerms) -> None:
    made, rng = replace(protocol, model=model), np.random.default_rng(1)
    parameters = {
        name: rng.normal(size=each.shape).astype(np.float32) for name, each in initial(made, 3).items()
    }
    inputs = rng.normal(size=(50, 3)).astype(np.float32)
    logits = scores(made, parameters, inputs)
    if protocol is CLASSES:
        share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        logits = logit(share)
    np.testing.assert_allclose(answers(made, parameters, inputs.astype(np.float64)), logits, atol=1e-4)


def panel(width: int) -> StudyProtocol:
    features = tuple(
        Feature(name=f"x{place}", kind="continuous", low=-50, high=50, source=PUBLIC)
        for place in range(width)
    )
    return replace(STUDY, features=features)


def test_a_wide_panel_spreads_as_far_as_assays_that_hang_together_do() -> None:
    """A thousand genes that share one twentieth of their variance, and a model that learned it."""
    protocol, rng = panel(1000), np.random.default_rng(2)
    model = initial(protocol, 1000)
    model["output.weight"][0] = rng.choice([-0.01, 0.01], 1000)
    direction = np.sign(model["output.weight"][0])
    genes = 0.97 * rng.standard_normal((4000, 1000)) + 0.22 * direction * rng.standard_normal((4000, 1))
    real = (genes @ model["output.weight"][0]).std()
    assert imagined_scores(protocol, model).std() == pytest.approx(real, rel=0.15)
    assert real > 5 * np.linalg.norm(model["output.weight"])  # as of independent genes


def test_flags_and_categories_are_imagined_as_what_they_are() -> None:
    features = (
        Feature(name="known", kind="binary", mean=0.3, sd=0.5, source=PUBLIC),
        Feature(name="mutated", kind="binary", source=PUBLIC),
        Feature(name="stage", kind="categorical", categories=("i", "ii", "iii", "iv"), source=PUBLIC),
        Feature(name="age", kind="continuous", low=18, high=20, mean=60, sd=10, missing="indicator", source=PUBLIC),
    )  # fmt: skip
    protocol = replace(STUDY, features=features, inputs=InputTerms(clamp=3.0))
    model, middle = initial(protocol, 8), []
    for place in range(8):
        model["output.weight"][:] = np.eye(8)[place]
        middle.append(imagined_scores(protocol, model).mean())
    assert middle[:2] == pytest.approx([0.0, 0.1], abs=0.06)
    assert middle[2:6] == pytest.approx([0.25] * 4, abs=0.06)
    assert sum(middle[2:6]) == pytest.approx(1.0)
    assert middle[6:] == [-3.0, 0.0]  # far below the reference everywhere, so clamped; never missing


def test_an_edge_beyond_all_values_takes_no_patients_with_it() -> None:
    bins = Bins(edges=(0.04, 0.05, 0.5), low=0.03, high=0.06, source="s")
    assert bins.middles == pytest.approx([0.035, 0.045, 0.055, 0.505])
    mirrored = Bins(edges=(0.5, 0.95, 0.96), low=0.94, high=0.97, source="s")
    assert mirrored.middles == pytest.approx([0.495, 0.945, 0.955, 0.965])
