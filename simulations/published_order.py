"""The order in which FLamby's benchmark drew its random numbers, so that its published runs can be repeated.

One generator serves everything. Per seed: the first model's weights, then method after method; each method makes
its clients' batch iterators, seeds the generator anew, trains, and evaluates. Numbers are taken

* one by every new iterator (a loader's base seed), also by each test loader at evaluation;
* one by every permutation (the seed of a generator of its own): when the iterator is made, if the loader prefetches
  (TCGA-BRCA), or when its first batch is asked for (heart disease).

An iterator outlives the rounds of a method. A prefetching loader's first permutation is drawn before the method
seeds the generator, so it depends on how many numbers the method before took: hence the order of methods, and the
replay of Cyclic, which ran before the five that are compared.

Here the generator is an argument; the process-wide one is never touched.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from wardround.common.learning.parameters import Parameters


class LoaderBatches(Iterator[NDArray[np.int64]]):
    """One client's endless batches in the published order.

    Args:
        patients: Training patients of the client, > 0.
        batch_size: Patients per batch; the last of a permutation is smaller.
        generator: Shared by all clients.
    """

    def __init__(self, patients: int, batch_size: int, generator: Generator) -> None:
        self._patients, self._batch_size, self._generator = patients, batch_size, generator
        self._order = self._new_iterator()

    def __next__(self) -> NDArray[np.int64]:
        """The next batch: indices of patients, shape (at most batch_size,)."""
        batch = next(self._order, None)
        if batch is None:
            self._order = self._new_iterator()
            batch = next(self._order)
        return batch

    def _new_iterator(self) -> Iterator[NDArray[np.int64]]:
        draw(self._generator)
        return self._permutation()

    def _permutation(self) -> Iterator[NDArray[np.int64]]:
        own = Generator().manual_seed(draw(self._generator))
        order = torch.randperm(self._patients, generator=own).numpy()
        for start in range(0, self._patients, self._batch_size):
            yield order[start : start + self._batch_size]


class PrefetchedBatches(LoaderBatches):
    """The same from a loader that looks ahead: a permutation is drawn as soon as its iterator exists."""

    def _new_iterator(self) -> Iterator[NDArray[np.int64]]:
        return iter(list(super()._new_iterator()))


def draw(generator: Generator) -> int:
    """One 63-bit number, as a loader takes it."""
    return int(torch.empty((), dtype=torch.int64).random_(generator=generator).item())


def evaluation_draws(generator: Generator, clients: int) -> None:
    """What evaluating takes: one number per client's test loader and one for the pooled test."""
    for _ in range(clients + 1):
        draw(generator)


def linear_start(like: Parameters, inputs: int, generator: Generator) -> Parameters:
    """The first weights of torch's own `Linear(inputs, 1)`, in the names and shapes of `like`.

    Weight and bias are both drawn; a bias the model lacks (Cox: it cancels) is left out.
    """
    weight = torch.empty(1, inputs)
    torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    bound = 1 / math.sqrt(inputs)
    bias = torch.empty(1).uniform_(-bound, bound, generator=generator)
    drawn = {"weight": weight.numpy(), "bias": bias.numpy()}
    return {name: drawn[name.rsplit(".", maxsplit=1)[-1]] for name in like}


def replay_cyclic(batches: Sequence[LoaderBatches], rounds: int, steps: int, seed: int) -> None:
    """Take the numbers that Cyclic took: one client per round, clients in a new order each cycle.

    Nothing is trained; only how far the generator moves matters to what comes after.
    """
    rng = np.random.default_rng(seed)
    order: list[int] = []
    for _ in range(rounds):
        order = order or rng.permutation(len(batches)).tolist()
        client = batches[order.pop(0)]
        for _ in range(steps):
            next(client)
