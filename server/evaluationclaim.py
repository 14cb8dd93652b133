"""What a study between hospitals says of its model: the released table, every measure of it, and what it cost whom.

    {"judgement": ..., "rows": [...], "bins": [...], "table": {"cells": [...], ...}, "delta": ...,
     "sites": [{"site": ..., ...}]}

Of a study that monitors a released model also `drift`: what changed since, and the table that it is compared with.

All of it follows from the protocol, the released model and the noised table, whose digest stands in the signed log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wardround.common.formats import or_null
from wardround.common.learning.calibrationfile import FILE as CALIBRATION
from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.drift import Drift, drift_of
from wardround.common.learning.evaluated import Evaluated
from wardround.common.learning.evaluating import evaluation_of
from wardround.common.learning.monitored import FOLDER
from wardround.common.learning.parameters import Parameters, parameters_digest
from wardround.common.learning.study import Study, quorum_of
from wardround.common.study.evaluation import table_shape
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster
from wardround.common.trust.studylog import LogEntry
from wardround.server import checkpoints
from wardround.server.coordinator import CHECKPOINT
from wardround.server.outcome import asked_in, epsilons, evaluates


def evaluation_claim(
    federation: Path, protocol: StudyProtocol, roster: Roster, log: Sequence[LogEntry]
) -> Mapping[str, Any] | None:
    """The claim of a study; None where it declares no evaluation, or has not come to it yet.

    Args:
        federation: The coordinator's folder of the study.
        protocol: The public terms.
        roster: The parties.
        log: The study log, verified.

    Raises:
        StorageError: The checkpoint is damaged.
    """
    found = checkpoints.read(federation / CHECKPOINT, protocol.digest)
    if protocol.evaluation is None or found is None or found.progress.evaluation is None:
        return None
    released = found.progress.evaluation
    model = Study(protocol, roster.site_names, found.progress).model
    evaluation = evaluation_of(protocol, model, released)
    drift = _drift(federation.parent, protocol, model, released)
    return {
        "judgement": asdict(evaluation.judgement),
        "rows": [_plain(asdict(row)) for row in evaluation.rows],
        "bins": [_plain(asdict(each)) for each in evaluation.bins],
        "table": {
            "shape": list(table_shape(protocol.evaluation, protocol.outcome)),
            "cells": released.table.tolist(),
            "deviation": evaluation.deviation,
            "hospitals": list(released.sites),
            "sha256": released.digest,
        },
        "model_digest": parameters_digest(model),
        "delta": protocol.evaluation.delta,
        "sites": [_share(protocol, site, log, len(roster.site_names)) for site in roster.site_names],
        **({"drift": drift} if drift else {}),
    }


def _drift(
    home: Path, protocol: StudyProtocol, model: Parameters, released: Evaluated
) -> Mapping[str, Any] | None:
    """What became of a model since it was released; None in a study that trains its own."""
    if protocol.monitoring is None:
        return None
    before = Calibration.load(home / FOLDER / CALIBRATION)
    return drift_claim(drift_of(protocol, model, before, calibration_of(protocol, model, released)), before)


def drift_claim(drift: Drift, before: Calibration) -> dict[str, Any]:
    """A comparison as JSON, with the earlier table: whoever has this claim can compute it again."""
    return {**drift_numbers(drift), "before": before.as_json()}


def drift_numbers(drift: Drift) -> dict[str, Any]:
    """The comparison alone."""
    return {
        "primary": _plain(asdict(drift.primary)),
        "calibration": drift.calibration,
        "changes": [_plain(asdict(change)) for change in drift.changes],
    }


def _share(protocol: StudyProtocol, site: str, log: Sequence[LogEntry], members: int) -> dict[str, Any]:
    """What the evaluation cost the held-out patients of a hospital, at most."""
    attempts = [entry for entry in log if entry.kind in ("evaluation", "void") and evaluates(protocol, entry)]
    asked, fewest = asked_in(attempts, site), quorum_of(protocol, members)
    found = epsilons(protocol, asked, fewest=fewest, round_=protocol.federation.rounds + 1)
    return {"site": site, "asked": asked, "epsilon": _plain(found)}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has neither NaN nor infinity: both are null."""
    return {name: or_null(value) for name, value in row.items()}
