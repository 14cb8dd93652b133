"""The run folder of a study between real hospitals: what anybody of the consortium may keep.

study.toml (and loadings)   the protocol as it was published
model.safetensors           the model with its public preprocessing
calibration.json            the evaluation's table, for `wardround predict`; only of a study with one
study-log.jsonl             who answered what, signed line by line
report.md                   the same as results.json, to be read
model-card.json, .html      the model card, from all of the above; not where a released model is monitored
results.json                written last: its presence means that the study is complete

Nothing here was computed on a patient, other than the model, and the table of an evaluation, through the protocol's
mechanism.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from wardround.common.durable import write_atomic
from wardround.common.errors import StudyError
from wardround.common.learning.calibrationfile import FILE as CALIBRATION
from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.evaluated import Evaluated
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.bundle import STUDY, Bundle
from wardround.common.trust.studylog import read_own_log
from wardround.server.cardfacts import MODEL, RESULTS, write_model_card
from wardround.server.coordinator import LOG
from wardround.server.evaluationclaim import evaluation_claim
from wardround.server.outcome import outcome_of
from wardround.server.studyreport import page

FEDERATION: Final = "federation"
RUN: Final = "run"
REPORT: Final = "report.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRun:
    """Where a study's results stand.

    Attributes:
        path: The run folder.
        log: The coordinator's study log.
    """

    path: Path
    log: Path

    @property
    def results(self) -> Path:
        """Written last."""
        return self.path / RESULTS

    def check_unfinished(self) -> None:
        """Refuse to run a finished study once more.

        Raises:
            StudyError: It is finished.
        """
        if self.results.exists():
            raise StudyError(
                f"study {self.path.parent.name} is finished: {self.path / REPORT}",
                advice="to run it again, publish it under another name; every hospital then approves it anew",
            )


def keep(run: StudyRun, bundle: Bundle, model: ReleasedModel) -> None:
    """Write the run folder of a finished study. Repeated after a crash it writes the same.

    Raises:
        TrustError: The study log was changed.
        StorageError: Something could not be written.
    """
    roster = bundle.roster.roster
    entries = read_own_log(run.log, roster.coordinator_key)
    evaluation = evaluation_claim(run.log.parent, bundle.protocol, roster, entries)
    outcome = outcome_of(bundle.protocol, roster, entries, evaluation=evaluation)
    run.path.mkdir(parents=True, exist_ok=True)
    write_atomic(run.path / STUDY, bundle.study.encode())
    if bundle.loadings is not None:
        place = run.path / bundle.protocol.inputs.loadings
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, bundle.loadings)
    model.save(run.path / MODEL)
    _calibrate(run.path, model, evaluation)
    write_atomic(run.path / LOG, run.log.read_bytes())
    write_atomic(run.path / REPORT, page(outcome).encode())
    results = (json.dumps(outcome.as_json(), indent=1, ensure_ascii=False) + "\n").encode()
    if bundle.protocol.monitoring is None:  # else its card is that of the study that trained it
        write_model_card(results, model, run.path)
    write_atomic(run.results, results)


def _calibrate(folder: Path, model: ReleasedModel, evaluation: Mapping[str, Any] | None) -> None:
    """Leave the evaluation's table beside the model, as a hospital that predicts reads it."""
    if evaluation is not None:
        table = evaluation["table"]
        released = Evaluated(table=np.array(table["cells"]), sites=tuple(table["hospitals"]))
        calibration_of(model.protocol, model.parameters, released).save(folder / CALIBRATION)
