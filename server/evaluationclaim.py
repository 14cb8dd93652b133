"""What a study between hospitals says of its model: the released table, every measure of it, and what it cost whom.

    {"judgement": ..., "rows": [...], "bins": [...], "table": {"cells": [...], ...}, "delta": ...,
     "sites": [{"site": ..., ...}]}

All of it follows from the protocol, the released model and the noised table, whose digest stands in the signed log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wardround.common.formats import or_null
from wardround.common.learning.evaluating import evaluation_of
from wardround.common.learning.parameters import parameters_digest
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
