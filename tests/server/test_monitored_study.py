"""A study that monitors a released model, at the coordinator: what is published, what it starts from, what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.consortia import Consortium
from tests.evaluating import evaluated
from tests.monitoring import monitor, release, watching
from tests.studies import WIDTH, private_protocol, roster_of, small_federation

from wardround.common.errors import ProtocolError, StorageError, TrustError, UsageError
from wardround.common.learning.monitored import FOLDER, Monitored, starting_model
from wardround.common.trust.studylog import read_log
from wardround.server.cardfacts import rewrite
from wardround.server.coordinator import LOG
from wardround.server.evaluationclaim import evaluation_claim
from wardround.server.outcome import outcome_of
from wardround.server.studyreport import page
from wardround.simulations.federation import Federation, run_federation

STUDY = evaluated(private_protocol(), epsilon=1.0)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return small_federation(tmp_path_factory.mktemp("first"), STUDY)


@pytest.fixture(scope="module")
def found(first: Federation) -> Monitored:
    return release(first)


def test_a_published_study_keeps_the_model_beside_it_and_starts_from_it(
    found: Monitored, tmp_path: Path
) -> None:
    made = Consortium(tmp_path, names=("north", "south"))
    asked = monitor(found)
    with pytest.raises(StorageError):
        made.publish(asked)
    found.save(made.root / FOLDER)
    home = made.publish(asked).parent
    model = starting_model(asked, WIDTH, home)
    assert all(np.array_equal(model[name], array) for name, array in found.model.parameters.items())


def test_another_model_or_another_table_is_not_published(found: Monitored, tmp_path: Path) -> None:
    made = Consortium(tmp_path, names=("north", "south"))
    asked = monitor(found)
    shifted = {name: array + np.float32(1) for name, array in found.model.parameters.items()}
    other = replace(found, model=replace(found.model, parameters=shifted))
    with pytest.raises(TrustError, match="does not name this model"):
        other.check(asked)
    cells = replace(found.before.table, cells=found.before.table.cells + 1)
    replace(found, before=replace(found.before, table=cells)).save(made.root / FOLDER)
    with pytest.raises(TrustError, match="does not name this calibration"):
        made.publish(asked)


def test_a_study_that_says_another_one_trained_the_model_is_not_published(found: Monitored) -> None:
    asked = monitor(found)
    assert asked.monitoring is not None
    renamed = replace(asked, monitoring=replace(asked.monitoring, study="a-larger-one"))
    with pytest.raises(TrustError, match="does not name this study"):
        found.check(renamed)


def test_other_bins_are_refused_before_anybody_is_charged(found: Monitored, tmp_path: Path) -> None:
    made = Consortium(tmp_path, names=("north", "south"))
    found.save(made.root / FOLDER)
    with pytest.raises(TrustError, match="different bins"):
        made.publish(monitor(found, score_edges=(0.2, 0.4)))


def test_scores_must_mean_what_they_meant(found: Monitored) -> None:
    asked = monitor(found)
    first, *rest = asked.features
    changed = replace(asked, features=(replace(first, mean=first.mean + 1), *rest))
    with pytest.raises(ProtocolError, match="features differ from the study that trained the model"):
        found.check(changed)


def test_a_model_without_an_evaluation_of_its_own_cannot_be_monitored(
    found: Monitored, tmp_path: Path
) -> None:
    replace(found.model, protocol=replace(STUDY, evaluation=None)).save(tmp_path / "model.safetensors")
    with pytest.raises(ProtocolError, match=r"without an \[evaluation\]"):
        Monitored.load(tmp_path)


def test_a_model_that_was_evaluated_again_is_still_that_of_the_study_that_trained_it(
    found: Monitored,
) -> None:
    again = monitor(found)
    since = replace(
        found,
        model=replace(found.model, protocol=again),
        before=replace(found.before, protocol=again.digest),
    )
    third = monitor(since, "third")
    assert third.monitoring is not None
    assert (third.monitoring.study, third.monitoring.protocol) == ("small", STUDY.digest)
    since.check(third)


def test_an_evaluation_has_no_model_card_of_its_own(found: Monitored, tmp_path: Path) -> None:
    replace(found.model, protocol=monitor(found)).save(tmp_path / "model.safetensors")
    (tmp_path / "results.json").write_text('{"format": "wardround-study-results", "version": 1}')
    with pytest.raises(UsageError, match="no card of its own") as caught:
        rewrite(tmp_path)
    assert "study small" in caught.value.advice


def test_the_report_says_what_became_of_the_model(
    first: Federation, found: Monitored, tmp_path: Path
) -> None:
    again = watching(first, found, monitor(found), tmp_path)
    run_federation(again)
    roster = roster_of(again)
    log = read_log(again.folder / LOG, roster)
    claim = evaluation_claim(again.folder, again.protocol, roster, log)
    assert claim is not None
    assert claim["drift"]["before"]["digest"] == again.protocol.monitoring.calibration  # type: ignore[union-attr]
    text = page(outcome_of(again.protocol, roster, log, evaluation=claim))
    assert "Nothing was trained; 2 hospitals" in text
    assert "0 releases" not in text
    assert "What the evaluation cost those who were held out stands below" in text
    assert "## Since the model was released" in text
    assert "Performance, by AUC as declared: too few patients to tell" in text
    assert text == page(outcome_of(again.protocol, roster, log, evaluation=claim))
