"""The file of a released model, read without what predicting with it needs: an auditor has neither pandas nor torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from wardround.common.errors import StorageError
from wardround.common.formats import check_header

FORMAT: Final = "wardround-model"
VERSION: Final = 1

_UNREADABLE: Final = (RecursionError, TypeError, AttributeError, KeyError)  # deep facts, or types NumPy lacks


def read_model_file(file: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Facts and arrays of a model's file; the layers are those arrays whose names begin with `model.`.

    Raises:
        StorageError: It is missing, damaged, not ours, or from a newer release.
    """
    try:
        with safe_open(str(file), framework="numpy") as found:
            facts = json.loads((found.metadata() or {}).get("wardround", "{}"))
            arrays = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, *_UNREADABLE):
        facts = None
    if not isinstance(facts, dict):
        raise StorageError(f"{file} is not a readable model", advice="give the model.safetensors of a run")
    check_header(facts, name=FORMAT, version=VERSION, where=str(file))
    return facts, arrays
