"""The settings of FLamby's published federated runs: data sets, methods, tuned rates, and each as a study protocol.

Source: Ogier du Terrail et al. (2022), "FLamby", and the settings columns of its results files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
from wardround.simulations.published_data import (
    HEART_FOLDER,
    TCGA_FOLDER,
    PublishedSplit,
    read_heart,
    read_tcga,
)
from wardround.simulations.published_order import LoaderBatches, PrefetchedBatches

STEPS: Final = 100
"""Local steps per round; the suffix of every method's published name."""

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
