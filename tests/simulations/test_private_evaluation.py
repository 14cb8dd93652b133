"""A study that evaluates on held-out patients: counted once, charged to them, repeated after losses, on every site."""

from pathlib import Path

import numpy as np
import pytest
from tests.evaluating import evaluated
from tests.rogues import Replies, play
from tests.studies import joint_protocol, private_protocol, roster_of, small_federation

from wardround.common.errors import StudyError
from wardround.common.flower.records import unpack
from wardround.common.learning.parameters import parameters_digest
from wardround.common.learning.tabulating import counted, group_codes
from wardround.common.privacy.events import GaussianSteps
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Header, open_envelope
from wardround.common.trust.identity import Roster
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG
from wardround.simulations.federation import Federation, released_table, run_federation
from wardround.simulations.hospitals import Hospital

QUIET = evaluated(private_protocol(), noise_multiplier=0.005)
LAST = 3
THREE = ("east", "north", "south")


def exact(made: Federation, protocol: StudyProtocol, model: dict[str, np.ndarray]) -> np.ndarray:
    """Every hospital's held-out patients, counted from its own rows; of an external site everybody."""
    return np.asarray(np.sum([_counted(one, protocol, model) for one in made.hospitals], axis=0))


def _counted(one: Hospital, protocol: StudyProtocol, model: dict[str, np.ndarray]) -> np.ndarray:
    assert protocol.evaluation is not None
    one = one.all_held_out() if one.name in protocol.external_sites else one
    rows = one.held_out()
    return counted(
        protocol, model, rows, group_codes(protocol.evaluation, one.held_out_groups(), rows.n_patients)
    )


def steps(made: Federation, site: int) -> tuple[int, int]:
    """What the ledger of a hospital holds: of patients who train, and of those held out."""
    with made.hospitals[site].office().ledger() as ledger:
        spent, held_out = (
            sum(event.steps for event in found if isinstance(event, GaussianSteps))
            for found in (ledger.spent(), ledger.held_out.spent())
        )
        return spent, held_out


def log_of(made: Federation) -> list[tuple[str, dict[str, object]]]:
    return [(entry.kind, dict(entry.data)) for entry in read_log(made.folder / LOG, roster_of(made))]


def kinds(made: Federation) -> list[str]:
    return [kind for kind, _ in log_of(made) if kind in ("round", "void", "evaluation", "result", "finish")]


@pytest.mark.usefixtures("quick_disk")
def test_the_table_counts_the_held_out_patients_of_every_site_once(tmp_path: Path) -> None:
    made = small_federation(tmp_path, QUIET)
    model = run_federation(made)
    found = released_table(made.folder, QUIET)
    assert found is not None
    assert found.sites == ("north", "south")
    np.testing.assert_allclose(found.table, exact(made, QUIET, model), atol=0.1)
    assert round(found.table.sum()) == 12
    assert kinds(made) == ["round", "round", "evaluation", "result", "finish"]
    line = next(data for kind, data in log_of(made) if kind == "evaluation")
    assert (line["table"], line["base_model"]) == (found.digest, parameters_digest(model))
    assert [steps(made, site) for site in (0, 1)] == [(2, 1), (2, 1)]


@pytest.mark.usefixtures("quick_disk")
def test_under_joint_noise_only_the_sum_of_the_tables_is_opened(tmp_path: Path) -> None:
    protocol = evaluated(joint_protocol(), noise_multiplier=0.3)
    made = small_federation(tmp_path, protocol, names=THREE)
    model = run_federation(made)
    found = released_table(made.folder, protocol)
    assert found is not None
    left = found.table - exact(made, protocol, model)
    assert abs(left).max() < 6 * 0.3 * np.sqrt(3 / 2)
    assert abs(found.table.sum() - 18) < 6 * 0.3 * np.sqrt(48 * 3 / 2)
    line = next(data for kind, data in log_of(made) if kind == "evaluation")
    assert line["secure_sum"]["members"] == list(THREE)  # type: ignore[index]


@pytest.mark.usefixtures("quick_disk")
def test_an_evaluation_that_lost_a_site_is_void_charged_and_asked_again(tmp_path: Path) -> None:
    made = small_federation(tmp_path, QUIET, names=THREE)
    made.folder.mkdir(parents=True)
    roster: list[Roster] = []
    lost: list[Header] = []

    def change(replies: Replies) -> Replies:
        if not roster:
            roster.append(roster_of(made))
        passed = []
        for reply in replies:
            header = open_envelope(unpack(reply.content), roster[0]).header
            hit = header.sender == "south" and header.round == LAST and header.attempt == 1
            hit = hit and header.kind == "update"
            lost.extend([header] if hit else [])
            passed.extend([] if hit else [reply])
        return passed

    play(made, change)
    assert lost
    assert kinds(made) == ["round", "round", "void", "evaluation", "result", "finish"]
    assert [steps(made, site) for site in range(3)] == [(2, 2)] * 3
    found = released_table(made.folder, QUIET)
    assert found is not None
    assert round(found.table.sum()) == 18  # the first attempt is not in it


@pytest.mark.usefixtures("quick_disk")
def test_a_coordinator_that_died_before_the_evaluation_goes_on_with_it_and_nothing_is_charged_twice(
    tmp_path: Path,
) -> None:
    made = small_federation(tmp_path, QUIET)

    def stop(number: int, _: object) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_federation(made, on_round=stop)
    assert kinds(made) == ["round", "round"]
    for _ in range(2):
        run_federation(made)
        assert kinds(made) == ["round", "round", "evaluation", "result", "finish"]
        assert steps(made, 0) == (2, 1)


@pytest.mark.usefixtures("quick_disk")
def test_an_evaluation_that_nobody_answers_ends_the_study_with_a_reason(tmp_path: Path) -> None:
    made = small_federation(tmp_path, QUIET)
    made.folder.mkdir(parents=True)
    roster: list[Roster] = []

    def change(replies: Replies) -> Replies:
        if not roster:
            roster.append(roster_of(made))
        heads = [open_envelope(unpack(reply.content), roster[0]).header for reply in replies]
        return [
            reply
            for reply, header in zip(replies, heads, strict=True)
            if header.round != LAST or header.kind != "update"
        ]

    with pytest.raises(StudyError, match="the evaluation stayed below its quorum of 2 in 2 attempts"):
        play(made, change)
    assert kinds(made) == ["round", "round", "void", "void"]


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("mechanism", ["site-noise", "joint-noise"])
def test_an_external_site_is_evaluated_on_all_its_patients_and_never_trains(
    tmp_path: Path, mechanism: str
) -> None:
    names = (*THREE, "west")
    terms = {"noise_multiplier": 0.3, "external_sites": ("west",)}
    study = private_protocol() if mechanism == "site-noise" else joint_protocol()
    protocol = evaluated(study, **terms)
    made = small_federation(tmp_path, protocol, names=names)
    model = run_federation(made)
    found = released_table(made.folder, protocol)
    assert found is not None
    assert found.sites == names
    assert abs(found.table.sum() - (3 * 6 + 24)) < 6 * 0.3 * np.sqrt(48 * 4)
    np.testing.assert_allclose(found.table, exact(made, protocol, model), atol=6 * 0.3 * 2)
    rounds = [data["sites"] for kind, data in log_of(made) if kind == "round"]
    assert all(set(sites) == set(THREE) for sites in rounds)  # type: ignore[call-overload]
    with made.hospitals[3].office().ledger() as ledger:
        assert ledger.spent() == []
        assert len(ledger.held_out.spent()) == 1
        assert not ledger.held_out.has_open(protocol.study.name, protocol.digest)
