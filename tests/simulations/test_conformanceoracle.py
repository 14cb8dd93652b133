"""The sums that `conform` expects are those of automatic differentiation, patient by patient."""

import numpy as np
import pytest
import torch

from wardround.common.learning.models import build, initial, load_into
from wardround.simulations.conformanceoracle import clipped_sum
from wardround.simulations.conformancepatients import (
    CLIP,
    PATIENTS,
    RESPONSE,
    WIDTH,
    Asked,
    contributions,
    inputs,
    subtype,
)
from wardround.simulations.conformancestudies import LAYERS


def differentiated(asked: Asked, base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By torch, in float64, one patient after the other."""
    module = build(asked.protocol(), WIDTH)
    load_into(module, base)
    module.double()
    total = {name: np.zeros(array.shape) for name, array in base.items()}
    for patient in range(PATIENTS):
        rows = torch.from_numpy(inputs(patient))
        target = torch.full((len(rows),), subtype(patient))
        loss = torch.nn.functional.cross_entropy(module(rows), target)
        parts = torch.autograd.grad(loss, list(module.parameters()))
        norm = float(torch.cat([part.flatten() for part in parts]).norm())
        for name, part in zip(total, parts, strict=True):
            total[name] += part.numpy() * min(1.0, CLIP / norm)
    return total


def test_clipped_sums_of_a_hidden_layer_are_those_of_automatic_differentiation() -> None:
    base = {name: array.copy() for name, array in initial(LAYERS.protocol(), WIDTH).items()}
    base["hidden1.bias"] += np.linspace(-1, 1, base["hidden1.bias"].size, dtype=np.float32)
    everybody = range(PATIENTS)
    found = clipped_sum(
        base, [inputs(one) for one in everybody], [subtype(one) for one in everybody], clip=CLIP
    )
    expected = differentiated(LAYERS, base)
    assert set(found) == set(expected)
    for name, part in expected.items():
        np.testing.assert_allclose(found[name], part, atol=1e-9)


def test_a_linear_model_at_zero_gives_the_contributions_by_hand() -> None:
    own, intercept = contributions()
    base = {"output.weight": np.zeros((1, WIDTH), np.float32), "output.bias": np.zeros(1, np.float32)}
    yes = [patient % 3 == 0 for patient in range(PATIENTS)]
    found = clipped_sum(base, [inputs(one) for one in range(PATIENTS)], [int(one) for one in yes], clip=CLIP)
    np.testing.assert_allclose(found["output.weight"][0, :PATIENTS], own, atol=1e-12)
    assert found["output.weight"][0, PATIENTS:] == pytest.approx(0)
    assert found["output.bias"][0] == pytest.approx(intercept.sum())
    assert RESPONSE.positive == ("yes",)
