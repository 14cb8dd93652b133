"""Models: shapes, public starting values, what is trained and what is not."""

import subprocess
import sys
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
import torch
from torch import nn

from wardround.common.errors import UsageError
from wardround.common.learning.models import FIRST_HAZARD_LOGIT, build, export, initial, like, load_into
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, ModelTerms, StudyTerms

BINARY: Final = BinaryOutcome(column="y", positive=("1",), negative=("0",), source="s")
CLASSES: Final = ClassOutcome(column="y", classes=("a", "b", "c"), source="s")
NUMBER: Final = ContinuousOutcome(column="y", unit="mm", low=0, high=9, mean=4, sd=2, source="s")
SURVIVAL: Final = SurvivalOutcome(
    time_column="t",
    event_column="e",
    event_values=("1",),
    censored_values=("0",),
    unit="months",
    high=300,
    cut_points=(12.0, 24.0, 60.0, 120.0),
    source="s",
)


def protocol(outcome: Outcome, model: ModelTerms | None = None) -> StudyProtocol:
    return StudyProtocol(
        study=StudyTerms(name="demo", question="q", purpose="p"),
        outcome=outcome,
        features=(Feature(name="x", kind="binary", source="s"),),
        cohort=CohortTerms(patient_column="id"),
        privacy=PrivacyTerms(mechanism="none"),
        model=model or ModelTerms(),
    )


MLP: Final = ModelTerms(kind="mlp", hidden=(6, 4))


@pytest.mark.parametrize(
    ("outcome", "width"), [(BINARY, 1), (CLASSES, 3), (NUMBER, 1), (SURVIVAL, 4)], ids=lambda v: str(v)[:12]
)
@pytest.mark.parametrize("model", [ModelTerms(), MLP], ids=["linear", "mlp"])
def test_a_model_gives_the_outcomes_width(outcome: Outcome, width: int, model: ModelTerms) -> None:
    module = build(protocol(outcome, model), 5)
    assert module(torch.zeros(2, 5)).shape == (2, width)
    assert module(torch.zeros(2, 3, 5)).shape == (2, 3, width)


@pytest.mark.parametrize("outcome", [BINARY, CLASSES, NUMBER, SURVIVAL], ids=lambda v: str(v)[:12])
@pytest.mark.parametrize("model", [ModelTerms(), MLP], ids=["linear", "mlp"])
def test_the_first_model_without_torch_has_the_names_order_and_shapes_of_the_torch_module(
    outcome: Outcome, model: ModelTerms
) -> None:
    study = protocol(outcome, model)
    built = export(build(study, 5))
    for numpys in (initial(study, 5), like(study, 5)):
        assert [(name, a.shape, a.dtype) for name, a in numpys.items()] == [
            (name, a.shape, a.dtype) for name, a in built.items()
        ]


def test_a_hazard_head_adds_one_risk_score_to_every_baseline() -> None:
    module = build(protocol(SURVIVAL), 2)
    risk, bias = np.array([[2.0, -1.0]], np.float32), np.array([-1, -2, -3, -4], np.float32)
    load_into(module, {"risk.weight": risk, "hazard.bias": bias})
    assert module(torch.tensor([[3.0, 1.0]])).tolist() == [[4.0, 3.0, 2.0, 1.0]]


def test_the_ones_of_the_hazard_head_are_neither_trained_nor_sent() -> None:
    module = build(protocol(SURVIVAL), 2)
    assert list(export(module)) == ["risk.weight", "hazard.bias"]
    module(torch.ones(1, 2)).sum().backward()
    frozen = module.get_submodule("hazard").get_parameter("weight")
    assert frozen.grad is None
    assert frozen.tolist() == [[1.0]] * 4


def test_a_cox_model_gives_one_risk_score() -> None:
    module = build(protocol(SURVIVAL, ModelTerms(loss="cox")), 2)
    assert module(torch.zeros(3, 2)).shape == (3, 1)
    assert list(export(module)) == ["risk.weight"]


def test_a_linear_model_starts_at_zero_and_hazards_at_the_public_baseline() -> None:
    start = initial(protocol(SURVIVAL), 3)
    assert start["risk.weight"].tolist() == [[0.0, 0.0, 0.0]]
    assert start["hazard.bias"].tolist() == [FIRST_HAZARD_LOGIT] * 4
    assert not initial(protocol(CLASSES), 3)["output.weight"].any()


def test_an_mlp_starts_from_the_protocols_digest_alone() -> None:
    study = protocol(BINARY, MLP)
    torch.manual_seed(1)
    first = initial(study, 100)
    torch.manual_seed(2)
    again = initial(study, 100)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    other = initial(replace(study, study=replace(study.study, question="another")), 100)
    assert not np.array_equal(first["hidden1.weight"], other["hidden1.weight"])


def test_an_mlps_first_weights_are_uniform_within_one_over_the_root_of_its_inputs() -> None:
    weights = initial(protocol(BINARY, ModelTerms(kind="mlp", hidden=(50,))), 400)["hidden1.weight"]
    assert np.abs(weights).max() <= 0.05
    assert weights.std() == pytest.approx(0.05 / np.sqrt(3), rel=0.02)
    assert abs(weights.mean()) < 0.001


def test_the_layer_norm_of_an_mlp_has_no_parameters_and_no_buffers() -> None:
    module = build(protocol(BINARY, MLP), 3)
    assert [type(layer) for layer in module] == [
        nn.Linear,
        nn.LayerNorm,
        nn.ReLU,
        nn.Linear,
        nn.LayerNorm,
        nn.ReLU,
        nn.Linear,
    ]
    assert not list(module.buffers())
    assert list(export(module)) == [
        f"{layer}.{part}" for layer in ("hidden1", "hidden2", "output") for part in ("weight", "bias")
    ]


def test_an_mlp_computes_linear_layer_norm_and_relu() -> None:
    study = protocol(NUMBER, ModelTerms(kind="mlp", hidden=(8,)))
    module, start = build(study, 5), initial(study, 5)
    load_into(module, start)
    x = np.random.default_rng(0).normal(size=5)
    hidden = start["hidden1.weight"] @ x + start["hidden1.bias"]
    normed = (hidden - hidden.mean()) / np.sqrt(hidden.var() + 1e-5)
    expected = start["output.weight"] @ np.maximum(normed, 0) + start["output.bias"]
    found = module(torch.tensor(x, dtype=torch.float32)).detach().numpy()
    assert np.allclose(found, expected, atol=1e-6)


def test_one_patients_output_does_not_depend_on_the_others() -> None:
    study = protocol(CLASSES, MLP)
    module = build(study, 3)
    load_into(module, initial(study, 3))
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(module(x)[:2], module(x[:2]), atol=1e-6)


def test_building_a_model_draws_nothing_from_the_process_wide_generator() -> None:
    before = torch.get_rng_state()
    build(protocol(BINARY, MLP), 10)
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_loaded_is_exported_as_an_independent_copy() -> None:
    study = protocol(SURVIVAL, MLP)
    module, start = build(study, 3), initial(study, 3)
    load_into(module, start)
    found = export(module)
    assert all(np.array_equal(found[name], start[name]) for name in start)
    assert list(found) == list(start)
    found["risk.weight"][:] = 7
    assert not (export(module)["risk.weight"] == 7).any()
    start["risk.weight"][:] = 8
    assert not (export(module)["risk.weight"] == 8).any()


def test_parameters_of_another_model_are_refused() -> None:
    module = build(protocol(BINARY), 3)
    good = export(module)
    with pytest.raises(UsageError, match="expected layers"):
        load_into(module, {"output.weight": good["output.weight"]})
    with pytest.raises(UsageError, match="expected layers"):
        load_into(module, {**good, "output.weight": np.zeros((1, 4), np.float32)})


def test_importing_models_and_losses_does_not_start_torchs_compiler() -> None:
    code = (
        "import sys; import wardround.common.learning.predictions, wardround.common.learning.losses;"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
