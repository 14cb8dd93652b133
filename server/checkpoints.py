"""The coordinator's checkpoint: one file, replaced atomically after every attempt.

Safetensors with our format header in its metadata. A coordinator that dies resumes at the attempt it was in; sites
that had answered send the identical bytes again, so no privacy is spent twice. A checksum notices a disk that lost
bits; it is no defence against a person, who could as well change the coordinator's key beside it.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError
from wardround.common.formats import check_header, header
from wardround.common.learning.evaluated import Evaluated
from wardround.common.learning.optimisers import ServerState
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.study import Progress
from wardround.common.trust.signed import is_run

FORMAT = "wardround-checkpoint"
VERSION = 1

_TABLE = "evaluation.table"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a study stands.

    Attributes:
        run: Identifier of the run, in every message of it.
        progress: Rounds, attempts, model and optimiser.
        kind: Kind of the log line that belongs to this step; empty at the start.
        record: That line's data. It is written to the log after the checkpoint, and again after a crash between.
    """

    run: str
    progress: Progress
    kind: str = ""
    record: Mapping[str, object] = field(default_factory=dict)


def write(path: Path, checkpoint: Checkpoint, protocol_digest: str) -> None:
    """Replace the checkpoint.

    Raises:
        StorageError: The disk is full; the previous checkpoint is untouched.
    """
    progress = checkpoint.progress
    arrays: dict[str, NDArray[np.generic]] = {
        f"model.{name}": np.ascontiguousarray(array) for name, array in progress.parameters.items()
    }
    arrays |= {f"state.{name}": array for name, array in progress.state.to_arrays().items()}
    if progress.evaluation is not None:
        arrays[_TABLE] = np.ascontiguousarray(progress.evaluation.table)
    facts = {
        **header(FORMAT, VERSION),
        "protocol": protocol_digest,
        "run": checkpoint.run,
        "rounds": progress.rounds,
        "attempts": progress.attempts,
        "layers": list(progress.parameters),
        "kind": checkpoint.kind,
        "record": dict(checkpoint.record),
        "evaluated": list(progress.evaluation.sites) if progress.evaluation else [],
        "crc32": _checksum(arrays),
    }
    write_atomic(path, save(arrays, metadata={"wardround": json.dumps(facts)}))


def read(path: Path, protocol_digest: str) -> Checkpoint | None:
    """The last checkpoint, or None where there is none yet.

    Raises:
        StorageError: The file is damaged, from a newer release, or belongs to another protocol.
    """
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="numpy") as found:
            facts = json.loads((found.metadata() or {}).get("wardround", "{}"))
            arrays = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
        check_header(facts, name=FORMAT, version=VERSION, where=str(path))
        if facts["protocol"] == protocol_digest and facts["crc32"] == _checksum(arrays):
            return _checkpoint(facts, arrays)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path) from None
    if facts["protocol"] == protocol_digest:
        raise _damaged(path)
    raise StorageError(
        f"{path} belongs to another protocol ({facts['protocol']:.12}, not {protocol_digest:.12})",
        advice="use another run folder for a changed study",
    )


def _checkpoint(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Checkpoint:
    if not is_run(facts["run"]):
        raise ValueError
    model: Parameters = {name: arrays[f"model.{name}"].astype(np.float32) for name in facts["layers"]}
    state = {
        name.removeprefix("state."): array for name, array in arrays.items() if name.startswith("state.")
    }
    progress = Progress(
        rounds=facts["rounds"],
        attempts=facts["attempts"],
        parameters=model,
        state=ServerState.from_arrays(state),
        evaluation=_evaluated(facts, arrays),
    )
    return Checkpoint(run=facts["run"], progress=progress, kind=facts["kind"], record=facts["record"])


def _evaluated(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[np.generic]]) -> Evaluated | None:
    if _TABLE not in arrays:
        return None
    return Evaluated(table=arrays[_TABLE].astype(np.float64), sites=tuple(map(str, facts["evaluated"])))


def _checksum(arrays: Mapping[str, NDArray[np.generic]]) -> int:
    """CRC-32 over all arrays in the order of their names."""
    sum_ = 0
    for name in sorted(arrays):
        sum_ = zlib.crc32(np.ascontiguousarray(arrays[name]).data, zlib.crc32(name.encode(), sum_))
    return sum_


def _damaged(path: Path) -> StorageError:
    return StorageError(
        f"{path} is damaged",
        advice="it is replaced atomically, so the disk or a person changed it; start anew in another run folder",
    )
