"""A cohort behind the door: shapes, one round of training, fresh randomness each time."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tests.studies import WIDTH, patients, private_protocol, small_protocol

from wardround.client.trainer import CohortTrainer
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, to_vector
from wardround.common.study.protocol import StudyProtocol

SEEDED = small_protocol(batch_size=5, local_steps=3)


def trainer(protocol: StudyProtocol, site: str = "north") -> CohortTrainer:
    return CohortTrainer(protocol, patients(1), site=site)


def update(of: CohortTrainer, round_: int = 1, base: Parameters | None = None) -> NDArray[np.floating]:
    return to_vector(of.train(base if base is not None else initial(SEEDED, WIDTH), round_))


def test_the_shapes_are_those_of_the_initial_model() -> None:
    like, first = trainer(SEEDED).like(), initial(SEEDED, WIDTH)
    assert {name: array.shape for name, array in like.items()} == {
        "output.weight": (1, WIDTH),
        "output.bias": (1,),
    }
    assert list(like) == list(first)


def test_a_seeded_round_is_the_same_each_time_and_differs_between_rounds_and_sites() -> None:
    once = update(trainer(SEEDED))
    assert (once == update(trainer(SEEDED))).all()
    assert (once != update(trainer(SEEDED), round_=2)).any()
    assert (once != update(trainer(SEEDED, site="south"))).any()


def test_what_a_trainer_did_before_leaves_no_trace_in_the_next_round() -> None:
    used = trainer(SEEDED)
    update(used, round_=1, base={name: array + 3 for name, array in initial(SEEDED, WIDTH).items()})
    assert (update(used, round_=2) == update(trainer(SEEDED), round_=2)).all()


def test_the_base_model_is_left_as_it_was() -> None:
    base = initial(SEEDED, WIDTH)
    before = {name: array.copy() for name, array in base.items()}
    update(trainer(SEEDED), base=base)
    assert all((base[name] == before[name]).all() for name in before)


def test_without_a_seed_every_run_draws_other_batches() -> None:
    unseeded = replace(SEEDED, seed=None)
    assert (update(trainer(unseeded)) != update(trainer(unseeded))).any()


def test_a_private_round_draws_fresh_noise_also_for_the_same_attempt() -> None:
    private = trainer(private_protocol())
    first, second = update(private), update(private)
    assert (first != second).any()
    # Both are the same sum with noise of the declared size: 2.0 * clipping norm 1 over 20 patients, one step of .5.
    difference = (first - second) / (0.5 * 2.0 / 20 * np.sqrt(2))
    assert 0.01 < np.sqrt(np.mean(difference**2)) < 5
