"""The two FLamby data sets as their publication prepared them: same patients, same split, same inputs, same order.

This is the publication's preprocessing, not Wardround's feature path: heart disease is standardised per client with
the client's own training mean and sd, which is computed from patients and would be a release under a privacy
mechanism. It serves to compare with published numbers, without privacy, on public data.

Source: Ogier du Terrail et al. (2022), "FLamby", NeurIPS datasets and benchmarks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.common.errors import CohortError, UsageError
from wardround.common.formats import digest
from wardround.common.learning.data import PatientRows
from wardround.common.study.outcomes import Targets

POOLED: Final = "Pooled Test"
HEART_FOLDER: Final = "fed_heart_disease"
HEART_SITES: Final = ("cleveland", "hungarian", "switzerland", "va")
HEART_INPUTS: Final = (
    *("age", "sex", "trestbps", "chol", "fbs", "thalach", "exang", "oldpeak"),
    *("cp=2", "cp=3", "cp=4", "restecg=1", "restecg=2"),
)
"""Categories follow the numbers, each without its first level."""

TCGA_FOLDER: Final = "fed_tcga_brca"
TCGA_SITES: Final = tuple(f"region-{number}" for number in range(6))
TCGA_WIDTH: Final = 39

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSplit:
    """One data set, split as published.

    Attributes:
        sites: Names in the order of the published clients.
        inputs: Names of the model's inputs.
        train: Training patients per site.
        test: Test patients by the publication's name of the test: `client_test_0`, ..., `Pooled Test`. The pooled
            test of heart disease is scaled by the pooled training patients, not per client.
    """

    sites: tuple[str, ...]
    inputs: tuple[str, ...]
    train: tuple[PatientRows, ...]
    test: dict[str, PatientRows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A data set before scaling.

    Attributes:
        inputs: (n, d) float64, in the units of the file; categories as 0 and 1.
        targets: Of the n patients.
        site: (n,) index into the sites.
        train: (n,) True in the training fold.
    """

    names: tuple[str, ...]
    inputs: Floats
    targets: Targets
    site: NDArray[np.int64]
    train: NDArray[np.bool_]

    @property
    def events(self) -> NDArray[np.bool_]:
        """(n,) True where the event was observed; all True for an outcome without censoring."""
        event = self.targets.event
        return np.ones(len(self.targets), np.bool_) if event is None else event

    def rows(self, inputs: Floats, chosen: NDArray[np.bool_]) -> PatientRows:
        """Some patients, one row each, in the order of the file, with inputs (n, d) scaled by the caller."""
        where = np.flatnonzero(chosen)
        return PatientRows(
            inputs=inputs[where].astype(np.float32),
            patient=np.arange(len(where), dtype=np.int64),
            targets=self.targets.take(where),
        )

    def split(self, sites: tuple[str, ...], per_site: list[Floats], pooled: Floats) -> PublishedSplit:
        """Cut into the published parts; `per_site[k]` and `pooled` are (n, d), scaled for site k and for all."""
        parts = list(enumerate(per_site))
        tests = {f"client_test_{k}": self.rows(z, ~self.train & (self.site == k)) for k, z in parts}
        return PublishedSplit(
            sites=sites,
            inputs=self.names,
            train=tuple(self.rows(z, self.train & (self.site == k)) for k, z in parts),
            test={**tests, POOLED: self.rows(pooled, ~self.train)},
        )


def heart_table(data: Path) -> Table:
    """Fed-Heart-Disease: 740 patients with all ten features, four hospitals, any heart disease or none."""
    frame = _read(data / HEART_FOLDER / "patients.csv")
    frame = frame[frame["flamby_fold"].isin(["train", "test"])]
    for column, levels in {"cp": (2, 3, 4), "restecg": (1, 2)}.items():
        for level in levels:
            frame = frame.assign(**{f"{column}={level}": (frame[column] == level).astype(np.float64)})
    return Table(
        names=HEART_INPUTS,
        inputs=frame[list(HEART_INPUTS)].to_numpy(np.float64),
        targets=Targets(value=frame["target"].to_numpy(np.float64)),
        site=frame["center"].to_numpy(np.int64),
        train=(frame["flamby_fold"] == "train").to_numpy(np.bool_),
    )


def tcga_table(data: Path) -> Table:
    """Fed-TCGA-BRCA: 1,088 patients, six regions, days to death; region -1 was dropped by the publication."""
    frame = _read(data / TCGA_FOLDER / "patients.csv")
    frame = frame[frame["center"] >= 0]
    columns = [str(name) for name in frame.columns]
    first = columns.index("age_at_index")
    names = tuple(columns[first : first + TCGA_WIDTH])
    return Table(
        names=names,
        inputs=frame[list(names)].to_numpy(np.float64),
        targets=Targets(value=frame["T"].to_numpy(np.float64), event=(frame["E"] == 1).to_numpy(np.bool_)),
        site=frame["center"].to_numpy(np.int64),
        train=(frame["fold"] == "train").to_numpy(np.bool_),
    )


def read_heart(data: Path) -> PublishedSplit:
    """Heart disease, standardised per client as published."""
    table = heart_table(data)
    own = [_standardised(table.inputs, table.train & (table.site == k)) for k in range(len(HEART_SITES))]
    return table.split(HEART_SITES, own, _standardised(table.inputs, table.train))


def read_tcga(data: Path) -> PublishedSplit:
    """TCGA-BRCA, unscaled as published."""
    table = tcga_table(data)
    return table.split(TCGA_SITES, [table.inputs] * len(TCGA_SITES), table.inputs)


def read_published(data: Path, folder: str) -> pd.DataFrame:
    """The published results: columns Method, Test, seed, Metric and the settings."""
    return _read(data / folder / "flamby_published_results.csv")


def data_digests(data: Path) -> dict[str, str]:
    """SHA-256 of every file that a comparison reads, by its path inside the data folder."""
    names = [
        f"{f}/{n}"
        for f in (HEART_FOLDER, TCGA_FOLDER)
        for n in ("patients.csv", "flamby_published_results.csv")
    ]
    return {name: digest((data / name).read_bytes()) for name in names}


def _standardised(inputs: Floats, reference: NDArray[np.bool_]) -> Floats:
    """Minus the mean, over the sd (divisor n - 1), of the reference rows."""
    known = inputs[reference]
    scaled: Floats = (inputs - known.mean(axis=0)) / (known.std(axis=0, ddof=1) + 1e-9)
    return scaled


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise UsageError(
            f"expected the data set at {path}, found no such file",
            advice="name the folder of the real cohorts",
        ) from None
    except ValueError:
        raise CohortError(f"expected a CSV table in {path}") from None
