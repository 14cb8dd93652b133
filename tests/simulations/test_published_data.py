"""The published splits: who is in them and how they are scaled."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wardround.common.errors import CohortError, UsageError
from wardround.common.study.outcomes import Targets
from wardround.simulations.published_data import (
    POOLED,
    Table,
    data_digests,
    heart_table,
    read_heart,
    read_published,
    read_tcga,
    tcga_table,
)


def small_table() -> Table:
    return Table(
        names=("x",),
        inputs=np.array([[1.0], [2.0], [3.0], [10.0]]),
        targets=Targets(value=np.array([0.0, 1.0, 0.0, 1.0])),
        site=np.array([0, 0, 1, 1]),
        train=np.array([True, False, True, False]),
    )


def test_a_split_keeps_the_order_of_the_file_and_mixes_nobody() -> None:
    table = small_table()
    split = table.split(("a", "b"), [table.inputs, table.inputs + 100], table.inputs + 1000)
    assert [part.inputs.ravel().tolist() for part in split.train] == [[1.0], [103.0]]
    assert {name: rows.inputs.ravel().tolist() for name, rows in split.test.items()} == {
        "client_test_0": [2.0],
        "client_test_1": [110.0],
        POOLED: [1002.0, 1010.0],
    }
    assert split.test[POOLED].targets.value.tolist() == [1.0, 1.0]


def test_without_censoring_everybody_had_the_event() -> None:
    assert small_table().events.tolist() == [True] * 4


def test_a_file_that_is_not_a_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "flamby_published_results.csv").write_text("")
    with pytest.raises(CohortError, match="expected a CSV table"):
        read_published(tmp_path, "folder")
    with pytest.raises(UsageError, match="no such file"):
        read_published(tmp_path, "elsewhere")


@pytest.mark.real_data
def test_the_heart_split_has_the_published_sizes(real_data: Path) -> None:
    split = read_heart(real_data)
    assert [part.n_patients for part in split.train] == [199, 172, 30, 85]
    assert [rows.n_patients for rows in split.test.values()] == [104, 89, 16, 45, 254]
    assert len(split.inputs) == 13


@pytest.mark.real_data
def test_each_heart_client_is_scaled_by_its_own_training_patients(real_data: Path) -> None:
    split, table = read_heart(real_data), heart_table(real_data)
    for part in split.train:
        assert part.inputs.mean(axis=0) == pytest.approx(0, abs=1e-6)
    # The Swiss hospital reports cholesterol 0 for everybody: a constant column becomes 0, not infinite.
    assert split.train[2].inputs.std(axis=0, ddof=1)[list(split.inputs).index("chol")] == 0
    pooled = table.inputs[table.train]
    expected = (table.inputs[~table.train] - pooled.mean(axis=0)) / pooled.std(axis=0, ddof=1)
    assert split.test[POOLED].inputs == pytest.approx(expected, abs=1e-5)


@pytest.mark.real_data
def test_heart_categories_leave_out_their_first_level(real_data: Path) -> None:
    table = heart_table(real_data)
    raw = pd.read_csv(real_data / "fed_heart_disease" / "patients.csv").query(
        "flamby_fold in ('train', 'test')"
    )
    names = list(table.names)
    for column, first in (("cp", 1), ("restecg", 0)):
        chosen = [place for place, name in enumerate(names) if name.startswith(f"{column}=")]
        assert np.array_equal(table.inputs[:, chosen].sum(axis=1) == 0, (raw[column] == first).to_numpy())


@pytest.mark.real_data
def test_the_tcga_split_has_the_published_sizes_and_deaths(real_data: Path) -> None:
    split, table = read_tcga(real_data), tcga_table(real_data)
    assert [part.n_patients for part in split.train] == [248, 156, 164, 129, 129, 40]
    deaths = [int(rows.targets.event.sum()) for rows in split.test.values() if rows.targets.event is not None]
    assert deaths == [14, 4, 8, 3, 2, 1, 32]
    assert (len(table.targets), int(table.events.sum())) == (1088, 151)
    assert split.inputs[0] == "age_at_index"
    assert not {"E", "T"} & set(split.inputs)
    assert split.test[POOLED].inputs[:, 0].max() == 90  # years, unscaled as published


@pytest.mark.real_data
def test_every_file_that_is_read_has_a_digest(real_data: Path) -> None:
    found = data_digests(real_data)
    assert len(found) == 4
    assert len(set(found.values())) == 4
