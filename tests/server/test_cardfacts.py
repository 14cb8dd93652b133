"""The card of a study between hospitals: from log, protocol and model; nothing measured unless it was released."""

import json
from pathlib import Path

import pytest
from tests.runs import command, study

import wardround
from wardround.common.card.statements import NOT_MEASURED, PRIVATE
from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.models import initial
from wardround.common.learning.released import ReleasedModel
from wardround.server.cardfacts import is_deployed, rewrite
from wardround.server.outcome import SiteShare, StudyOutcome

EPSILON = 1.2345


def finished(folder: Path, **changes: object) -> Path:
    """A run folder as `server start` leaves it, without having run for an hour."""
    protocol = study()
    path = FeaturePath.from_protocol(protocol, None)
    share = SiteShare(site="north", counted=3, asked=4, confirmed=True, epsilon={"everybody": EPSILON})
    outcome = StudyOutcome(
        study="small",
        question="Who responds?",
        protocol_digest=protocol.digest,
        model_digest="ab" * 32,
        coordinator="hub",
        keys={"hub": "00", "north": "11"},
        mechanism="site-noise",
        private=True,
        delta=1e-5,
        rounds=3,
        void=1,
        sites=(share,),
        began="2026-01-01T00:00:00Z",
        ended="2026-01-01T01:00:00Z",
    )
    text = json.dumps({**outcome.as_json(), **changes}, indent=1)
    write_atomic(folder / "results.json", text.encode())
    ReleasedModel(protocol=protocol, parameters=initial(protocol, path.width), path=path).save(
        folder / "model.safetensors"
    )
    return folder


def test_a_study_that_released_no_evaluation_has_a_card_without_one(tmp_path: Path) -> None:
    card = rewrite(finished(tmp_path))
    assert card["performance"]["status"] == card["subgroups"]["status"] == NOT_MEASURED
    assert card["data"]["sites"] == [{"site": "north", "reference_patients": 200, "rounds_counted": 3}]
    assert [row["value"] for row in card["privacy"]["epsilon"]] == [EPSILON]
    assert card["privacy"]["void_attempts"] == 1


def test_an_evaluation_that_was_released_is_on_the_card(tmp_path: Path) -> None:
    released = {"rows": [], "table": {"cells": [1.0], "sha256": "00"}}
    card = rewrite(finished(tmp_path, evaluation=released))
    assert card["performance"] == {"status": PRIVATE, "released": {"rows": [], "table": {"sha256": "00"}}}


def test_report_and_load_read_such_a_folder(tmp_path: Path) -> None:
    assert is_deployed(finished(tmp_path))
    said = command("report", tmp_path)
    assert said.code == 0, said.err
    run = wardround.load(tmp_path, kind="study")
    assert run.results["coordinator"] == "hub"
    assert run.card["provenance"]["coordinator"] == "hub"


@pytest.mark.parametrize("text", ["", "[]", '{"format": "wardround-results", "version": 1}'])
def test_another_folder_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text, encoding="utf-8")
    assert not is_deployed(tmp_path)
    with pytest.raises(StorageError, match=r"results\.json"):
        wardround.load(tmp_path, kind="study")
