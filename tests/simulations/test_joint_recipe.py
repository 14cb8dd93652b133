"""The recipe keeps what it promises on worlds that it was not chosen on, trained as joint noise trains."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from wardround.common.errors import UsageError
from wardround.common.privacy.calibration import noise_multiplier_for
from wardround.simulations.joint_recipe import COMPONENTS, LENGTH, WHITENING, joint_recipe
from wardround.simulations.worlds import (
    CLASSES,
    SIZES,
    Floats,
    Labels,
    Samples,
    World,
    draw_world,
    public_path,
)

SEEDS = (7, 23, 31, 47, 59)
DELTA = 1e-5


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A world after the public path: inputs with intercept and labels of all training patients, and by hospital."""

    inputs: Floats
    label: Labels
    held_out: list[tuple[Floats, Labels]]


def prepared(world: World) -> Prepared:
    path = public_path(world.public, components=COMPONENTS, whitening=WHITENING, length=LENGTH)

    def inputs(part: Samples) -> Floats:
        return np.column_stack([path.components(part.genes), np.ones(len(part.label))])

    return Prepared(
        inputs=np.concatenate([inputs(part) for part in world.training.values()]),
        label=np.concatenate([part.label for part in world.training.values()]),
        held_out=[(inputs(part), part.label) for part in world.held_out.values()],
    )


def accuracy(world: Prepared, rng: np.random.Generator, *, epsilon: float, honest: int) -> float:
    """Mean over hospitals after training on the sum of everybody's clipped gradients with K / h shares of noise."""
    inputs, truth = world.inputs, np.eye(CLASSES)[world.label]
    recipe = joint_recipe(epsilon=epsilon, delta=DELTA, patients=sum(SIZES.values()))
    noise = noise_multiplier_for(epsilon=epsilon, delta=DELTA, sample_rate=1.0, steps=recipe.rounds)
    spread = noise * recipe.clipping_norm * math.sqrt(len(SIZES) / honest)
    weights = np.zeros((inputs.shape[1], CLASSES))
    for _ in range(recipe.rounds):
        residual = truth - chances(inputs @ weights)
        norms = np.linalg.norm(inputs, axis=1) * np.linalg.norm(residual, axis=1)
        clipped = residual * np.minimum(1, recipe.clipping_norm / np.maximum(norms, 1e-12))[:, None]
        total = inputs.T @ clipped + rng.normal(0, spread, weights.shape)
        weights += recipe.learning_rate * total / len(inputs)
    right = [((x @ weights).argmax(axis=1) == label).mean() for x, label in world.held_out]
    return float(np.mean(right))


def chances(scores: Floats) -> Floats:
    odds: Floats = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = odds / odds.sum(axis=1, keepdims=True)
    return shares


@pytest.fixture(scope="module")
def worlds() -> list[Prepared]:
    return [prepared(draw_world(np.random.default_rng(seed))) for seed in SEEDS]


@pytest.mark.parametrize(
    ("epsilon", "honest", "least"),
    [(1.0, 4, 0.81), (1.0, 5, 0.82), (3.0, 4, 0.855), (8.0, 4, 0.88)],
)
def test_accuracy_on_worlds_it_was_not_chosen_on(
    worlds: list[Prepared], epsilon: float, honest: int, least: float
) -> None:
    rng = np.random.default_rng(5)
    found = [accuracy(world, rng, epsilon=epsilon, honest=honest) for world in worlds for _ in range(5)]
    assert np.mean(found) >= least


def test_more_budget_reaches_further_in_steps_that_stay_short() -> None:
    found = [joint_recipe(epsilon=e, delta=DELTA, patients=590) for e in (0.5, 1, 3, 8)]
    reach = [recipe.rounds * recipe.learning_rate * LENGTH**2 for recipe in found]
    assert reach == sorted(reach)
    assert all(recipe.learning_rate * LENGTH**2 <= 20.1 for recipe in found)
    assert [recipe.clipping_norm for recipe in found] == [1.58] * 4


def test_the_reach_does_not_depend_on_the_unit_of_the_inputs() -> None:
    one, ten = (joint_recipe(epsilon=1, delta=DELTA, patients=590, length=length) for length in (1.0, 10.0))
    assert one.learning_rate == pytest.approx(100 * ten.learning_rate, rel=0.01)
    assert ten.clipping_norm == pytest.approx(10 * one.clipping_norm)


def test_a_study_without_patients_is_refused() -> None:
    with pytest.raises(UsageError, match="patients"):
        joint_recipe(epsilon=1, delta=DELTA, patients=0)
