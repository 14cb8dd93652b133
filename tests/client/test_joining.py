"""A hospital joins: what leaves, what is pinned, and every invite or roster that is refused."""

import json
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.crashes import Acknowledge, crash_points
from tests.enrolling import GOLDEN, NOW, coordinator, key, let_in, node_line, request, site, words_of

from wardround.client.joining import (
    Pinned,
    accept_roster,
    join,
    known_roster,
    make_request,
    node_place,
)
from wardround.client.peers import approved_peers
from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.join import Invite, open_invite, open_request, seal_invite
from wardround.common.trust.words import spoken
from wardround.server.certificates import issue, make_authority
from wardround.server.enrolment import remove, signed_roster
from wardround.server.serverfile import ServerFile


@pytest.fixture
def server(tmp_path: Path) -> ServerFile:
    return coordinator(tmp_path / "co")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    site(tmp_path / "north", "north")
    return tmp_path / "north"


@pytest.fixture
def invite(server: ServerFile, home: Path) -> bytes:
    return let_in(server, (home / "request.json").read_bytes()).invite


def words(server: ServerFile) -> str:
    return spoken(server.key().public.fingerprint)


def joined(home: Path, invite: bytes, server: ServerFile) -> Pinned:
    return join(home, invite, words=words(server), now=NOW)


def test_a_request_is_public_and_the_private_keys_are_their_owners(home: Path) -> None:
    data = make_request(home)
    asked = open_request(data)
    assert asked.name == "north"
    assert asked.key == SigningKey.load(home / "identity.pem").public
    assert (home / "node.pub").read_text() == f"{asked.node_key}\n"
    for name in ("identity.pem", "node.key"):
        secret = (home / name).read_bytes()
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        assert not any(line in data for line in secret.splitlines()[1:-1])


def test_a_request_made_again_is_the_same_and_a_new_node_key_is_another(home: Path) -> None:
    first = make_request(home)
    assert make_request(home) == first == (home / "request.json").read_bytes()
    second = open_request(make_request(home, node_key="renew"))
    assert second.key == open_request(first).key
    assert second.node_key != open_request(first).node_key


def test_a_folder_of_an_earlier_release_gets_what_it_lacks(home: Path) -> None:
    for name in ("node.key", "node.pub", "request.json"):
        (home / name).unlink()
    make_request(home)
    assert (home / "node.pub").read_text().split()[0] == "ecdsa-sha2-nistp384"


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_ssh_keygen_reads_the_node_key(home: Path) -> None:
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", home / "node.key"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[:2] == (home / "node.pub").read_text().split()


@pytest.mark.parametrize("name", ["identity.pem", "node.key"])
def test_a_private_key_that_others_may_read_or_that_is_none_is_refused(home: Path, name: str) -> None:
    (home / name).chmod(0o640)
    with pytest.raises(TrustError, match="readable by its owner only, found mode 640"):
        make_request(home)
    (home / name).chmod(0o600)
    (home / name).write_bytes((home / name).read_bytes()[:60])
    with pytest.raises(TrustError, match=r"private (node )?key"):
        make_request(home)


def test_joining_pins_what_the_coordinator_said(home: Path, invite: bytes, server: ServerFile) -> None:
    pinned = joined(home, invite, server)
    assert Pinned.load(home) == pinned
    assert (pinned.coordinator, pinned.coordinator_key) == ("hub", server.key().public)
    assert (pinned.host, pinned.port, pinned.address) == ("fl.example.org", 8443, "fl.example.org:8443")
    assert pinned.ca.encode() == server.ca.read_bytes()
    assert (pinned.site, pinned.site_key) == ("north", SigningKey.load(home / "identity.pem").public)
    assert stat.S_IMODE((home / "consortium.json").stat().st_mode) == 0o644
    place = node_place(home)
    assert (place.superlink, place.key) == (pinned.address, home / "node.key")
    assert place.ca.read_bytes() == server.ca.read_bytes()
    place.ca.write_bytes(b"something else")
    assert node_place(home).ca.read_bytes() == server.ca.read_bytes()
    assert approved_peers(home) == {}


def test_nothing_is_pinned_before_the_words_match(home: Path, invite: bytes, server: ServerFile) -> None:
    for wrong in (spoken(key(7).public.fingerprint), words_of((home / "request.json").read_bytes())):
        with pytest.raises(TrustError, match="the words do not belong to the key of hub"):
            join(home, invite, words=wrong, now=NOW)
    with pytest.raises(UsageError, match="expected 16 words"):
        join(home, invite, words="", now=NOW)
    assert not (home / "consortium.json").exists()
    with pytest.raises(UsageError, match="has not joined a consortium yet") as caught:
        Pinned.load(home)
    assert "wardround site join" in caught.value.advice


def forged(invite: bytes, by: SigningKey, **fields: object) -> Invite:
    return replace(open_invite(invite), coordinator_key=by.public, **fields)  # type: ignore[arg-type]


def test_an_invite_of_an_impostor_fails_by_its_words(home: Path, invite: bytes, server: ServerFile) -> None:
    fake = seal_invite(key(7), forged(invite, key(7), host="evil.example.org"))
    with pytest.raises(TrustError, match="the words do not belong"):
        join(home, fake, words=words(server), now=NOW)


def test_an_invite_for_somebody_else_is_refused(home: Path, server: ServerFile, invite: bytes) -> None:
    other = let_in(server, request("south", 2)).invite
    with pytest.raises(TrustError, match="this invite is for 'south'; here is 'north'"):
        joined(home, other, server)
    found = open_invite(invite)
    thief = replace(found, site=replace(found.site, key=key(5).public))
    with pytest.raises(TrustError, match="for another key of this hospital") as caught:
        joined(home, seal_invite(server.key(), thief), server)
    assert "somebody enrolled with this name" in caught.value.advice
    moved = replace(found, site=replace(found.site, node_key=node_line(3)))
    with pytest.raises(TrustError, match="for another node key"):
        joined(home, seal_invite(server.key(), moved), server)


@pytest.mark.parametrize("size", [0, 10, 500, -5])
def test_an_invite_that_was_cut_short_is_refused(
    home: Path, invite: bytes, server: ServerFile, size: int
) -> None:
    with pytest.raises(TrustError, match="one whole JSON object") as caught:
        joined(home, invite[:size], server)
    assert "sent again" in caught.value.advice


def test_the_certificate_in_an_invite_must_be_valid_now(
    home: Path, invite: bytes, server: ServerFile
) -> None:
    for days, why in ((-2, "this computer's clock says 2026-11-22"), (3654, "expired at 2036")):
        with pytest.raises(TrustError, match=why):
            join(home, invite, words=words(server), now=NOW + timedelta(days=days))
    authority = make_authority("hub", NOW)
    leaf = issue(authority, ("a",), NOW).certificate.decode()
    for ca, why in (
        (leaf, "not that of an authority"),
        ("", "one certificate"),
        (leaf[:99], "one certificate"),
    ):
        with pytest.raises(TrustError, match=why):
            joined(home, seal_invite(server.key(), replace(open_invite(invite), ca=ca)), server)
    assert not (home / "consortium.json").exists()


def test_joining_again_takes_a_new_address_of_the_same_coordinator_only(
    home: Path, invite: bytes, server: ServerFile
) -> None:
    joined(home, invite, server)
    moved = seal_invite(server.key(), replace(open_invite(invite), host="new.example.org"))
    assert joined(home, moved, server).address == Pinned.load(home).address == "new.example.org:8443"
    other = seal_invite(key(7), forged(invite, key(7)))
    with pytest.raises(TrustError, match="this hospital joined 'hub'"):
        join(home, other, words=spoken(key(7).public.fingerprint), now=NOW)
    assert Pinned.load(home).coordinator_key == server.key().public


def test_a_roster_is_accepted_remembered_and_never_older(
    home: Path, invite: bytes, server: ServerFile
) -> None:
    joined(home, invite, server)
    assert known_roster(home) is None
    first = signed_roster(server.folder)
    assert accept_roster(home, first).version == 1
    let_in(server, request("south", 2))
    second = signed_roster(server.folder)
    assert accept_roster(home, second).version == 2
    assert accept_roster(home, second).version == 2
    assert (home / "roster.json").read_bytes() == second
    with pytest.raises(TrustError, match="expected roster version 2 or newer, found 1"):
        accept_roster(home, first)
    known = known_roster(home)
    assert known is not None
    assert known.version == 2
    assert approved_peers(home) == {}


def test_two_rosters_of_one_version_or_of_another_signer_are_refused(
    home: Path, invite: bytes, server: ServerFile, tmp_path: Path
) -> None:
    joined(home, invite, server)
    twin = ServerFile.load(shutil.copytree(server.folder, tmp_path / "twin"))
    let_in(server, request("south", 2))
    let_in(twin, request("west", 3))
    accept_roster(home, signed_roster(server.folder))
    with pytest.raises(TrustError, match="two different rosters have version 2"):
        accept_roster(home, signed_roster(twin.folder))
    stranger = coordinator(tmp_path / "stranger")
    let_in(stranger, (home / "request.json").read_bytes())
    with pytest.raises(TrustError, match="the signature does not belong"):
        accept_roster(home, signed_roster(stranger.folder))


def test_a_hospital_that_was_removed_notices_and_an_older_roster_does_not_bring_it_back(
    home: Path, invite: bytes, server: ServerFile
) -> None:
    joined(home, invite, server)
    let_in(server, request("south", 2))
    old = signed_roster(server.folder)
    remove(server.folder, "north")
    with pytest.raises(TrustError, match="'north' does not stand in version 3 of the roster"):
        accept_roster(home, signed_roster(server.folder))
    with pytest.raises(TrustError, match="expected roster version 3 or newer, found 2"):
        accept_roster(home, old)


@pytest.mark.usefixtures("invite")
def test_without_having_joined_no_roster_is_taken(home: Path, server: ServerFile) -> None:
    with pytest.raises(UsageError, match="has not joined"):
        accept_roster(home, signed_roster(server.folder))
    with pytest.raises(UsageError, match="has not joined"):
        known_roster(home)


@pytest.mark.parametrize(
    ("change", "error", "why"),
    [
        ({"version": 2}, StorageError, "version 2; this release reads"),
        ({"format": "wardround-invite"}, StorageError, "found an invite"),
        ({"address": "nowhere"}, TrustError, "expected a port"),
        ({"extra": 1}, TrustError, "unknown key 'extra'"),
        ({"site": 3}, TrustError, "expected an address, a certificate and a site"),
    ],
)
def test_a_damaged_consortium_file_is_refused(
    home: Path, invite: bytes, server: ServerFile, change: dict[str, object], error: type[Exception], why: str
) -> None:
    joined(home, invite, server)
    path = home / "consortium.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(error, match=why):
        Pinned.load(home)


def test_a_consortium_file_of_version_1_stays_readable(tmp_path: Path) -> None:
    shutil.copyfile(GOLDEN / "consortium-v1.json", tmp_path / "consortium.json")
    pinned = Pinned.load(tmp_path)
    assert pinned == Pinned.of(open_invite((GOLDEN / "invite-v1.json").read_bytes()))
    assert (pinned.site, pinned.site_key, pinned.address) == ("north", key(1).public, "fl.example.org:8443")


@pytest.mark.usefixtures("quick_disk")
def test_after_a_crash_at_any_byte_the_request_is_made_and_self_consistent(
    home: Path, tmp_path: Path
) -> None:
    (tmp_path / "crashes").mkdir()
    for name in ("node.key", "node.pub", "request.json"):
        (home / name).unlink()

    def prepare(folder: Path) -> None:
        shutil.copytree(home, folder, dirs_exist_ok=True)

    def action(folder: Path, acknowledge: Acknowledge) -> None:
        make_request(folder)
        acknowledge("made")

    for crash in crash_points(tmp_path / "crashes", action, prepare=prepare):
        before = (crash.folder / "request.json").read_bytes() if crash.acknowledged else None
        data = make_request(crash.folder)
        assert before in (None, data)
        assert (crash.folder / "node.pub").read_text() == f"{open_request(data).node_key}\n"
