"""Peers: no key counts without the words of a person, whoever signed the file that it came in."""

import shutil
from pathlib import Path

import pytest
from tests.enrolling import GOLDEN, NOW, coordinator, key, let_in, request, site, words_of

from wardround.client.joining import accept_roster, join
from wardround.client.peering import approve_peer, find_key, own_key, roster_keys
from wardround.client.peers import approved_peers, remove_peer
from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.trust.words import spoken
from wardround.server.enrolment import signed_roster
from wardround.server.serverfile import ServerFile

SOUTH = request("south", 2)


@pytest.fixture
def server(tmp_path: Path) -> ServerFile:
    return coordinator(tmp_path / "co")


@pytest.fixture
def home(tmp_path: Path, server: ServerFile) -> Path:
    """A hospital that joined and saw a roster with one other hospital."""
    folder = tmp_path / "north"
    invite = let_in(server, site(folder, "north")).invite
    let_in(server, SOUTH)
    join(folder, invite, words=spoken(server.key().public.fingerprint), now=NOW)
    accept_roster(folder, signed_roster(server.folder))
    return folder


@pytest.mark.parametrize("where", ["roster seen", "request", "roster"])
def test_a_peer_is_approved_by_its_words_wherever_its_key_comes_from(
    home: Path, server: ServerFile, where: str
) -> None:
    sources = {"roster seen": None, "request": SOUTH, "roster": signed_roster(server.folder)}
    found = find_key(home, "south", sources[where])
    assert found == key(2).public
    assert approved_peers(home) == {}
    approve_peer(home, "south", found, words_of(SOUTH))
    assert approved_peers(home) == {"south": key(2).public}


def test_the_coordinators_word_never_suffices(home: Path, server: ServerFile) -> None:
    # The coordinator invents a key for a new hospital and has it in its signed roster.
    let_in(server, request("west", 6))
    accept_roster(home, signed_roster(server.folder))
    real = spoken(key(3).public.fingerprint)
    with pytest.raises(TrustError, match="the words do not belong to the key of west"):
        approve_peer(home, "west", find_key(home, "west", None), real)
    assert approved_peers(home) == {}


def test_a_peer_with_a_new_key_is_taken_off_the_list_first(home: Path) -> None:
    approve_peer(home, "south", key(2).public, words_of(SOUTH))
    renewed = request("south", 3)
    with pytest.raises(TrustError, match="'south' was approved with another key") as caught:
        approve_peer(home, "south", key(3).public, words_of(renewed))
    assert "site peers remove DIR 'south'" in caught.value.advice
    remove_peer(home, "south")
    assert approved_peers(home) == {}
    approve_peer(home, "south", key(3).public, words_of(renewed))
    with pytest.raises(UsageError, match="'west' is not an approved peer") as refused:
        remove_peer(home, "west")
    assert refused.value.advice == "approved: south"


def test_neither_this_hospital_nor_the_coordinator_is_a_peer(home: Path, server: ServerFile) -> None:
    name, own = own_key(home)
    for peer, found in ((name, key(2).public), ("twin", own)):
        with pytest.raises(UsageError, match="is this hospital itself"):
            approve_peer(home, peer, found, spoken(found.fingerprint))
    hub = server.key().public
    with pytest.raises(TrustError, match="has the key of the coordinator"):
        approve_peer(home, "east", hub, spoken(hub.fingerprint))
    assert approved_peers(home) == {}


def test_a_file_that_says_nothing_about_the_peer_is_refused(home: Path, server: ServerFile) -> None:
    with pytest.raises(UsageError, match="expected the key of 'west', found north, south"):
        find_key(home, "west", None)
    with pytest.raises(UsageError, match="expected the key of 'west', found south"):
        find_key(home, "west", SOUTH)
    with pytest.raises(StorageError, match="another kind of file"):
        find_key(home, "south", (home / "consortium.json").read_bytes())
    with pytest.raises(TrustError, match="one whole JSON object"):
        find_key(home, "south", SOUTH[:-9])
    with pytest.raises(TrustError, match="the signature does not belong"):
        find_key(home, "south", SOUTH.replace(b"south", b"sOuth"))


def test_a_roster_of_another_coordinator_gives_no_key(home: Path, tmp_path: Path) -> None:
    stranger = coordinator(tmp_path / "stranger")
    let_in(stranger, SOUTH)
    with pytest.raises(TrustError, match="the signature does not belong"):
        find_key(home, "south", signed_roster(stranger.folder))


def test_before_joining_only_a_peers_own_file_gives_its_key(tmp_path: Path) -> None:
    site(tmp_path / "north", "north")
    assert roster_keys(tmp_path / "north") == {}
    with pytest.raises(UsageError, match="found no key") as caught:
        find_key(tmp_path / "north", "south", None)
    assert "--from request.json" in caught.value.advice
    approve_peer(tmp_path / "north", "south", find_key(tmp_path / "north", "south", SOUTH), words_of(SOUTH))
    assert approved_peers(tmp_path / "north") == {"south": key(2).public}


def test_peers_of_version_1_stay_readable(tmp_path: Path) -> None:
    shutil.copyfile(GOLDEN / "peers-v1.toml", tmp_path / "peers.toml")
    assert approved_peers(tmp_path) == {"north": key(1).public, "Ärzte & Söhne": key(2).public}
