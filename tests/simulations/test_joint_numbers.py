"""What comes out of a study under joint noise, in numbers: the sum of all sites' clipped gradients, and its noise.

The oracle takes every patient's gradient on its own, by plain formulas in float64, and knows nothing of the clipper,
the grid or the masks.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from tests.jointrogues import NAMES, facing, joint_federation, masked
from tests.studies import WIDTH, joint_protocol, small_federation

from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes, to_vector
from wardround.common.privacy.integernoise import share_variance
from wardround.common.privacy.jointnoise import grid_of, opened_sum
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.masking import ring_sum
from wardround.common.trust.sumwire import Masked
from wardround.simulations.federation import Federation, run_federation

Vector = NDArray[np.float64]
SIZE = WIDTH + 1


def gradients(made: Federation, model: Mapping[str, NDArray[Any]]) -> dict[str, Vector]:
    """Site -> sum of its patients' clipped gradients of the logistic loss, one patient at a time, in float64.

    In the order of the model's vector: bias and weight by their names.
    """
    weight, bias = (model[name].astype(np.float64) for name in ("output.weight", "output.bias"))
    found = {}
    for hospital in made.hospitals:
        rows = hospital.training()
        total = np.zeros(SIZE)
        for features, outcome in zip(rows.inputs.astype(np.float64), rows.targets.value, strict=True):
            score = float(features @ weight[0] + bias[0])
            error = 1 / (1 + math.exp(-score)) - outcome
            parts = {"output.weight": error * features, "output.bias": np.array([error])}
            gradient = np.concatenate([parts[name] for name in model])
            norm = math.sqrt(float(gradient @ gradient))
            total += gradient * min(1.0, made.protocol.privacy.clipping_norm / norm)
        found[hospital.name] = total
    return found


def over_all(made: Federation, model: Mapping[str, NDArray[Any]]) -> Vector:
    """The sum over all sites."""
    total: Vector = np.sum([*gradients(made, model).values()], axis=0)
    return total


def away(protocol: StudyProtocol) -> Parameters:
    """A model away from its start."""
    rng = np.random.default_rng(11)
    return {
        name: array + rng.normal(0, 0.7, array.shape).astype(np.float32)
        for name, array in initial(protocol, WIDTH).items()
    }


ROUNDS = 200


@pytest.fixture(scope="module")
def opened_sums(tmp_path_factory: pytest.TempPathFactory) -> tuple[Federation, Vector]:
    """A federation, and the opened sums of many rounds from one model: shape (rounds, d)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        made = joint_federation(tmp_path_factory.mktemp("sums"), rounds=ROUNDS, attempts=1, noise=3.0)
        model = away(made.protocol)
        base, sums = parameters_digest(model), []
        with facing(made) as hostile:
            for round_ in range(1, ROUNDS + 1):
                agreements = hostile.agreements(round_=round_, base=base).values()
                replies = [
                    hostile.order(site, agreements, to_bytes(model), round_=round_, base=base)
                    for site in NAMES
                ]
                vectors = [Masked.unpack(masked(hostile, reply).body, SIZE).values for reply in replies]
                sums.append(opened_sum(made.protocol.privacy, ring_sum(vectors), sites=len(NAMES)))
    return made, np.array(sums)


def noise_of(made: Federation, sums: Vector) -> Vector:
    """What the opened sums hold beyond the true sum."""
    return sums - over_all(made, away(made.protocol))


def test_some_patients_are_clipped_and_some_are_not(opened_sums: tuple[Federation, Vector]) -> None:
    made, _ = opened_sums
    model, wide = away(made.protocol), replace(made.protocol.privacy, clipping_norm=1e9)
    loose = gradients(replace(made, protocol=made.protocol.with_privacy(wide)), model)
    tight = replace(made.protocol.privacy, clipping_norm=1e-3)
    all_clipped = gradients(replace(made, protocol=made.protocol.with_privacy(tight)), model)
    for site, total in gradients(made, model).items():
        assert not np.allclose(total, loose[site])
        assert not np.allclose(total, 1e3 * all_clipped[site])


def test_the_opened_sum_is_that_of_all_sites_clipped_gradients(
    opened_sums: tuple[Federation, Vector],
) -> None:
    """In each coordinate, the mean of 200 opened sums lies within five standard errors of the oracle's sum."""
    made, sums = opened_sums
    grid = grid_of(made.protocol.privacy, sites=3, coordinates=SIZE)
    deviation = grid.step * math.sqrt(3 * share_variance(grid.widening))
    z = noise_of(made, sums).mean(axis=0) / (deviation / math.sqrt(ROUNDS))
    assert np.abs(z).max() < 5
    assert np.abs(sums.mean(axis=0)).max() > 20 * deviation / math.sqrt(ROUNDS)  # and it is not zero


def test_the_noise_has_the_variance_that_all_shares_add_up_to(opened_sums: tuple[Federation, Vector]) -> None:
    """K / h times (z C')^2 in each coordinate: 800 draws, |z| < 5.5."""
    made, sums = opened_sums
    terms = made.protocol.privacy
    grid = grid_of(terms, sites=3, coordinates=SIZE)
    claimed = 3 / terms.honest_sites * (terms.noise_multiplier * grid.sensitivity) ** 2
    noise = noise_of(made, sums).ravel()
    z = (noise.var() / claimed - 1) * math.sqrt(noise.size / 2)
    assert abs(z) < 5.5
    assert stats.kstest(noise / math.sqrt(claimed), "norm").pvalue > 1e-8


def test_the_noise_of_different_rounds_and_coordinates_is_unrelated(
    opened_sums: tuple[Federation, Vector],
) -> None:
    made, sums = opened_sums
    noise = noise_of(made, sums)
    between = np.asarray(np.corrcoef(noise.T))[np.triu_indices(SIZE, 1)]
    after = [np.asarray(np.corrcoef(noise[:-1, i], noise[1:, i]))[0, 1] for i in range(SIZE)]
    assert np.abs([*between, *after]).max() < 5 / math.sqrt(ROUNDS)


@pytest.mark.usefixtures("quick_disk")
def test_with_hardly_any_noise_a_study_is_central_gradient_descent(tmp_path: Path) -> None:
    protocol = joint_protocol(rounds=12, learning_rate=2.0)
    quiet = replace(protocol.privacy, noise_multiplier=1e-3, most_patients=100)
    protocol = protocol.with_privacy(quiet)
    made = small_federation(tmp_path, protocol, names=NAMES)
    model = {name: array.astype(np.float64) for name, array in initial(protocol, WIDTH).items()}
    patients = 20 * len(NAMES)  # the public numbers, not those of the rows
    for _ in range(12):
        total = over_all(made, model)
        start = 0
        for name, array in model.items():
            step = total[start : start + array.size].reshape(array.shape) / patients
            model[name] = array - 2.0 * (step + protocol.model.l2 * array * (array.ndim > 1))
            start += array.size
    found = run_federation(made)
    grid = grid_of(protocol.privacy, sites=3, coordinates=SIZE)
    noise = 12 * 2.0 * math.sqrt(3) * grid.share_deviation / patients
    expected = np.concatenate([model[name].ravel() for name in found])
    np.testing.assert_allclose(to_vector(found).astype(np.float64), expected, atol=5 * noise + 1e-6)
    assert np.abs(to_vector(found)).max() > 0.3
