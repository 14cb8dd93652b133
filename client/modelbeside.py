"""Opening a released model for use: is it whole, is it the one that was meant, and what lies beside it?

Everything is local. A model file cannot vouch for itself: whoever knows its digest from the study's log, a report or a
telephone says so, and otherwise the answer says that nothing was compared. What lies beside the model (calibration,
results, loadings) must agree with it, or nothing is predicted.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import digest
from wardround.common.learning.calibrationfile import FILE as CALIBRATION
from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.firstmodel import like
from wardround.common.learning.loadings import read_loadings
from wardround.common.learning.parameters import check_like, parameters_digest
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol

MODEL: Final = "model.safetensors"
_RESULTS: Final = "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedModel:
    """A model that may be used.

    Attributes:
        model: Itself, with its protocol and preprocessing.
        digest: Of its layers, as the study's log names it.
        calibration: What the study released about it; None if nothing lies beside it.
        compared: What it was compared with, in words; empty if with nothing.
    """

    model: ReleasedModel
    digest: str
    calibration: Calibration | None
    compared: tuple[str, ...]


def open_model(path: Path, *, expected: str = "", protocol: StudyProtocol | None = None) -> OpenedModel:
    """Open a model file, or the one in a run folder.

    Args:
        path: `model.safetensors`, or the folder that holds it.
        expected: SHA-256 of the file, or of the layers as the log names it; empty if not known.
        protocol: The study that the model must be of; None if any.

    Raises:
        StorageError: It is missing, damaged, or from a newer release.
        TrustError: It is another model or study than expected, or something beside it belongs to another one.
    """
    file = path / MODEL if path.is_dir() else path
    model = _load(file)
    own = parameters_digest(model.parameters)
    compared = []
    if expected:
        if expected.lower() not in (own, digest(file.read_bytes())):
            raise TrustError(
                f"{file} is not the model with digest {expected[:16]}: its layers have {own[:16]}",
                advice="it was changed or exchanged; get it again from the coordinator",
            )
        compared.append("the digest that was given")
    if protocol is not None:
        _same(
            protocol.digest, model.protocol.digest, f"{file} was trained under another protocol than --study"
        )
        compared.append("the study that was given")
    compared += _check_results(file, model, own)
    _check_loadings(file, model)
    calibration = _calibration(file, model, own)
    if calibration is not None:
        compared.append(CALIBRATION)
    return OpenedModel(model=model, digest=own, calibration=calibration, compared=tuple(compared))


def _load(file: Path) -> ReleasedModel:
    try:
        model = ReleasedModel.load(file)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StorageError(
            f"{file} is not a readable model", advice="give the model.safetensors of a run"
        ) from None
    shapes = like(model.protocol, model.path.width)
    return replace(model, parameters=check_like(model.parameters, shapes))


def _same(expected: str, found: str, message: str) -> None:
    if expected != found:
        raise TrustError(
            f"{message}: expected {expected[:16]}, found {found[:16]}",
            advice="take model and study from one run of one study",
        )


def _check_results(file: Path, model: ReleasedModel, own: str) -> list[str]:
    """Compare with the results beside it, which name the protocol, and after a real study the model."""
    found = _results(file.with_name(_RESULTS))
    if "protocol_digest" in found:
        message = f"{file} was trained under another protocol than {_RESULTS} says"
        _same(str(found["protocol_digest"]), model.protocol.digest, message)
    if not found.get("model_digest"):
        return []
    _same(str(found["model_digest"]), own, f"{file} is not the model of {_RESULTS}")
    return [_RESULTS]


def _results(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StorageError(f"{file} beside the model cannot be read", advice="get the whole run folder again")
    return found


def _check_loadings(file: Path, model: ReleasedModel) -> None:
    named = model.protocol.inputs.loadings
    if (model.path.loadings is None) != (not named):
        raise TrustError(f"{file} and its protocol disagree about loadings", advice="get it again")
    if not named or model.path.loadings is None or not (file.parent / named).exists():
        return
    published = read_loadings(model.protocol.inputs, file.parent)
    if published is None or not (
        published.features == model.path.loadings.features
        and np.array_equal(published.matrix, model.path.loadings.matrix)
    ):
        raise TrustError(
            f"the loadings in {file} are not those that the protocol names", advice="get it again"
        )


def _calibration(file: Path, model: ReleasedModel, own: str) -> Calibration | None:
    beside = file.with_name(CALIBRATION)
    if not beside.exists():
        return None
    found = Calibration.load(beside)
    found.check_belongs(model.protocol, own)
    return found
