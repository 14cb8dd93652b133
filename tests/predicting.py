"""A released model with its calibration, for the tests of prediction: real files, random weights, invented patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tests.hospital import GENES, hospital, study

from wardround.client.answers import Answered, answers
from wardround.client.cohort import build_cohort
from wardround.client.modelbeside import open_model
from wardround.client.predicting import Predicted, predict_table
from wardround.client.tablestream import TablePart
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.firstmodel import like
from wardround.common.learning.released import ReleasedModel
from wardround.common.learning.uncertainty import Uncertainty
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.heldouttable import simulated_calibration

CALIBRATED = 800


def ordinary(n: int = 60, seed: int = 1) -> pd.DataFrame:
    """A table of `tests.hospital` whose patients are like the study's public reference."""
    frame = hospital(n, seed)
    return frame.assign(
        **{gene.name: [f"{float(cell) / 4:.4f}" for cell in frame[gene.name]] for gene in GENES}
    )


def released(
    folder: Path, protocol: StudyProtocol | None = None, *, seed: int = 3, size: float = 0.5
) -> ReleasedModel:
    """A model file in a folder."""
    chosen = protocol or study()
    path = FeaturePath.from_protocol(chosen, None)
    rng = np.random.default_rng(seed)
    parameters = {
        name: rng.normal(0, size, array.shape).astype(np.float32)
        for name, array in like(chosen, path.width).items()
    }
    model = ReleasedModel(protocol=chosen, parameters=parameters, path=path)
    model.save(folder / "model.safetensors")
    return model


def calibrated(folder: Path, protocol: StudyProtocol | None = None, **model: float) -> ReleasedModel:
    """The same with a calibration beside it, from patients that nobody else uses."""
    found = released(folder, protocol, **model)  # type: ignore[arg-type]
    rows = build_cohort(
        found.protocol, ordinary(CALIBRATED, seed=77), site="north", path=found.path, minimum=1
    ).rows
    made = simulated_calibration(found, [rows], np.random.default_rng(5))
    if made is not None:
        made.save(folder / "calibration.json")
    return found


def predicted(
    model: ReleasedModel, frame: pd.DataFrame, *, parts: int = 1, keep: int = 0, **columns: str
) -> Predicted:
    """What the model says of a table that is read in parts."""
    cuts = np.array_split(np.arange(len(frame)), parts)
    return predict_table(
        model,
        (TablePart(frame=frame.iloc[rows], first=int(rows[0]), done=1.0) for rows in cuts),
        name="patients.csv",
        keep=keep,
        columns=columns,
    )


def answered(folder: Path, frame: pd.DataFrame, *, coverage: float = 0.9) -> Answered:
    """The answers of the model in a folder."""
    opened = open_model(folder)
    sure = opened.calibration and Uncertainty(
        outcome=opened.model.protocol.outcome, calibration=opened.calibration, coverage=coverage
    )
    return answers(opened.model, predicted(opened.model, frame), sure or None)


def with_optional(*modalities: str) -> StudyProtocol:
    """The study with modalities that a patient may lack."""
    protocol = study()
    return replace(protocol, cohort=replace(protocol.cohort, optional_modalities=modalities))
