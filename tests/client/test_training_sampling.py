"""Poisson sampling under `site-noise`: each patient joins each step alone, at the public rate."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.training_cases import NOISY, study, zero

from wardround.client.training import LocalTrainer
from wardround.common.learning.data import PatientRows
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.study.outcomes import Targets

PATIENTS = 20
RUNS = 400


def who_took_part(q: float) -> NDArray[np.bool_]:
    """Shape (RUNS, PATIENTS). Each patient has an input of their own, so that the update tells who was sampled."""
    rows = PatientRows(
        inputs=np.eye(PATIENTS, dtype=np.float32),
        patient=np.arange(PATIENTS),
        targets=Targets(value=np.ones(PATIENTS)),
    )
    almost_exact = replace(NOISY, sample_rate=q, noise_multiplier=1e-3)
    trainer = LocalTrainer(study(almost_exact), rows, site="a")
    base = zero(PATIENTS)
    found = []
    for _ in range(RUNS):
        with SecureRandom() as random:
            found.append(np.abs(trainer.private(base, random)["output.weight"].ravel()))
    moved = np.asarray(found)
    took_part: NDArray[np.bool_] = moved > moved.max() / 2
    return took_part


@pytest.mark.parametrize("q", [0.2, 0.7])
def test_every_patient_joins_a_step_at_the_public_rate_and_independently_of_the_others(q: float) -> None:
    took_part = who_took_part(q)
    spread = 5 * np.sqrt(q * (1 - q) / took_part.size)
    assert abs(took_part.mean() - q) < spread
    # Sizes of the samples are binomial: a rate that holds for all patients together would spread far more.
    expected = PATIENTS * q * (1 - q)
    assert abs(took_part.sum(axis=1).var() / expected - 1) < 5 * np.sqrt(2 / RUNS)


def test_at_rate_one_everybody_takes_part_in_every_step() -> None:
    assert who_took_part(1.0).all()
