"""Local training: the arithmetic of a step, what is refused, and which batches come when."""

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training_cases import NOISY, PLAIN, SURVIVAL, D, away, cohort, study, zero

from wardround.client.training import LocalTrainer, seeded_batches, train_plain, train_private
from wardround.common.errors import PrivacyError, TrustError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import build, initial
from wardround.common.learning.parameters import to_bytes, to_vector
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.study.outcomes import Targets
from wardround.common.study.terms import ModelTerms


@pytest.mark.parametrize("model", [ModelTerms(), ModelTerms(kind="mlp", hidden=(8,))])
def test_plain_training_is_torch_sgd_with_a_proximal_term(model: ModelTerms) -> None:
    protocol = study(model=replace(model, l2=0.01), local_steps=7, batch_size=6, proximal_mu=0.5)
    rows, base = cohort(d=30), away(initial(protocol, 30))
    batches = list(seeded_batches(protocol, 20, seed=1, site="a", round_=1))
    module = build(protocol, 30)
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter, array in zip(parameters, base.values(), strict=True):
        parameter.data = torch.tensor(array)
    first = [p.detach().clone() for p in parameters]
    shrunk = [{"params": [p], "weight_decay": 0.01 if p.ndim > 1 else 0.0} for p in parameters]
    optimiser = torch.optim.SGD(shrunk, lr=0.1)
    for index in batches:
        outputs = module(torch.tensor(rows.inputs[index])).squeeze(1)
        target = torch.tensor(rows.targets.value[index], dtype=torch.float32)
        loss = 0.5 * torch.mean((outputs - target) ** 2)
        loss = loss + 0.25 * sum(((p - w) ** 2).sum() for p, w in zip(parameters, first, strict=True))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    expected = np.concatenate([p.detach().numpy().ravel() for p in parameters]) - to_vector(base)
    np.testing.assert_allclose(to_vector(train_plain(protocol, base, rows, batches)), expected, atol=2e-6)


def test_plain_training_can_minimise_the_cox_partial_likelihood() -> None:
    protocol = study(PLAIN, ModelTerms(loss="cox"), SURVIVAL, learning_rate=1.0)
    rows = PatientRows(
        inputs=np.array([[1.0], [0.0]], np.float32),
        patient=np.arange(2),
        targets=Targets(value=np.array([1.0, 2.0]), event=np.array([True, False])),
    )
    update = train_plain(protocol, initial(protocol, 1), rows, [np.arange(2)])
    # Two patients at risk when the first dies: gradient (x_mean - x_1) / 2 = -1/4.
    assert update["risk.weight"] == pytest.approx(0.25)


def test_one_trainer_serves_every_round_from_the_base_it_is_given() -> None:
    protocol, rows = study(local_steps=3, batch_size=5), cohort()
    trainer = LocalTrainer(protocol, rows, site="a")
    batches = list(seeded_batches(protocol, 20, seed=1, site="a", round_=1))
    first = trainer.plain(zero(), batches)
    trainer.plain(away(zero()), batches)
    assert to_bytes(trainer.plain(zero(), batches)) == to_bytes(first)
    assert to_bytes(train_plain(protocol, zero(), rows, batches)) == to_bytes(first)


def test_no_batches_give_no_update() -> None:
    assert not to_vector(train_plain(study(), away(zero()), cohort(), [])).any()


def test_exact_gradients_never_leave_under_a_private_protocol() -> None:
    with pytest.raises(PrivacyError, match="exact"):
        train_plain(study(NOISY), zero(), cohort(), [np.arange(20)])


def test_private_training_without_a_mechanism_is_refused() -> None:
    with pytest.raises(PrivacyError, match="site-noise"):
        train_private(study(), zero(), cohort(), site="a", random=SecureRandom())


def test_a_loss_that_couples_patients_is_refused_under_privacy() -> None:
    coupled = study(PLAIN, ModelTerms(loss="cox"), SURVIVAL)
    rows = replace(cohort(), targets=Targets(value=np.full(20, 5.0), event=np.full(20, True)))
    with pytest.raises(PrivacyError, match="couples"):
        replace(coupled, privacy=NOISY)
    with pytest.raises(PrivacyError):
        train_private(coupled, initial(coupled, D), rows, site="a", random=SecureRandom())


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_a_base_model_of_absurd_numbers_is_refused(bad: float) -> None:
    base = zero()
    next(iter(base.values()))[0, 0] = bad
    with pytest.raises(TrustError):
        train_private(study(NOISY), base, cohort(), site="a", random=SecureRandom())
    with pytest.raises(TrustError):
        train_plain(study(), base, cohort(), [np.arange(20)])


def test_a_source_of_noise_that_was_closed_gives_no_update() -> None:
    random = SecureRandom()
    random.close()
    with pytest.raises(PrivacyError, match="closed"):
        train_private(study(NOISY), zero(), cohort(), site="a", random=random)


def test_every_epoch_visits_every_patient_once() -> None:
    protocol = study(local_steps=8, batch_size=6)
    batches = list(seeded_batches(protocol, 20, seed=1, site="a", round_=1))
    assert [len(batch) for batch in batches] == [6, 6, 6, 2] * 2
    for epoch in (batches[:4], batches[4:]):
        assert sorted(np.concatenate(epoch)) == list(range(20))
    assert not np.array_equal(np.concatenate(batches[:4]), np.concatenate(batches[4:]))


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_there_are_as_many_batches_as_steps(steps: int) -> None:
    protocol = study(local_steps=steps, batch_size=6)
    assert len(list(seeded_batches(protocol, 20, seed=1, site="a", round_=1))) == steps


@pytest.mark.parametrize("size", [0, 20, 500])
def test_no_batch_size_and_a_large_one_mean_everybody(size: int) -> None:
    batches = list(seeded_batches(study(local_steps=2, batch_size=size), 20, seed=1, site="a", round_=1))
    assert [batch.tolist() for batch in batches] == [list(range(20))] * 2


def test_batches_repeat_for_the_same_round_and_differ_between_seeds_sites_and_rounds() -> None:
    protocol = study(local_steps=1, batch_size=15)

    def batch(seed: int, site: str, round_: int) -> tuple[int, ...]:
        return tuple(next(seeded_batches(protocol, 20, seed=seed, site=site, round_=round_)).tolist())

    keys = list(itertools.product((1, 2), ("a", "b"), (1, 2)))
    assert len({batch(*key) for key in keys}) == len(keys)
    assert [batch(*key) for key in keys] == [batch(*key) for key in keys]


def test_plain_training_imports_neither_opacus_nor_the_compiler_of_torch() -> None:
    code = """
import sys
import numpy as np
from tests.training_cases import cohort, study, zero
from wardround.client.training import train_plain
train_plain(study(local_steps=2), zero(), cohort(), [np.arange(20), np.arange(5)])
print(sorted({"opacus", "torch._dynamo", "torch._inductor"} & set(sys.modules)))
"""
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
