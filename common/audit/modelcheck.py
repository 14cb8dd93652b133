"""The released model's file: is all of it what the study and the protocol determine?

The digest that the log gives a model covers its layers. Whoever predicts with the file also uses the protocol and the
loadings inside it, so these are compared too.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from wardround.common.audit.case import Case
from wardround.common.audit.evidence import MODEL
from wardround.common.errors import TrustError
from wardround.common.formats import digest
from wardround.common.learning.firstmodel import like
from wardround.common.learning.loadings import parse_loadings
from wardround.common.learning.modelfile import read_model_file
from wardround.common.learning.parameters import Parameters
from wardround.common.study.reader import loads

_LAYER: Final = "model."
_LOADINGS: Final = "inputs.loadings"


def released_parameters(case: Case) -> Parameters:
    """The layers of the released model, in the model's order.

    Raises:
        StorageError: The file cannot be read.
        TrustError: It is of another study, or its layers or loadings are not those of the study.
        ProtocolError: The protocol or the loadings in it cannot be read.
    """
    facts, arrays = read_model_file(case.evidence.files[MODEL])
    text = facts.get("protocol")
    if not isinstance(text, str) or loads(text, MODEL).digest != case.protocol.digest:
        raise TrustError(f"{MODEL} was trained under another protocol")
    _check_loadings(case, facts, arrays)
    found = {name.removeprefix(_LAYER): array for name, array in arrays.items() if name.startswith(_LAYER)}
    named = facts.get("layers")
    if len(found) != len(arrays.keys() - {_LOADINGS}) or not isinstance(named, list):
        raise TrustError(f"{MODEL} holds more than layers and loadings")
    for width in sorted({array.shape[-1] for array in found.values() if array.ndim == 2}):
        shapes = {name: array.shape for name, array in like(case.protocol, width).items()}
        if shapes == {name: array.shape for name, array in found.items()} and list(shapes) == named:
            return {name: found[name].astype(np.float32) for name in shapes}
    raise TrustError(f"the layers of {MODEL} are not those of the study's model")


def _check_loadings(case: Case, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    inputs = case.protocol.inputs
    if not inputs.loadings:
        if _LOADINGS in arrays or "loadings" in facts:
            raise TrustError(f"{MODEL} holds loadings, the protocol names none")
        return
    data = case.evidence.read(inputs.loadings)
    if data is None or digest(data) != inputs.loadings_sha256:
        raise TrustError(f"expected the loadings {inputs.loadings} that the protocol names by SHA-256")
    expected = parse_loadings(data)
    same = facts.get("loadings") == [list(expected.features), list(expected.components)]
    if not (same and _LOADINGS in arrays and np.array_equal(arrays[_LOADINGS], expected.matrix)):
        raise TrustError(f"the loadings in {MODEL} are not those that the protocol names")
