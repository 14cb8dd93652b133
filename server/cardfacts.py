"""The model card of a study between real hospitals: its facts from `results.json`, the protocol and the released model.

Nothing here was computed on a patient. An evaluation stands on the card only if `results.json` has one, which is then
one that was released with noise and charged.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wardround.common.card.facts import CardFacts, ModelFacts, SiteFacts
from wardround.common.card.page import publish
from wardround.common.errors import StorageError, UsageError
from wardround.common.formats import check_header, digest
from wardround.common.learning.explaining import explain
from wardround.common.learning.released import ReleasedModel
from wardround.server.outcome import FORMAT, VERSION

RESULTS: Final = "results.json"
MODEL: Final = "model.safetensors"


def is_deployed(folder: Path) -> bool:
    """Whether a folder is the run folder of a study between real hospitals."""
    try:
        found = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def read_results(folder: Path) -> bytes:
    """The bytes of a run folder's results.

    Raises:
        StorageError: There are none, or they are of another kind or newer.
    """
    path = folder / RESULTS
    try:
        data = path.read_bytes()
        found = json.loads(data)
    except (OSError, ValueError):
        raise StorageError(
            f"could not read {path}", advice="give the run folder of a finished study"
        ) from None
    check_header(found if isinstance(found, dict) else {}, name=FORMAT, version=VERSION, where=str(path))
    return data


def rewrite(folder: Path) -> Mapping[str, Any]:
    """Write the card of a finished study again; returns it.

    Raises:
        StorageError: The folder holds no finished study, or cannot be written.
        UsageError: It holds an evaluation of a model that another study released.
    """
    results, model = read_results(folder), ReleasedModel.load(folder / MODEL)
    if model.protocol.monitoring is not None:
        raise UsageError(
            f"{folder} holds an evaluation of a released model, which has no card of its own",
            advice=f"the card is that of study {model.protocol.monitoring.study}, which trained it",
        )
    return write_model_card(results, model, folder)


def write_model_card(results: bytes, model: ReleasedModel, folder: Path) -> Mapping[str, Any]:
    """Write `model-card.json` and `model-card.html` into a run folder; returns the card.

    Args:
        results: The bytes of `results.json`.
        model: The released model.
        folder: The run folder.

    Raises:
        StorageError: The folder cannot be written.
    """
    return publish(card_facts(results, model), folder)


def card_facts(results: bytes, model: ReleasedModel) -> CardFacts:
    """What a finished study says to its model card."""
    found = json.loads(results)
    return CardFacts(
        protocol=model.protocol,
        setting="deployment",
        sites=tuple(_site(row, model) for row in found["sites"]),
        private=found["private"],
        rounds=found["rounds"],
        void=found["void"],
        model=ModelFacts.of(model),
        released=found["evaluation"],
        explanation=explain(model).as_json(),
        sources={
            "protocol_digest": found["protocol_digest"],
            "results_digest": digest(results),
            "code_version": found["code_version"],
            "code_digest": found["code_digest"],
            "coordinator": found["coordinator"],
            "log": "study-log.jsonl, signed by the coordinator and cosigned by the hospitals",
            "began": found["began"],
            "ended": found["ended"],
        },
    )


def _site(row: Mapping[str, Any], model: ReleasedModel) -> SiteFacts:
    epsilons = {who: math.inf if value is None else value for who, value in row["epsilon"].items()}
    return SiteFacts(
        site=row["site"],
        reference_patients=model.protocol.reference_patients(row["site"]),
        counted=row["counted"],
        epsilon=epsilons,
    )
