"""Enrolment: stolen names, old keys, rolled back logs, crashes; and a roster that anybody can check."""

import json
import shutil
import stat
from pathlib import Path

import pytest
from tests.crashes import Acknowledge, crash_points
from tests.enrolling import GOLDEN, clock, coordinator, key, let_in, node_line, request, words_of

from wardround.common.errors import StorageError, StudyError, TrustError, UsageError
from wardround.common.trust.join import open_invite, open_request
from wardround.common.trust.rosterfile import open_roster
from wardround.common.trust.studylog import StudyLog, read_log
from wardround.server.enrolment import (
    current_roster,
    enrol,
    history,
    members,
    remove,
    signed_roster,
)
from wardround.server.members import Members
from wardround.server.serverfile import ServerFile


@pytest.fixture
def server(tmp_path: Path) -> ServerFile:
    return coordinator(tmp_path / "co")


def test_a_hospital_is_enrolled_invited_and_in_the_roster(server: ServerFile) -> None:
    done = let_in(server, request("north", 1))
    assert (done.change, done.version) == ("enrolled", 1)
    invite = open_invite(done.path.read_bytes())
    assert done.invite == done.path.read_bytes()
    assert (invite.coordinator, invite.coordinator_key) == ("hub", server.key().public)
    assert (invite.address, invite.ca) == (server.address, server.ca.read_text())
    assert invite.site == open_request(request("north", 1))
    found = current_roster(server.folder)
    assert (found.version, dict(found.roster.sites)) == (1, {"north": key(1).public})
    assert signed_roster(server.folder) == server.roster.read_bytes()
    assert open_roster(server.roster.read_bytes(), server.key().public) == found
    assert members(server.folder) == {"north": node_line(1)}


def test_nobody_is_enrolled_at_first(server: ServerFile) -> None:
    assert members(server.folder) == {}
    assert Members.load(server.folder).version == 0
    with pytest.raises(StudyError, match="no hospital is enrolled"):
        current_roster(server.folder)
    assert not server.members.exists()


def test_a_key_comes_in_only_with_its_words(server: ServerFile) -> None:
    with pytest.raises(TrustError, match="the words do not belong to the key of north"):
        enrol(server.folder, request("north", 1), words=words_of(request("north", 2)))
    assert not server.members.exists()
    assert not server.roster.exists()


def test_the_same_request_again_changes_nothing(server: ServerFile) -> None:
    first = let_in(server, request("north", 1))
    again = let_in(server, request("north", 1))
    assert (again.change, again.version, again.invite) == ("known", 1, first.invite)
    assert len(history(server.folder)) == 1


def test_a_stolen_name_is_refused_with_both_keys_in_words(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    before = server.members.read_bytes()
    with pytest.raises(TrustError, match="'north' is the name of another key") as caught:
        let_in(server, request("north", 2))
    assert words_of(request("north", 1)) in str(caught.value)
    assert words_of(request("north", 2)) in str(caught.value)
    assert "--replace 'north'" in caught.value.advice
    assert server.members.read_bytes() == before
    assert current_roster(server.folder).roster.sites["north"] == key(1).public


def test_a_name_stays_its_own_after_a_removal(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    remove(server.folder, "north", clock=clock)
    with pytest.raises(TrustError, match="the name of another key"):
        let_in(server, request("north", 2))
    assert let_in(server, request("north", 1)).change == "enrolled"
    assert current_roster(server.folder).version == 3


@pytest.mark.parametrize("name", ["North", "NORTH", "n o r t h", "nor-th", "\uff4eorth", "north."])
def test_a_name_that_is_heard_as_another_one_is_refused(server: ServerFile, name: str) -> None:
    let_in(server, request("north", 1))
    with pytest.raises(TrustError, match="reads like 'north'"):
        let_in(server, request(name, 2))


def test_new_keys_come_by_name_and_the_old_ones_are_gone_for_ever(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    done = let_in(server, request("north", 2), replace="north")
    assert (done.change, done.version) == ("rotated", 2)
    assert dict(current_roster(server.folder).roster.sites) == {"north": key(2).public}
    assert members(server.folder) == {"north": node_line(2)}
    for old in (request("north", 1), request("north", 2, node=1), request("north", 1, node=3)):
        with pytest.raises(TrustError, match=r"(identity|node) key in this request was replaced before"):
            let_in(server, old, replace="north")
    with pytest.raises(TrustError, match="replaced before"):
        let_in(server, request("west", 1))


def test_a_node_key_is_replaced_alone(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    with pytest.raises(TrustError, match="enrolled with another node key"):
        let_in(server, request("north", 1, node=5))
    assert let_in(server, request("north", 1, node=5), replace="north").change == "rotated"
    assert members(server.folder) == {"north": node_line(5)}
    assert dict(current_roster(server.folder).roster.sites) == {"north": key(1).public}


@pytest.mark.parametrize(("name", "number", "node"), [("south", 1, 2), ("south", 2, 1)])
def test_a_key_stands_for_one_hospital(server: ServerFile, name: str, number: int, node: int) -> None:
    let_in(server, request("north", 1))
    with pytest.raises(TrustError, match="belongs to 'north' already"):
        let_in(server, request(name, number, node=node))
    remove(server.folder, "north", clock=clock)
    with pytest.raises(TrustError, match="belongs to 'north' already"):
        let_in(server, request(name, number, node=node))


def test_replace_names_who_asks_and_somebody_known(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    with pytest.raises(UsageError, match="--replace names 'north', and the request is from 'south'"):
        let_in(server, request("south", 2), replace="north")
    with pytest.raises(UsageError, match="nobody called 'south' was enrolled"):
        let_in(server, request("south", 2), replace="south")


def test_the_coordinator_is_no_hospital(server: ServerFile) -> None:
    with pytest.raises(TrustError, match="the coordinator's own name or key"):
        let_in(server, request("hub", 1))


def test_a_removed_hospital_is_gone_and_the_others_stay(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    let_in(server, request("south", 2))
    assert remove(server.folder, "north", clock=clock) == 3
    assert list(current_roster(server.folder).roster.sites) == ["south"]
    assert list(members(server.folder)) == ["south"]
    assert open_roster(server.roster.read_bytes(), server.key().public).version == 3
    with pytest.raises(UsageError, match="nobody called 'north'") as caught:
        remove(server.folder, "north")
    assert caught.value.advice == "enrolled: south"
    remove(server.folder, "south", clock=clock)
    with pytest.raises(StudyError, match="no hospital is enrolled"):
        current_roster(server.folder)
    assert members(server.folder) == {}


def test_every_change_is_a_signed_line_that_names_the_one_before(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    let_in(server, request("north", 2), replace="north")
    remove(server.folder, "north", clock=clock)
    roster = Members.load(server.folder)
    assert [entry.kind for entry in history(server.folder)] == ["enrol", "rotate", "remove"]
    assert roster.version == 3
    let_in(server, request("north", 2))
    read_log(server.members, current_roster(server.folder).roster)  # the general reader agrees


def test_a_log_that_was_cut_back_is_refused(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    old = server.members.read_bytes()
    remove_version = (let_in(server, request("south", 2)), remove(server.folder, "south", clock=clock))[1]
    assert remove_version == 3
    server.members.write_bytes(old)
    for read in (current_roster, members, signed_roster):
        with pytest.raises(TrustError, match="expected at least version 3 of the roster") as caught:
            read(server.folder)
        assert "restored from an old copy" in caught.value.advice
    with pytest.raises(TrustError, match="expected at least version 3"):
        let_in(server, request("east", 4))


def test_another_history_of_the_same_length_is_refused(server: ServerFile, tmp_path: Path) -> None:
    shutil.copytree(server.folder, tmp_path / "twin")
    let_in(server, request("north", 1))
    twin = ServerFile.load(tmp_path / "twin")
    let_in(twin, request("south", 2))
    shutil.copyfile(twin.members, server.members)
    with pytest.raises(TrustError, match="found another one of that version"):
        current_roster(server.folder)


def test_a_line_of_somebody_else_or_a_changed_one_is_refused(server: ServerFile, tmp_path: Path) -> None:
    let_in(server, request("north", 1))
    whole = server.members.read_bytes()
    other = coordinator(tmp_path / "other")
    let_in(other, request("south", 2))
    for data in (other.members.read_bytes(), whole.replace(b"c", b"d", 1), whole + whole):
        server.members.write_bytes(data)
        with pytest.raises((TrustError, StorageError)):
            current_roster(server.folder)


def test_a_line_half_written_by_another_process_is_not_seen_nor_cut(server: ServerFile) -> None:
    let_in(server, request("north", 1))
    data = server.members.read_bytes() + b'{"payload":"'
    server.members.write_bytes(data)
    assert current_roster(server.folder).version == 1
    assert server.members.read_bytes() == data
    assert let_in(server, request("south", 2)).version == 2


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "Ärzte & Söhne", "x" * 200])
def test_a_name_never_becomes_a_path(server: ServerFile, name: str) -> None:
    done = let_in(server, request(name, 1))
    assert done.path.parent == server.invites
    assert open_invite(done.path.read_bytes()).site.name == name
    assert stat.S_IMODE(server.invites.stat().st_mode) == 0o700


def test_a_log_of_version_1_stays_readable(server: ServerFile) -> None:
    server.identity.unlink()
    key(9).save(server.identity)
    shutil.copyfile(GOLDEN / "members-v1.jsonl", server.members)
    assert members(server.folder) == {"north": node_line(1), "south": node_line(3)}
    assert current_roster(server.folder).version == 5
    assert let_in(server, request("west", 6)).version == 6
    with pytest.raises(TrustError, match="replaced before"):
        let_in(server, request("south", 2), replace="south")


def test_a_newer_log_is_refused_with_advice(server: ServerFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardround.common.trust.studylog.VERSION", 2)
    let_in(server, request("north", 1))
    monkeypatch.undo()
    with pytest.raises(StorageError, match="version 2; this release reads up to version 1"):
        current_roster(server.folder)


def test_an_unknown_kind_of_line_is_refused(server: ServerFile) -> None:
    StudyLog(server.members, server.key(), clock=clock).append(
        "merge", open_request(request("a", 1)).to_dict()
    )
    with pytest.raises(TrustError, match="expected an enrolment, a rotation or a removal"):
        current_roster(server.folder)


@pytest.mark.usefixtures("quick_disk")
def test_after_a_crash_at_any_byte_no_version_names_two_rosters(server: ServerFile, tmp_path: Path) -> None:
    let_in(server, request("north", 1))

    def prepare(folder: Path) -> None:
        shutil.copytree(server.folder, folder, dirs_exist_ok=True)

    def action(folder: Path, acknowledge: Acknowledge) -> None:
        here = ServerFile.load(folder)
        for step in (request("south", 2), request("south", 3)):
            done = let_in(here, step, replace="south" if step == request("south", 3) else "")
            acknowledge(
                json.dumps([done.version, open_roster(here.roster.read_bytes(), server.key().public).digest])
            )

    (tmp_path / "crashes").mkdir()
    seen: dict[int, str] = {}
    for crash in crash_points(tmp_path / "crashes", action, prepare=prepare):
        here = ServerFile.load(crash.folder)
        told = [json.loads(line) for line in crash.acknowledged]
        found = current_roster(here.folder)
        assert found.version >= max([1, *(version for version, _ in told)])
        for version, digest in [*told, (found.version, found.digest)]:
            assert seen.setdefault(version, digest) == digest
        if found.version == 1:
            let_in(here, request("south", 2))
        done = let_in(here, request("south", 3), replace="south")
        assert (done.version, current_roster(here.folder).version) == (3, 3)
        assert open_invite(done.path.read_bytes()).site.key == key(3).public
    assert sorted(seen) == [1, 2, 3]
