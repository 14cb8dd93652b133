"""A whole federated study over real Flower objects, ledgers and envelopes, in this process."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp
from tests.studies import (
    keys_and_roster,
    open_sites,
    private_protocol,
    renamed,
    roster_of,
    small_federation,
    small_protocol,
)

from wardround.client.app import client_app
from wardround.client.site import REFUSALS
from wardround.common.errors import PolicyRefusal, StudyError
from wardround.common.learning.exchange import TASK
from wardround.common.learning.parameters import LARGEST, to_bytes, to_vector
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import times
from wardround.common.trust.envelope import open_envelope, seal
from wardround.common.trust.identity import Roster
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG
from wardround.simulations import federation as federation_module
from wardround.simulations.federation import Federation, run_federation
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import Hospital, enter, exposures, open_ledger

BEGUN = ["protocol", "roster", "approval", "approval"]  # the first lines of a log of two sites


def task_for(federation: Federation, site: str, round_: int = 1, attempt: int = 1) -> bytes:
    """A genuine signed task of a federation that was begun."""
    coordinator = federation_module.coordinator_of(federation, roster_of(federation))
    task = coordinator.study.task()
    return coordinator.seal(site, TASK, to_bytes(task.base), round_, attempt, task.base_model)


def begun(root: Path, **federation: object) -> Federation:
    """A private federation whose sites have approved it and whose coordinator has begun."""
    made = small_federation(root, private_protocol(**federation))
    made.folder.mkdir(parents=True)
    federation_module.begin(made)
    return made


def test_a_study_learns_and_writes_a_verifiable_log(tmp_path: Path) -> None:
    made = small_federation(tmp_path, small_protocol(rounds=20))
    final = run_federation(made)
    assert final["output.weight"][0, 0] > 2 * abs(final["output.weight"][0, 1])
    kinds = [entry.kind for entry in read_log(made.folder / LOG, roster_of(made))]
    assert kinds == [*BEGUN, *["round"] * 20, "result", "finish"]


def test_a_seeded_study_without_privacy_is_repeatable(tmp_path: Path) -> None:
    protocol = small_protocol(batch_size=5, local_steps=4)
    first, second = (run_federation(small_federation(tmp_path / name, protocol)) for name in "ab")
    assert to_bytes(first) == to_bytes(second)


def test_two_runs_of_one_private_study_give_different_noise(tmp_path: Path) -> None:
    first, second = (run_federation(small_federation(tmp_path / name, private_protocol())) for name in "ab")
    assert not np.allclose(to_vector(first), to_vector(second))


def test_each_site_is_charged_exactly_its_rounds(tmp_path: Path) -> None:
    made = small_federation(tmp_path, private_protocol(rounds=4, attempts=3))
    run_federation(made)
    expected = epsilon(times(made.protocol.event(), 4), 1e-5)
    assert [epsilon(exposures(hospital), 1e-5) for hospital in made.hospitals] == [expected, expected]


def test_the_unused_attempts_are_returned_when_the_study_ends(tmp_path: Path) -> None:
    made = small_federation(tmp_path, private_protocol(rounds=4, attempts=3))
    run_federation(made)
    with open_ledger(made.hospitals[0].office()) as ledger:
        assert ledger.exposure() == ledger.spent()


def test_a_second_run_on_the_same_patients_adds_up(tmp_path: Path) -> None:
    made = small_federation(tmp_path, private_protocol(rounds=4))
    run_federation(made)
    run_federation(replace(made, folder=tmp_path / "again"))
    run_federation(replace(made, folder=tmp_path / "other", protocol=renamed(made.protocol, "other")))
    expected = epsilon(times(made.protocol.event(), 12), 1e-5)
    assert epsilon(exposures(made.hospitals[0]), 1e-5) == expected


def test_the_lifetime_cap_refuses_the_study_that_would_exceed_it(tmp_path: Path) -> None:
    protocol = private_protocol(rounds=4, attempts=1)
    made = small_federation(tmp_path, protocol, cohort="private")
    cap = epsilon(times(protocol.event(), 5), 1e-5)
    for hospital in made.hospitals:
        policy = hospital.folder / "site.toml"
        policy.write_text(policy.read_text().replace("epsilon_cap = 1000000000.0", f"epsilon_cap = {cap}"))
    run_federation(made)
    with pytest.raises(PolicyRefusal, match="lifetime cap"):
        run_federation(replace(made, folder=tmp_path / "again"))


def test_no_privacy_is_refused_for_private_patients(tmp_path: Path) -> None:
    made = small_federation(tmp_path, small_protocol(), cohort="private")
    with pytest.raises(PolicyRefusal, match="no privacy mechanism"):
        run_federation(made)


def test_a_release_without_privacy_makes_epsilon_infinite(tmp_path: Path) -> None:
    made = small_federation(tmp_path, small_protocol())
    run_federation(made)
    assert epsilon(exposures(made.hospitals[0]), 1e-5) == float("inf")


class Lossy(InlineGrid):
    """A transport that loses the replies of one node in the first attempts."""

    lost: int = 0

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = list(super().pull_messages(message_ids))
        kept = []
        for reply in replies:
            site_lost = reply.metadata.src_node_id == 10 and reply.metadata.message_type == "train"
            if site_lost and type(self).lost > 0:
                type(self).lost -= 1
                continue
            kept.append(reply)
        return kept


def test_a_lost_reply_voids_the_attempt_and_the_next_one_is_charged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lossy.lost = 1
    monkeypatch.setattr(federation_module, "InlineGrid", Lossy)
    monkeypatch.setattr(federation_module, "WAITING", replace(federation_module.WAITING, replies=0.2))
    made = small_federation(tmp_path, private_protocol(rounds=2, attempts=2))
    run_federation(made)
    kinds = [entry.kind for entry in read_log(made.folder / LOG, roster_of(made))]
    assert kinds == [*BEGUN, "void", "round", "round", "result", "finish"]
    expected = epsilon(times(made.protocol.event(), 3), 1e-5)
    assert epsilon(exposures(made.hospitals[1]), 1e-5) == expected


def test_a_site_that_fails_says_nothing_about_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_federation(tmp_path, small_protocol(attempts=1))
    well, other = made.hospitals
    sick = replace(other, rows=replace(other.rows, inputs=other.rows.inputs[:, :2].copy()))
    seen: list[str] = []
    original = InlineGrid.pull_messages

    def spy(grid: InlineGrid, identifiers: Iterable[str]) -> list[Message]:
        replies = list(original(grid, identifiers))
        seen.extend(repr(reply.error) if reply.has_error() else repr(reply.content) for reply in replies)
        return replies

    monkeypatch.setattr(InlineGrid, "pull_messages", spy)
    with pytest.raises(StudyError):
        run_federation(replace(made, hospitals=[well, sick]))
    assert seen
    assert not any("Traceback" in text or "expected" in text for text in seen)
    assert "expected shape" in (sick.folder / REFUSALS).read_text()


def test_the_same_attempt_gets_identical_bytes_and_one_charge(tmp_path: Path) -> None:
    made = begun(tmp_path)
    task = task_for(made, "north")
    with open_sites(made, roster_of(made)) as sites:
        first = sites["north"].answer(task)
        second = sites["north"].answer(task)
    assert first == second
    assert epsilon(exposures(made.hospitals[0]), 1e-5) == epsilon([made.protocol.event()], 1e-5)


def test_identical_bytes_even_after_the_site_restarted(tmp_path: Path) -> None:
    made = begun(tmp_path)
    task = task_for(made, "north")
    replies = []
    for _ in range(2):
        with open_sites(made, roster_of(made)) as sites:
            replies.append(sites["north"].answer(task))
    assert replies[0] == replies[1]


def declined(site_folder: Path, reply: bytes, roster: Roster) -> str:
    """The reason that a site wrote down for a refusal; its own file, never sent."""
    envelope = open_envelope(reply, roster)
    assert envelope.header.kind == "declined"
    reference = json.loads(envelope.body)["reference"]
    lines = [json.loads(line) for line in (site_folder / REFUSALS).read_text().splitlines()]
    return str(next(line["reason"] for line in lines if line["reference"] == reference))


def test_an_older_task_is_declined_after_a_newer_one(tmp_path: Path) -> None:
    made = begun(tmp_path)
    with open_sites(made, roster_of(made)) as sites:
        sites["north"].answer(task_for(made, "north", round_=1, attempt=2))
        reply = sites["north"].answer(task_for(made, "north", round_=1, attempt=1))
    assert "TrustError" in declined(made.hospitals[0].folder, reply, roster_of(made))


def test_different_bytes_for_a_settled_attempt_never_leave(tmp_path: Path) -> None:
    made = begun(tmp_path)
    task = task_for(made, "north")
    with open_sites(made, roster_of(made)) as sites:
        sites["north"].answer(task)
        for kept in (made.hospitals[0].folder / "outbox").iterdir():
            kept.write_bytes(b"something else")
        reply = sites["north"].answer(task)
    assert "the kept reply is not that" in declined(made.hospitals[0].folder, reply, roster_of(made))


def test_more_attempts_than_were_reserved_are_declined(tmp_path: Path) -> None:
    made = begun(tmp_path, rounds=1, attempts=2)
    with open_sites(made, roster_of(made)) as sites:
        for attempt in (1, 2):
            sites["north"].answer(task_for(made, "north", attempt=attempt))
        reply = sites["north"].answer(task_for(made, "north", attempt=3))
    assert "attempt of 1 to 2" in declined(made.hospitals[0].folder, reply, roster_of(made))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 10 * LARGEST])
def test_crafted_base_weights_are_declined_before_any_charge(tmp_path: Path, bad: float) -> None:
    made = begun(tmp_path)
    coordinator = federation_module.coordinator_of(made, roster_of(made))
    crafted = {name: array.copy() for name, array in coordinator.study.progress.parameters.items()}
    crafted["output.weight"][0, 0] = bad
    from wardround.common.learning.parameters import parameters_digest

    task = coordinator.seal("north", TASK, to_bytes(crafted), 1, 1, parameters_digest(crafted))
    with open_sites(made, roster_of(made)) as sites:
        reply = sites["north"].answer(task)
    assert "not finite or exceeds" in declined(made.hospitals[0].folder, reply, roster_of(made))
    assert exposures(made.hospitals[0]) == []


def test_a_base_model_other_than_the_named_one_is_declined(tmp_path: Path) -> None:
    made = begun(tmp_path)
    coordinator = federation_module.coordinator_of(made, roster_of(made))
    honest = open_envelope(task_for(made, "north"), roster_of(made))
    task = seal(coordinator._key, replace(honest.header, base_model="a" * 64), honest.body)
    with open_sites(made, roster_of(made)) as sites:
        reply = sites["north"].answer(task)
    assert "not the one that the envelope names" in declined(made.hospitals[0].folder, reply, roster_of(made))


def test_a_task_for_another_site_or_from_a_stranger_gets_no_answer_at_all(tmp_path: Path) -> None:
    from wardround.common.errors import TrustError

    made = begun(tmp_path)
    keys, _ = keys_and_roster("north")
    genuine = task_for(made, "south")
    with open_sites(made, roster_of(made)) as sites:
        with pytest.raises(TrustError, match="for 'south' reached 'north'"):
            sites["north"].answer(genuine)
        stranger = federation_module.coordinator_of(made, roster_of(made))
        stranger._key = keys["coordinator"]
        with pytest.raises(TrustError):
            sites["north"].answer(stranger.seal("north", TASK, b"", 1, 1, "a" * 64))


def test_one_patient_more_or_less_changes_no_length_and_no_constant(tmp_path: Path) -> None:
    lengths = set()
    for number, drop in enumerate((0, 1, 2)):
        made = begun(tmp_path / str(number))
        hospital = made.hospitals[0]
        smaller = replace(hospital, train=hospital.train[: len(hospital.train) - drop])
        made = replace(made, hospitals=[smaller, made.hospitals[1]])
        with open_sites(made, roster_of(made)) as sites:
            lengths.add(len(sites["north"].answer(task_for(made, "north"))))
    assert len(lengths) == 1


def test_a_message_without_an_envelope_becomes_one_constant_error(tmp_path: Path) -> None:
    made = begun(tmp_path)
    with open_sites(made, roster_of(made)) as sites:
        app: ClientApp = client_app(federation_module.by_name(sites))
        grid = InlineGrid(app, sites)
        empty = Message(RecordDict(), 10, "train")
        (reply,) = grid.send_and_receive([empty])
    assert reply.has_error()
    assert reply.error.reason == "SiteFailed"


def test_a_door_opened_twice_is_refused(tmp_path: Path) -> None:
    from wardround.common.errors import StorageError

    made = begun(tmp_path)
    hospital: Hospital = made.hospitals[0]
    with enter(hospital), pytest.raises(StorageError, match="in use"), enter(hospital):
        pass
