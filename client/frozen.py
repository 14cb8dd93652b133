"""The patients of an approved study, training and held out, frozen: what later rounds read instead of the table.

A person decided once, at approval, who takes part. From then on a table that grows or changes moves nobody, and a
round needs no parsing. The file is private, 0600, and never leaves the site.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardround.client.evaluation import Examiner
from wardround.client.trainer import CohortTrainer
from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import digest
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import like
from wardround.common.learning.parameters import Parameters
from wardround.common.study.outcomes import Targets
from wardround.common.study.protocol import StudyProtocol

FORMAT: Final = "wardround-cohort"
VERSION: Final = 1

_ANEW: Final = "approve the study again: its patients are then frozen anew"


def to_bytes(rows: PatientRows, codes: NDArray[np.int64] | None = None) -> bytes:
    """The rows as an uncompressed NumPy archive, with format and version; of held-out ones their groups too."""
    arrays: dict[str, NDArray[Any]] = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "inputs": rows.inputs,
        "patient": rows.patient,
        "value": rows.targets.value,
    }
    if rows.targets.event is not None:
        arrays["event"] = rows.targets.event
    if rows.weight is not None:
        arrays["weight"] = rows.weight
    if codes is not None:
        arrays["codes"] = codes
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the keyword allow_pickle for one of them
    return file.getvalue()


def from_bytes(data: bytes) -> PatientRows:
    """Read the rows of `to_bytes` back; nothing in it is ever executed.

    Raises:
        StorageError: Another kind of file, or a newer version.
    """
    return _rows(_arrays(data))


def held_out_from_bytes(data: bytes) -> tuple[PatientRows, NDArray[np.int64]]:
    """Read held-out rows and their groups back.

    Raises:
        StorageError: Another kind of file, a newer version, or patients without groups.
    """
    arrays = _arrays(data)
    if "codes" not in arrays:
        raise StorageError("expected held-out patients with their groups, found none", advice=_ANEW)
    return _rows(arrays), arrays["codes"]


def _arrays(data: bytes) -> Mapping[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        arrays = {}
    if str(arrays.get("format")) != FORMAT or int(arrays.get("version", 0)) != VERSION:
        raise StorageError(
            f"expected a {FORMAT} file of version {VERSION}, found something else",
            advice=_ANEW,
        )
    return arrays


def _rows(arrays: Mapping[str, NDArray[Any]]) -> PatientRows:
    targets = Targets(value=arrays["value"], event=arrays.get("event"))
    weight = arrays.get("weight")
    return PatientRows(inputs=arrays["inputs"], patient=arrays["patient"], targets=targets, weight=weight)


class FrozenTrainer:
    """A trainer over frozen patients, which are read at the first round that needs them.

    Args:
        protocol: The approved study.
        path: The file.
        sha256: Of its content, as approved.
        width: Inputs of the model; public.
        opened: What makes a trainer of the file's content.
    """

    def __init__(
        self,
        protocol: StudyProtocol,
        path: Path,
        *,
        sha256: str,
        width: int,
        opened: Callable[[bytes], CohortTrainer | Examiner],
    ) -> None:
        self._protocol = protocol
        self._path = path
        self._sha256 = sha256
        self._width = width
        self._open = opened
        self._trainer: CohortTrainer | Examiner | None = None

    def like(self) -> Parameters:
        """A model of the declared names and shapes; no patient is read for it."""
        return like(self._protocol, self._width)

    def train(self, base: Parameters, round_: int) -> Parameters:
        """As `CohortTrainer.train`."""
        return self._opened().train(base, round_)

    def share(self, base: Parameters, round_: int, *, sites: int) -> NDArray[np.uint32]:
        """As `CohortTrainer.share`."""
        return self._opened().share(base, round_, sites=sites)

    def _opened(self) -> CohortTrainer | Examiner:
        if self._trainer is None:
            self._trainer = self._open(self._read())
        return self._trainer

    def _read(self) -> bytes:
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise StorageError(f"could not read {self._path}: {error.strerror or error}") from error
        if digest(data) != self._sha256:
            raise TrustError(
                f"{self._path} does not hold the patients that were approved",
                advice="revoke the study and approve it again: its patients are then frozen anew",
            )
        return data


def frozen_trainer(
    protocol: StudyProtocol, path: Path, *, sha256: str, width: int, site: str
) -> FrozenTrainer:
    """The patients who train; see `FrozenTrainer`."""

    def opened(data: bytes) -> CohortTrainer:
        return CohortTrainer(protocol, from_bytes(data), site=site)

    return FrozenTrainer(protocol, path, sha256=sha256, width=width, opened=opened)


def frozen_examiner(protocol: StudyProtocol, path: Path, *, sha256: str, width: int) -> FrozenTrainer:
    """The patients who are held out and evaluate; see `FrozenTrainer`."""

    def opened(data: bytes) -> Examiner:
        return Examiner(protocol, *held_out_from_bytes(data))

    return FrozenTrainer(protocol, path, sha256=sha256, width=width, opened=opened)
