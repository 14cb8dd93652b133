"""The published order of draws against torch's own loader, sampler and layer."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Generator
from torch.utils.data import DataLoader, TensorDataset

from wardround.simulations.published_order import (
    LoaderBatches,
    PrefetchedBatches,
    draw,
    evaluation_draws,
    linear_start,
    replay_cyclic,
)


@pytest.fixture(autouse=True)
def _global_generator() -> Iterator[None]:
    with torch.random.fork_rng():
        yield


def loader(patients: int, batch_size: int) -> "DataLoader[tuple[torch.Tensor, ...]]":
    return DataLoader(TensorDataset(torch.arange(patients)), batch_size=batch_size, shuffle=True)


def pull(order: Iterator[list[torch.Tensor]]) -> list[int] | None:
    batch = next(order, None)
    return None if batch is None else [int(number) for number in batch[0]]


def test_two_clients_in_turn_see_what_torchs_loaders_give() -> None:
    sizes, generator = (10, 7), Generator().manual_seed(5)
    ours = [LoaderBatches(size, 4, generator) for size in sizes]
    torch.manual_seed(5)
    theirs = [loader(size, 4) for size in sizes]
    orders = [iter(one) for one in theirs]
    for turn in range(30):
        k = (turn // 5) % 2  # five batches in a row, then the other client
        expected = pull(orders[k])
        if expected is None:
            orders[k] = iter(theirs[k])
            expected = pull(orders[k])
        assert next(ours[k]).tolist() == expected
    assert draw(generator) == int(torch.empty((), dtype=torch.int64).random_().item())


def test_a_loader_that_looks_ahead_has_drawn_its_permutation_before_the_seed() -> None:
    generator = Generator().manual_seed(1)
    ours = [PrefetchedBatches(size, 4, generator) for size in (6, 9)]
    generator.manual_seed(2)
    torch.manual_seed(1)
    # Asking each new iterator for its first batch at once is what looking ahead means for the draws.
    theirs = [pull(iter(loader(size, 4))) for size in (6, 9)]
    torch.manual_seed(2)
    assert [next(batches).tolist() for batches in ours] == theirs
    assert draw(generator) == int(torch.empty((), dtype=torch.int64).random_().item())


def test_every_patient_comes_once_before_anyone_comes_again() -> None:
    batches = LoaderBatches(11, 4, Generator().manual_seed(3))
    for _ in range(3):
        epoch = [next(batches) for _ in range(3)]
        assert [len(batch) for batch in epoch] == [4, 4, 3]
        assert sorted(np.concatenate(epoch).tolist()) == list(range(11))


def test_the_first_weights_are_those_of_torchs_linear_layer() -> None:
    torch.manual_seed(42)
    layer = torch.nn.Linear(39, 1)
    like = {"output.weight": np.zeros((1, 39), np.float32), "output.bias": np.zeros(1, np.float32)}
    generator = Generator().manual_seed(42)
    found = linear_start(like, 39, generator)
    assert found["output.weight"].tobytes() == layer.weight.detach().numpy().tobytes()
    assert found["output.bias"].tobytes() == layer.bias.detach().numpy().tobytes()


def test_a_model_without_bias_still_takes_the_draw_of_the_bias() -> None:
    with_bias, without = Generator().manual_seed(1), Generator().manual_seed(1)
    weight = {"risk.weight": np.zeros((1, 3), np.float32)}
    linear_start(weight, 3, without)
    linear_start({**weight, "risk.bias": np.zeros(1, np.float32)}, 3, with_bias)
    assert torch.equal(with_bias.get_state(), without.get_state())


def test_cyclic_asks_each_client_once_per_cycle() -> None:
    # A new client takes one draw (its permutation); a client met again takes two (new iterator, permutation).
    found, expected = Generator().manual_seed(9), Generator().manual_seed(9)
    batches = [LoaderBatches(4, 4, found) for _ in range(3)]
    found.manual_seed(9)
    replay_cyclic(batches, rounds=4, steps=1, seed=42)
    for _ in range(3 + 2):
        draw(expected)
    assert torch.equal(found.get_state(), expected.get_state())


def test_cyclic_visits_clients_in_the_order_of_its_own_seed() -> None:
    # Clients need 1, 2 and 3 batches per epoch, so how many draws three steps take tells who was asked.
    taken = {}
    for seed in range(6):
        generator = Generator().manual_seed(0)
        batches = [LoaderBatches(size, 1, generator) for size in (1, 2, 3)]
        generator.manual_seed(0)
        replay_cyclic(batches, rounds=1, steps=3, seed=seed)
        expected = Generator().manual_seed(0)
        client = int(np.random.default_rng(seed).permutation(3)[0])
        for _ in range({0: 5, 1: 3, 2: 1}[client]):
            draw(expected)
        assert torch.equal(generator.get_state(), expected.get_state())
        taken[client] = True
    assert len(taken) > 1


def test_an_evaluation_takes_one_number_per_test_loader() -> None:
    found, expected = Generator().manual_seed(9), Generator().manual_seed(9)
    evaluation_draws(found, 6)
    for _ in range(7):
        draw(expected)
    assert torch.equal(found.get_state(), expected.get_state())


def test_the_process_wide_generator_is_never_touched() -> None:
    before = torch.get_rng_state()
    batches = PrefetchedBatches(9, 4, Generator().manual_seed(1))
    linear_start({"output.weight": np.zeros((1, 3), np.float32)}, 3, Generator().manual_seed(1))
    for _ in range(5):
        next(batches)
    assert torch.equal(torch.get_rng_state(), before)
