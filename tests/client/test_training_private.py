"""Private training: the scale of its noise, its sensitivity, and that no constant counts patients."""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.training_cases import NOISY, D, away, cohort, study, without_gradient, zero

from wardround.client.training import LocalTrainer, train_private, with_noise
from wardround.common.errors import UsageError
from wardround.common.learning.models import build, export, initial
from wardround.common.learning.parameters import to_bytes, to_vector
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.study.outcomes import Targets
from wardround.common.study.terms import ModelTerms, SiteTerms


@pytest.fixture
def known_key(monkeypatch: pytest.MonkeyPatch) -> Callable[[], SecureRandom]:
    """Sources that all repeat each other: only the operating system's bytes are replaced."""
    monkeypatch.setattr(os, "urandom", lambda n: bytes(n))
    return SecureRandom


@pytest.mark.parametrize(
    ("q", "steps", "site"), [(1.0, 1, "a"), (1.0, 4, "b"), (0.25, 1, "b"), (0.5, 3, "a")]
)
def test_the_noise_of_an_update_has_the_declared_scale(q: float, steps: int, site: str) -> None:
    protocol = study(
        replace(NOISY, sample_rate=q), local_steps=steps, sites=(SiteTerms(name="b", reference_patients=80),)
    )
    reference = {"a": 50, "b": 80}[site]
    update = to_vector(
        train_private(protocol, zero(), without_gradient(30), site=site, random=SecureRandom())
    )
    # Weights and bias: patients' own gradients stay far below the noise even after it moved the model.
    expected = 0.1 * 2.0 * 0.5 / (q * reference) * np.sqrt(steps)
    assert abs(update.std() / expected - 1) < 5.5 / np.sqrt(2 * update.size)
    assert abs(update.mean()) < 5.5 * expected / np.sqrt(update.size)


def test_an_empty_poisson_sample_is_a_noisy_step() -> None:
    protocol = study(replace(NOISY, sample_rate=1e-9), local_steps=3, learning_rate=1e-9)
    update = to_vector(train_private(protocol, zero(), cohort(), site="a", random=SecureRandom()))
    expected = 1e-9 * 2.0 * 0.5 / (1e-9 * 50) * np.sqrt(3)
    assert abs(update.std() / expected - 1) < 5.5 / np.sqrt(2 * update.size)


def test_one_patient_more_or_less_changes_no_constant_and_no_length(
    known_key: Callable[[], SecureRandom],
) -> None:
    protocol = study(NOISY)
    updates = [
        to_bytes(train_private(protocol, zero(), without_gradient(n), site="a", random=known_key()))
        for n in (19, 20, 21)
    ]
    assert updates[0] == updates[1] == updates[2]
    lengths = {
        len(to_bytes(train_private(protocol, zero(), cohort(n), site="a", random=SecureRandom())))
        for n in (1, 19, 20, 21)
    }
    assert lengths == {len(updates[0])}


@pytest.mark.parametrize("model", [ModelTerms(), ModelTerms(kind="mlp", hidden=(8,))])
def test_one_patient_moves_the_update_by_at_most_the_declared_sensitivity(
    model: ModelTerms, known_key: Callable[[], SecureRandom]
) -> None:
    protocol, rows = study(NOISY, model), cohort(12)
    base = away(initial(protocol, D))
    largest = 0.0
    whole = to_vector(train_private(protocol, base, rows, site="a", random=known_key()))
    for left_out in range(12):
        others = rows.take(np.delete(np.arange(12), left_out))
        update = to_vector(train_private(protocol, base, others, site="a", random=known_key()))
        largest = max(largest, float(np.linalg.norm(whole.astype(float) - update)))
    bound = 0.1 * 0.5 / 50
    rounding = 0.1 / 50 * 2.0**-12 * np.sqrt(whole.size)
    assert 0.5 * bound < largest <= bound + rounding


def test_a_patient_whose_gradient_is_not_finite_leaves_no_trace_in_the_update(
    known_key: Callable[[], SecureRandom],
) -> None:
    protocol, rows = study(NOISY, ModelTerms(kind="mlp", hidden=(8,))), cohort(12)
    value = rows.targets.value.copy()
    value[4] = 3e38  # finite; times an ordinary weight it is no float32
    poisoned = replace(rows, targets=Targets(value=value))
    base = {name: 50 * array for name, array in away(initial(protocol, D)).items()}
    found = train_private(protocol, base, poisoned, site="a", random=known_key())
    others = rows.take(np.delete(np.arange(12), 4))
    without = train_private(protocol, base, others, site="a", random=known_key())
    assert np.isfinite(to_vector(found)).all()
    assert to_bytes(found) == to_bytes(without)


def test_two_runs_of_one_protocol_give_different_noise() -> None:
    protocol, rows = study(NOISY), cohort()
    first, second = (
        to_vector(train_private(protocol, zero(), rows, site="a", random=SecureRandom())) for _ in range(2)
    )
    assert np.mean(first == second) < 0.01


def test_two_forked_children_give_different_noise() -> None:
    protocol, trainer = study(NOISY), LocalTrainer(study(NOISY), without_gradient(5), site="a")
    trainer.private(zero(), SecureRandom())  # imports before the fork, as a pre-forking executor does
    updates = []
    for _ in range(2):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                torch.set_num_threads(1)
                os.write(writer, to_vector(trainer.private(zero(), SecureRandom())).tobytes())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as answer:
            updates.append(np.frombuffer(answer.read(), np.float32))
        os.waitpid(child, 0)
    assert protocol.private
    assert updates[0].size == updates[1].size == D + 1
    assert np.mean(updates[0] == updates[1]) < 0.01


def test_noise_reaches_every_value_of_an_array_in_any_memory_order() -> None:
    for values in (np.zeros((300, 200), np.float32), np.zeros((200, 300), np.float32).T):
        noisy = with_noise(values, 3.0, SecureRandom())
        assert noisy.shape == (300, 200)
        assert not values.any()
        assert abs(noisy.std() / 3.0 - 1) < 6 / np.sqrt(2 * noisy.size)


def test_noise_is_added_to_the_value_that_stands_there() -> None:
    values = np.arange(60_000, dtype=np.float32).reshape(200, 300).T
    assert np.abs(with_noise(values, 0.01, SecureRandom()) - values).max() < 0.1


@pytest.mark.parametrize("scale", [0.7, 1.0, 1e-6, 3e4])
def test_noisy_values_lie_on_a_public_grid(scale: float) -> None:
    noisy = with_noise(np.full(1000, 0.1234567, np.float32) * np.float32(scale), scale, SecureRandom())
    grid = 2.0 ** np.floor(np.log2(scale * 2.0**-12))
    assert np.all(np.remainder(noisy.astype(np.float64), grid) == 0)


def test_no_noise_is_no_scale() -> None:
    with pytest.raises(UsageError, match="scale"):
        with_noise(np.zeros(3, np.float32), 0.0, SecureRandom())


def test_penalties_act_on_the_noisy_parameters_and_never_on_a_clipped_gradient(
    known_key: Callable[[], SecureRandom],
) -> None:
    base, rows = away(zero()), cohort()
    loose = replace(NOISY, clipping_norm=1e-6, noise_multiplier=1e6)  # gradients vanish, noise does not

    def run(steps: int, *, mu: float = 0.0, l2: float = 0.0) -> NDArray[np.float32]:
        protocol = study(loose, ModelTerms(l2=l2), local_steps=steps, proximal_mu=mu)
        return to_vector(train_private(protocol, base, rows, site="a", random=known_key()))

    first = run(1)
    second = run(2) - first
    # w1 = w0 + e1, then w2 = w1 - lr mu (w1 - w0) + e2.
    np.testing.assert_allclose(run(2, mu=3.0), first * (1 - 0.1 * 3.0) + second, atol=1e-6)
    weights = to_vector({name: value if value.ndim > 1 else 0 * value for name, value in base.items()})
    np.testing.assert_allclose(run(1, l2=0.5), first - 0.1 * 0.5 * weights, atol=1e-6)


def test_what_leaves_has_the_names_and_shapes_of_the_base() -> None:
    protocol = study(NOISY, ModelTerms(kind="mlp", hidden=(8,)))
    base = initial(protocol, D)
    update = train_private(protocol, base, cohort(), site="a", random=SecureRandom())
    assert {name: array.shape for name, array in update.items()} == {
        name: array.shape for name, array in export(build(protocol, D)).items()
    }
    assert all(array.dtype == np.float32 for array in update.values())
