"""The published values themselves; without the data, one federated round by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import Generator

from wardround.client.training import LocalTrainer
from wardround.common.errors import UsageError
from wardround.common.learning.data import PatientRows
from wardround.common.study.outcomes import Targets
from wardround.simulations.published import compare, federate, main
from wardround.simulations.published_data import PublishedSplit, read_published
from wardround.simulations.published_order import LoaderBatches
from wardround.simulations.published_settings import (
    BENCHMARKS,
    HEART,
    STEPS,
    TCGA,
    Benchmark,
    Method,
    protocol_of,
)


def site(*patients: tuple[float, float]) -> PatientRows:
    """Patients of one input each: (input, outcome)."""
    inputs, value = zip(*patients, strict=True)
    return PatientRows(
        inputs=np.array(inputs, np.float32)[:, None],
        patient=np.arange(len(patients)),
        targets=Targets(value=np.array(value)),
    )


def equal_by_method(compared: pd.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    groups = compared.groupby(["data set", "method"])["equal"]
    return {(str(name), str(method)): (int(part.sum()), len(part)) for (name, method), part in groups}


def test_two_sites_average_their_steps_by_published_weights() -> None:
    # All patients of a site are alike, so all 100 batches pull the same way and every order gives the same model.
    parts = (site((1.0, 1.0)), site((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)))
    split = PublishedSplit(sites=("a", "b"), inputs=("x",), train=parts, test={})
    protocol = protocol_of(HEART, Method(name="FedAvg", strategy="fedavg", learning_rate=0.001), split)
    trainers = [LocalTrainer(protocol, part, site=name) for name, part in zip("ab", parts, strict=True)]
    generator = Generator().manual_seed(0)
    batches = [LoaderBatches(part.n_patients, 4, generator) for part in parts]
    start = {"output.weight": np.zeros((1, 1), np.float32), "output.bias": np.zeros(1, np.float32)}
    found = federate(protocol, trainers, batches, start)
    weight, bias = 0.0, 0.0
    for _ in range(15):
        own, shared, other = weight, bias, bias
        for _ in range(STEPS):
            pull = 1 - 1 / (1 + np.exp(-(own + shared)))
            own, shared = own + 0.001 * pull, shared + 0.001 * pull
            other -= 0.001 / (1 + np.exp(-other))
        weight, bias = 0.25 * own + 0.75 * weight, 0.25 * shared + 0.75 * other
    assert found["output.weight"].item() == pytest.approx(weight, rel=1e-4)
    assert found["output.bias"].item() == pytest.approx(bias, rel=1e-4)


def test_a_folder_without_the_data_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere.fed_heart_disease.patients\.csv"):
        compare(Path("nowhere"))


@pytest.mark.real_data
@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_the_settings_are_those_of_the_published_files(real_data: Path, benchmark: Benchmark) -> None:
    known = read_published(real_data, benchmark.folder).drop_duplicates("Method").set_index("Method")
    for method in benchmark.methods:
        row = known.loc[f"{method.name}{STEPS}"]
        assert method.learning_rate == row["learning_rate"]
        if method.strategy in ("fedadam", "fedyogi", "fedadagrad"):
            assert method.server_learning_rate == row["server_learning_rate"]
        if method.strategy == "fedprox":
            assert method.mu == row["mu"]


@pytest.mark.real_data
def test_every_published_value_of_seed_42_is_repeated(real_data: Path) -> None:
    found = equal_by_method(compare(real_data, seeds=[42]))
    expected = {(HEART.name, method.name): (5, 5) for method in HEART.methods}
    expected |= {(TCGA.name, method.name): (7, 7) for method in TCGA.methods}
    assert found == expected


@pytest.mark.real_data
@pytest.mark.slow
def test_every_published_value_of_every_seed_is_repeated(real_data: Path, tmp_path: Path) -> None:
    main([str(real_data), "--out", str(tmp_path / "published.md")])
    found = equal_by_method(pd.read_csv(tmp_path / "published.csv"))
    expected = {(HEART.name, method.name): (25, 25) for method in HEART.methods}
    expected |= {(TCGA.name, method.name): (35, 35) for method in TCGA.methods}
    assert found == expected
    assert (tmp_path / "published.md").read_text().count("35 of 35") == 5
