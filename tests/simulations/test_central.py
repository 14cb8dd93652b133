"""Central DP-SGD is what it says: descent on the mean loss where nothing is clipped, and the stated noise."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from wardround.common.learning.data import PatientRows
from wardround.common.learning.parameters import Parameters, to_vector
from wardround.common.study.outcomes import Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.simulations.baselines import train_alone
from wardround.simulations.central import train_centrally, train_unmasked
from wardround.simulations.utility_cases import STUDIES, plain_arm

N = 40


def protocol(*, rounds: int, clipping_norm: float) -> StudyProtocol:
    study = load(STUDIES / "pancan-msi-joint.toml")
    return replace(
        study,
        federation=replace(study.federation, rounds=rounds, learning_rate=0.5),
        privacy=replace(study.privacy, clipping_norm=clipping_norm),
    )


def patients() -> PatientRows:
    rng = np.random.default_rng(3)
    return PatientRows(
        inputs=rng.normal(size=(N, 37)).astype(np.float32),
        patient=np.arange(N),
        targets=Targets(value=(rng.random(N) < 0.5).astype(float)),
    )


def trained(
    study: StudyProtocol, noise: float = 0.0, *, seed: int = 0, patients_declared: int = N
) -> Parameters:
    rng = np.random.default_rng(seed)
    return train_centrally(study, patients(), patients=patients_declared, noise_multiplier=noise, rng=rng)


def flat(model: Parameters) -> NDArray[np.float32]:
    return to_vector(model)


def test_without_noise_and_clipping_it_is_descent_on_the_mean_loss() -> None:
    study = protocol(rounds=5, clipping_norm=1e6)
    plain = plain_arm(study)
    plain = replace(plain, federation=replace(plain.federation, rounds=5, learning_rate=0.5))
    alone = train_alone(plain, patients(), site="x", seed=0)
    np.testing.assert_allclose(flat(trained(study)), flat(alone), atol=1e-6)


def test_noise_has_the_stated_scale() -> None:
    study, quiet = (protocol(rounds=1, clipping_norm=2.0) for _ in range(2))
    clean = flat(trained(quiet))
    moved = np.concatenate([flat(trained(study, 3.0, seed=seed)) - clean for seed in range(60)])
    # learning rate 0.5, z C = 6, divided by the declared patients
    assert moved.std() == pytest.approx(0.5 * 6.0 / N, rel=0.05)
    assert abs(moved.mean()) < 4 * 0.5 * 6.0 / N / np.sqrt(len(moved))


def test_the_divisor_is_the_declared_number() -> None:
    study = protocol(rounds=1, clipping_norm=1.0)
    half = flat(trained(study, patients_declared=2 * N))
    np.testing.assert_allclose(2 * half, flat(trained(study)), atol=1e-7)


def parts(sites: int) -> dict[str, PatientRows]:
    everyone = np.arange(N)
    return {f"site {k}": patients().take(everyone[k::sites]) for k in range(sites)}


def joint(study: StudyProtocol, *, sites: int, noise_multiplier: float) -> StudyProtocol:
    privacy = replace(
        study.privacy,
        noise_multiplier=noise_multiplier,
        honest_sites=sites - 1,
        reference_patients=N // sites,
    )
    return replace(study, privacy=privacy)


def test_next_to_no_joint_noise_is_central_descent() -> None:
    study = joint(protocol(rounds=4, clipping_norm=1.0), sites=4, noise_multiplier=0.2)
    np.testing.assert_allclose(flat(train_unmasked(study, parts(4))), flat(trained(study)), atol=0.04)


def test_joint_noise_is_that_of_all_shares() -> None:
    study = joint(protocol(rounds=1, clipping_norm=2.0), sites=4, noise_multiplier=3.0)
    clean = flat(trained(study))
    moved = np.concatenate([flat(train_unmasked(study, parts(4))) - clean for _ in range(240)])
    assert moved.std() == pytest.approx(0.5 * 6.0 / N * np.sqrt(4 / 3), rel=0.06)
