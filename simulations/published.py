"""FLamby's published federated results, repeated with Wardround's own parts and compared value by value.

The local steps are `client.training`, the server's are `common.learning.aggregation` and `optimisers`, the model and
the losses are those of every study; only the data preparation and the order of random draws follow the publication
(`published_data`, `published_order`). Without privacy, on public data.

    python -m wardround.simulations.published DATA --out docs/results/published.md

Source: Ogier du Terrail et al. (2022), "FLamby: Datasets and Benchmarks for Cross-Silo Federated Learning in
Realistic Healthcare Settings"; results files of the benchmark, seeds 42 to 46.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import torch
from torch import Generator

from wardround.client.training import LocalTrainer
from wardround.common.code import package_digest
from wardround.common.learning.aggregation import combine
from wardround.common.learning.metrics import evaluate
from wardround.common.learning.models import initial
from wardround.common.learning.optimisers import ServerState, server_step
from wardround.common.learning.parameters import Parameters, from_vector, to_vector
from wardround.common.learning.predictions import predict
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.published_data import (
    HEART_SITES,
    PublishedSplit,
    data_digests,
    read_heart,
    read_published,
)
from wardround.simulations.published_order import (
    LoaderBatches,
    evaluation_draws,
    linear_start,
    replay_cyclic,
)
from wardround.simulations.published_privacy import spent
from wardround.simulations.published_recipe import better
from wardround.simulations.published_settings import BENCHMARKS, STEPS, Benchmark, protocol_of
from wardround.simulations.published_table import page

SEEDS: Final = (42, 43, 44, 45, 46)
TOLERANCE: Final = 1e-6


def federate(
    protocol: StudyProtocol,
    train: Sequence[LocalTrainer],
    batches: Sequence[LoaderBatches],
    base: Parameters,
) -> Parameters:
    """All rounds of one method: local steps at each site in turn, one combined update, one server step.

    Args:
        protocol: Terms and weights; mechanism `none`.
        train: One per site, in the order of the protocol's sites.
        batches: One endless stream of batches per site; goes on from round to round.
        base: The first model.
    """
    weights = np.array([site.weight for site in protocol.federation.sites])
    state = ServerState()
    for _ in range(protocol.federation.rounds):
        updates = [
            to_vector(site.plain(base, islice(own, protocol.federation.local_steps)))
            for site, own in zip(train, batches, strict=True)
        ]
        combined = combine(protocol.federation, np.stack(updates), weights)
        vector, state = server_step(protocol.federation, to_vector(base), combined, state)
        base = from_vector(vector, base)
    return base


def repeat_seed(benchmark: Benchmark, split: PublishedSplit, seed: int) -> Iterator[tuple[str, str, float]]:
    """All methods of one seed in the published order: (method, test, value)."""
    generator = Generator().manual_seed(seed)
    first = protocol_of(benchmark, benchmark.methods[0], split)
    start = linear_start(initial(first, len(split.inputs)), len(split.inputs), generator)
    _replay_before(benchmark, split, generator, seed)
    for method in benchmark.methods:
        protocol = protocol_of(benchmark, method, split)
        trainers = [LocalTrainer(protocol, p, site=n) for n, p in zip(split.sites, split.train, strict=True)]
        batches = _loaders(benchmark, split, generator)
        generator.manual_seed(seed)
        model = federate(protocol, trainers, batches, start)
        evaluation_draws(generator, len(split.sites))
        for test, rows in split.test.items():
            values = evaluate(protocol.outcome, rows.targets, predict(protocol, model, rows))
            yield method.name, test, values[benchmark.metric]


def _replay_before(benchmark: Benchmark, split: PublishedSplit, generator: Generator, seed: int) -> None:
    batches = _loaders(benchmark, split, generator)
    generator.manual_seed(seed)
    replay_cyclic(batches, benchmark.rounds, STEPS, seed)
    evaluation_draws(generator, len(split.sites))


def _loaders(benchmark: Benchmark, split: PublishedSplit, generator: Generator) -> list[LoaderBatches]:
    return [benchmark.loader(part.n_patients, benchmark.batch_size, generator) for part in split.train]


def compare(data: Path, *, seeds: Sequence[int] = SEEDS) -> pd.DataFrame:
    """Repeat the five federated methods on both data sets and put each value beside the published one.

    Args:
        data: The folder of the real cohorts.
        seeds: Of the published 42 to 46.

    Returns:
        One row per data set, method, seed and test: columns `data set`, `method`, `test`, `seed`, `published`,
        `ours`, and `equal`: whether they differ by at most `TOLERANCE`.

    Raises:
        UsageError: A file of the data sets is not there.
    """
    rows = [row for benchmark in BENCHMARKS for row in _compare_one(benchmark, data, seeds)]
    frame = pd.DataFrame(rows, columns=["data set", "method", "test", "seed", "published", "ours"])
    return frame.assign(equal=(frame["published"] - frame["ours"]).abs() <= TOLERANCE)


def _compare_one(benchmark: Benchmark, data: Path, seeds: Sequence[int]) -> Iterator[tuple[object, ...]]:
    split = benchmark.read(data)
    known = read_published(data, benchmark.folder).set_index(["Method", "seed", "Test"])["Metric"]
    for seed in seeds:
        for method, test, value in repeat_seed(benchmark, split, seed):
            yield benchmark.name, method, test, seed, known.loc[f"{method}{STEPS}", seed, test], value


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the comparison: one page, and a CSV file with every value beside it."""
    parser = argparse.ArgumentParser(
        prog="python -m wardround.simulations.published", description=main.__doc__
    )
    parser.add_argument("data", type=Path, help="the folder of the real cohorts")
    parser.add_argument(
        "--out", type=Path, required=True, help="the page to write, e.g. docs/results/published.md"
    )
    given = parser.parse_args(arguments)
    compared = compare(given.data)
    sizes = {
        name: rows.n_patients for name, rows in zip(HEART_SITES, read_heart(given.data).train, strict=True)
    }
    private = {name: spent(count, stated=1.0, delta=1e-3) for name, count in sizes.items()}
    facts = {"code": package_digest(), "torch": torch.__version__, **data_digests(given.data)}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    compared.to_csv(given.out.with_suffix(".csv"), index=False, lineterminator="\n")
    given.out.write_text(page(compared, better(given.data), private, facts), encoding="utf-8")
    print(f"{compared['equal'].sum()} of {len(compared)} published values repeated; {given.out}")


if __name__ == "__main__":
    main()
