"""What a coordinator and two hospitals type, from nothing to approved peers, and what they read when it goes wrong."""

import io
import json
import stat
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.enrolling import words_of

from wardround.cli import main
from wardround.client.joining import Pinned, accept_roster
from wardround.client.peers import approved_peers
from wardround.common.trust.keyfile import PASSPHRASE
from wardround.common.trust.signed import utc_now
from wardround.common.trust.words import spoken
from wardround.server.certificates import SERVER_LIFE, Pair, issue
from wardround.server.enrolment import members, signed_roster
from wardround.server.serverfile import ServerFile

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Type a command in a folder; nobody can be asked anything."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.delenv(PASSPHRASE, raising=False)
    return lambda *words: main([str(word) for word in words])


def words(site: str) -> str:
    return words_of((Path(site) / "request.json").read_bytes())


def hub() -> str:
    return spoken(ServerFile.load("hub").key().public.fingerprint)


def consortium(run: Run, *names: str) -> None:
    assert run("server", "init", "hub", "--name", "hub", "--address", "localhost") == 0
    for name in names:
        assert run("site", "init", name, "--name", name, "--table", "t.csv") == 0
        assert run("server", "enrol", "hub", f"{name}/request.json", "--words", words(name)) == 0
        assert run("site", "join", name, f"hub/invites/{name}.json", "--words", hub()) == 0


def test_from_nothing_to_approved_peers(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    consortium(run, "north", "south")
    shown = capsys.readouterr().out
    for party in (hub(), words("north"), words("south")):
        assert party in " ".join(shown.split())
    assert (
        run(
            "site",
            "peers",
            "approve",
            "north",
            "south",
            "--from",
            "south/request.json",
            "--words",
            words("south"),
        )
        == 0
    )
    accept_roster("south", signed_roster("hub"))
    assert run("site", "peers", "list", "south") == 0
    assert "not approved here: north" in capsys.readouterr().out
    assert run("site", "peers", "approve", "south", "north", "east", "--words", words("north")) == 2
    assert approved_peers(Path("south")) == {}
    assert "one name beside --words" in capsys.readouterr().err
    assert run("site", "peers", "approve", "south", "north", "--fingerprint", words("north")) == 0
    assert list(approved_peers(Path("north"))) == ["south"]
    assert run("site", "peers", "list", "south") == 0
    assert "north (approved)" in capsys.readouterr().out
    assert run("site", "peers", "remove", "south", "north") == 0
    assert approved_peers(Path("south")) == {}
    assert Pinned.load("north").address == "localhost:8443"


def test_the_roster_shows_members_words_and_every_change(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    consortium(run, "north", "south")
    assert run("server", "remove", "hub", "south") == 0
    capsys.readouterr()
    assert run("server", "roster", "hub", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["version"], list(found["sites"])) == (3, ["north"])
    assert [change["change"] for change in found["changes"]] == ["enrol", "enrol", "remove"]
    assert run("server", "roster", "hub") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert hub() in shown
    assert words("north") in shown
    assert words("south") not in shown
    assert "Version 3 of the roster, 1 hospitals." in shown


def test_new_node_keys_go_through_request_and_replace(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    consortium(run, "north")
    before = members("hub")["north"]
    assert run("site", "request", "north", "--new-node-key") == 0
    enrol = ("server", "enrol", "hub", "north/request.json", "--words", words("north"))
    assert run(*enrol) == 6
    assert "--replace 'north'" in capsys.readouterr().err
    assert run(*enrol, "--replace", "north", "--out", "invite.json") == 0
    assert "the old ones stop working" in capsys.readouterr().out
    assert members("hub")["north"] != before
    assert run("site", "join", "north", "invite.json", "--words", hub()) == 0


@pytest.mark.parametrize(
    "command",
    [
        ("server", "enrol", "hub", "north/request.json"),
        ("site", "join", "north", "hub/invites/north.json"),
        ("site", "peers", "approve", "north", "south", "--from", "south/request.json"),
    ],
)
def test_no_key_comes_in_unseen(
    run: Run, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    consortium(run, "north", "south")
    assert run(*command) == 2
    assert '--words "WORD WORD ..."' in capsys.readouterr().err
    for agree in ("--yes", "-y"):
        with pytest.raises(SystemExit):
            run(*command, agree)
        assert "is refused: a key counts only after its words were compared" in capsys.readouterr().err
    assert run(*command, "--words", spoken("0" * 64)) == 6


def test_words_are_typed_at_a_terminal_and_not_shown_first(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    consortium(run, "north")
    (Path("north") / "consortium.json").unlink()
    capsys.readouterr()
    terminal = io.StringIO(hub().upper() + "\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert run("site", "join", "north", "hub/invites/north.json") == 0
    shown = capsys.readouterr().out
    assert "on a telephone number that you knew before" in shown
    assert not set(hub().split()) & set(shown.partition("Type them here")[0].split())


def test_a_passphrase_comes_from_the_environment_and_joins(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    init = ("site", "init", "north", "--name", "north", "--table", "t.csv", "--passphrase")
    assert run(*init) == 2
    assert not Path("north").exists()
    monkeypatch.setenv(PASSPHRASE, "long enough")
    assert run(*init) == 0
    assert (Path("north") / "identity.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED")
    assert run("server", "init", "hub", "--name", "hub", "--address", "10.0.0.7:9000") == 0
    assert run("server", "enrol", "hub", "north/request.json", "--words", words("north")) == 0
    join = ("site", "join", "north", "hub/invites/north.json", "--words", hub())
    assert run(*join) == 0
    monkeypatch.delenv(PASSPHRASE)
    assert run(*join) == 6
    assert run("site", "peers", "list", "north") == 0


def test_a_certificate_is_renewed_alone(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    consortium(run, "north")
    before = ServerFile.load("hub").certificate.read_bytes()
    capsys.readouterr()
    assert run("server", "init", "hub", "--renew-certificate") == 0
    assert "for localhost, 127.0.0.1, until" in capsys.readouterr().out
    assert ServerFile.load("hub").certificate.read_bytes() != before
    assert run("server", "init", "hub", "--renew-certificate", "--name", "other") == 2
    assert run("server", "init", "elsewhere", "--renew-certificate") == 9


def test_a_server_whose_certificate_expired_is_not_brought_up(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    consortium(run, "north")
    server = ServerFile.load("hub")
    authority = Pair(certificate=server.ca.read_bytes(), key=server.ca_key.read_bytes())
    old = issue(authority, [server.host], utc_now() - SERVER_LIFE - timedelta(seconds=1))
    server.certificate.write_bytes(old.certificate)
    assert run("server", "up", "hub") == 6
    said = capsys.readouterr().err
    assert "expired at" in said
    assert "--renew-certificate" in said


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("server", "init", "new"), 2, "needs --name and --address"),
        (
            ("server", "init", "new", "--name", "a", "--address", "http://x"),
            2,
            "host name and port|a port|host name",
        ),
        (("server", "init", "hub", "--name", "a", "--address", "x"), 2, "exists already"),
        (("server", "enrol", "hub", "none.json"), 9, "could not read none.json"),
        (("server", "enrol", "hub", "hub/invites/north.json"), 9, "found an invite"),
        (("server", "enrol", "hub", "north/site.toml"), 6, "one whole JSON object"),
        (("site", "join", "north", "north/request.json"), 9, "found a join request"),
        (("site", "join", "north", "north"), 9, "could not read north"),
        (("server", "remove", "hub", "nobody"), 2, "nobody called 'nobody'"),
        (("server", "roster", "north"), 9, "expected server.toml"),
    ],
)
def test_bad_input_is_named(
    run: Run, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], code: int, said: str
) -> None:
    consortium(run, "north")
    assert run(*command) == code
    error = capsys.readouterr().err
    assert any(part in error for part in said.split("|"))
    assert "What to do" in error or command[1] == "init"


def test_no_private_key_is_printed_or_in_a_file_to_send(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    consortium(run, "north")
    shown = capsys.readouterr().out
    secrets = [path for path in Path().rglob("*") if path.suffix in (".pem", ".key")]
    assert len(secrets) == 5
    sent = shown.encode() + b"".join(path.read_bytes() for path in Path().rglob("*.json"))
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not any(line in sent for line in path.read_bytes().splitlines()[1:-1])
