"""A released model: parameters together with the public preprocessing, in one file.

`model.safetensors` holds the layers, the loadings and, in its metadata, the whole protocol. Whoever has the file and
a raw table can predict; nothing else is needed, and nothing in it was computed from a single patient alone.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save

from wardround.common.durable import write_atomic
from wardround.common.errors import UsageError
from wardround.common.formats import header
from wardround.common.learning.data import PatientRows
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.loadings import Loadings
from wardround.common.learning.modelfile import FORMAT, VERSION, read_model_file
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import predict
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    SurvivalOutcome,
    Targets,
)
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps, loads

_LOADINGS = "inputs.loadings"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedModel:
    """A model that can be applied to a raw table.

    Attributes:
        protocol: The study it was trained under.
        parameters: Its layers.
        path: The public feature path.
    """

    protocol: StudyProtocol
    parameters: Parameters
    path: FeaturePath

    def save(self, file: Path) -> None:
        """Write the model, replacing an older one atomically."""
        arrays: dict[str, NDArray[np.generic]] = {
            f"model.{name}": value for name, value in self.parameters.items()
        }
        facts = {**header(FORMAT, VERSION), "layers": list(self.parameters), "protocol": dumps(self.protocol)}
        if self.path.loadings is not None:
            arrays[_LOADINGS] = self.path.loadings.matrix
            facts["loadings"] = [self.path.loadings.features, self.path.loadings.components]
        write_atomic(file, save(arrays, metadata={"wardround": json.dumps(facts)}))

    @classmethod
    def load(cls, file: Path) -> "ReleasedModel":
        """Read a model.

        Raises:
            StorageError: It is missing, damaged, not ours, or from a newer release.
        """
        facts, arrays = read_model_file(file)
        protocol = loads(facts["protocol"], where=str(file))
        path = FeaturePath(
            features=protocol.features,
            optional_modalities=protocol.cohort.optional_modalities,
            inputs=protocol.inputs,
            loadings=_loadings(facts, arrays),
        )
        return cls(
            protocol=protocol,
            parameters={name: arrays[f"model.{name}"] for name in facts["layers"]},
            path=path,
        )

    def predict_proba(self, table: pd.DataFrame) -> pd.DataFrame:
        """Class probabilities of each patient of a raw table, one column per class, indexed by patient.

        Raises:
            UsageError: The outcome is not a class.
        """
        match self.protocol.outcome:
            case BinaryOutcome(positive=positive, negative=negative):
                positives = self._predict(table)
                columns = {negative[0]: 1 - positives, positive[0]: positives}
            case ClassOutcome(classes=classes):
                columns = dict(zip(classes, self._predict(table).T, strict=True))
            case _:
                raise UsageError("predict_proba needs a class outcome", advice="use predict_risk or predict")
        return pd.DataFrame(columns, index=self._patients(table))

    def predict_risk(self, table: pd.DataFrame) -> "pd.Series[float]":
        """Risk score of each patient of a raw table, higher = worse prognosis, indexed by patient.

        Raises:
            UsageError: The outcome is not survival.
        """
        if not isinstance(self.protocol.outcome, SurvivalOutcome):
            raise UsageError("predict_risk needs a survival outcome", advice="use predict_proba or predict")
        return pd.Series(self._predict(table), index=self._patients(table), name="risk")

    def predict(self, table: pd.DataFrame) -> "pd.Series[float]":
        """The expected value of a continuous outcome, in its unit, indexed by patient.

        Raises:
            UsageError: The outcome is not continuous.
        """
        if not isinstance(self.protocol.outcome, ContinuousOutcome):
            raise UsageError("predict needs a continuous outcome", advice="use predict_proba or predict_risk")
        return pd.Series(self._predict(table), index=self._patients(table), name=self.protocol.outcome.column)

    def _patients(self, table: pd.DataFrame) -> "pd.Index[str]":
        """Patients in order of first appearance; without the identifier column every row is a patient."""
        column = self.protocol.cohort.patient_column
        if column not in table:
            return pd.Index([str(row) for row in range(len(table))], name=column)
        found: pd.Index[str] = pd.Index(table[column].astype(str).unique(), name=column)
        return found

    def _predict(self, table: pd.DataFrame) -> NDArray[np.float64]:
        column = self.protocol.cohort.patient_column
        keys = table[column].astype(str) if column in table else pd.Series(range(len(table)))
        codes = pd.factorize(keys)[0].astype(np.int64)
        order = np.argsort(codes, kind="stable")
        rows = PatientRows(
            inputs=self.path.transform(table.iloc[order]),
            patient=codes[order],
            targets=Targets(value=np.zeros(int(codes.max(initial=-1)) + 1)),
        )
        return predict(self.protocol, self.parameters, rows)


def _loadings(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> Loadings | None:
    if "loadings" not in facts:
        return None
    features, components = facts["loadings"]
    return Loadings(features=tuple(features), components=tuple(components), matrix=arrays[_LOADINGS])
