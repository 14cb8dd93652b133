"""FLamby's published federated results, repeated with Wardround's own parts and compared value by value.

The local steps are `client.training`, the server's are `server.aggregation` and `server.optimisers`, the model and
the losses are those of every study; only the data preparation and the order of random draws follow the publication
(`published_data`, `published_order`). Without privacy, on public data.

    python -m wardround.simulations.published DATA --out docs/results/published.md

Source: Ogier du Terrail et al. (2022), "FLamby: Datasets and Benchmarks for Cross-Silo Federated Learning in
Realistic Healthcare Settings"; results files of the benchmark, seeds 42 to 46.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from torch import Generator

from wardround.client.training import LocalTrainer
from wardround.common.learning.metrics import evaluate
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, from_vector, to_vector
from wardround.common.learning.predictions import predict
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import (
    CohortTerms,
    FederationTerms,
    ModelTerms,
    SiteTerms,
    Strategy,
    StudyTerms,
)
from wardround.server.aggregation import combine
from wardround.server.optimisers import ServerState, server_step
from wardround.simulations.published_data import (
    HEART_FOLDER,
    TCGA_FOLDER,
    PublishedSplit,
    read_heart,
    read_published,
    read_tcga,
)
from wardround.simulations.published_order import (
    LoaderBatches,
    PrefetchedBatches,
    evaluation_draws,
    linear_start,
    replay_cyclic,
)

SEEDS: Final = (42, 43, 44, 45, 46)
STEPS: Final = 100
"""Local steps per round; the suffix of every method's published name."""

TOLERANCE: Final = 1e-6
SOURCE: Final = "FLamby benchmark (Ogier du Terrail et al. 2022)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One published federated method with its tuned settings."""

    name: str
    strategy: Strategy
    learning_rate: float
    server_learning_rate: float = 1.0
    mu: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One data set of the publication and how its runs were made.

    Attributes:
        name: As the publication writes it.
        folder: Of the data set, inside the data folder.
        metric: Of `common.learning.metrics`; the published number.
        outcome, model: As in a study protocol.
        loader: How the training loaders drew their permutations.
        methods: In the order in which they ran.
    """

    name: str
    folder: str
    read: Callable[[Path], PublishedSplit]
    metric: str
    outcome: Outcome
    model: ModelTerms
    batch_size: int
    rounds: int
    loader: type[LoaderBatches]
    methods: tuple[Method, ...]


HEART: Final = Benchmark(
    name="Fed-Heart-Disease",
    folder=HEART_FOLDER,
    read=read_heart,
    metric="accuracy",
    outcome=BinaryOutcome(column="target", positive=("1",), negative=("0",), source=SOURCE),
    model=ModelTerms(),
    batch_size=4,
    rounds=15,
    loader=LoaderBatches,
    methods=(
        Method(
            name="FedAdagrad", strategy="fedadagrad", learning_rate=0.003162, server_learning_rate=0.316228
        ),
        Method(name="FedAdam", strategy="fedadam", learning_rate=0.01, server_learning_rate=0.01),
        Method(name="FedAvg", strategy="fedavg", learning_rate=0.001),
        Method(name="FedProx", strategy="fedprox", learning_rate=0.001, mu=0.01),
        Method(name="FedYogi", strategy="fedyogi", learning_rate=0.003162, server_learning_rate=0.01),
    ),
)

TCGA: Final = Benchmark(
    name="Fed-TCGA-BRCA",
    folder=TCGA_FOLDER,
    read=read_tcga,
    metric="c_index",
    outcome=SurvivalOutcome(
        time_column="T",
        event_column="E",
        event_values=("1",),
        censored_values=("0",),
        unit="days",
        high=10_000.0,
        cut_points=(3650.0,),  # read by the hazard loss only; here the loss is `cox`
        source=SOURCE,
    ),
    model=ModelTerms(loss="cox"),
    batch_size=8,
    rounds=5,
    loader=PrefetchedBatches,
    methods=(
        Method(name="FedAdagrad", strategy="fedadagrad", learning_rate=0.01, server_learning_rate=1.0),
        Method(name="FedAdam", strategy="fedadam", learning_rate=0.01, server_learning_rate=0.1),
        Method(name="FedAvg", strategy="fedavg", learning_rate=0.1),
        Method(name="FedProx", strategy="fedprox", learning_rate=0.1, mu=0.1),
        Method(name="FedYogi", strategy="fedyogi", learning_rate=0.01, server_learning_rate=0.1),
    ),
)

BENCHMARKS: Final = (HEART, TCGA)


def protocol_of(benchmark: Benchmark, method: Method, split: PublishedSplit) -> StudyProtocol:
    """The published setting as a study protocol, with the published weights: training patients per client."""
    weights = [SiteTerms(name=n, weight=p.n_patients) for n, p in zip(split.sites, split.train, strict=True)]
    return StudyProtocol(
        study=StudyTerms(name=benchmark.name, question="published benchmark", purpose="methods research"),
        outcome=benchmark.outcome,
        features=tuple(_feature(name) for name in split.inputs),
        cohort=CohortTerms(patient_column="patient"),
        privacy=PrivacyTerms(mechanism="none"),
        model=benchmark.model,
        federation=FederationTerms(
            strategy=method.strategy,
            rounds=benchmark.rounds,
            local_steps=STEPS,
            batch_size=benchmark.batch_size,
            learning_rate=method.learning_rate,
            proximal_mu=method.mu,
            server_learning_rate=method.server_learning_rate,
            sites=tuple(weights),
        ),
    )


def _feature(name: str) -> Feature:
    return Feature(name=name, kind="continuous", low=-1e6, high=1e6, source=SOURCE)


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
