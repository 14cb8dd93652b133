"""From a request to a cosignature by commands alone: a witness, its coordinator, the service as a process."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.flowerline import free_port, until
from tests.logs import STUDY, Writer, listens

from wardround import cli
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.words import spoken
from wardround.server.serverfile import ServerFile


@pytest.fixture
def server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> ServerFile:
    folder = tmp_path / "hub"
    port = str(free_port())
    assert run("server", "init", folder, "--name", "hub", "--address", "localhost", "--log-port", port) == 0
    (tmp_path / "hub.pem").write_bytes(ServerFile.load(folder).key().public.pem())
    return ServerFile.load(folder)


@contextmanager
def service(server: ServerFile) -> Iterator[None]:
    """The log service as `server up` starts it; it ends at once when it is asked to."""
    key = server.key().public.encode()
    command = [sys.executable, "-m", "wardround.server.logservice", str(server.folder), "--coordinator", key]
    with subprocess.Popen(command) as made:
        try:
            until(lambda: listens(server.log_address), made)
            yield
        finally:
            made.terminate()
        assert made.wait(20) == 0


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def let_in(server: ServerFile, folder: Path) -> None:
    """Keys, request, words and pass of a witness."""
    assert run("audit", "request", folder, "--name", "State Commissioner") == 0
    words = spoken(SigningKey.load(folder / "identity.pem").public.fingerprint)
    done = run(
        *("server", "witness", server.folder, folder / "request.json"),
        *("--words", words, "--out", folder / "pass.json"),
    )
    assert done == 0


def follow(server: ServerFile, tmp_path: Path, *more: object) -> int:
    keys, state = tmp_path / "hub.pem", tmp_path / "w"
    return run("audit", "witness", server.log_address, "--keys", keys, "--state", state, "--once", *more)


def test_a_witness_is_let_in_follows_and_cosigns(
    server: ServerFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Writer(server.studies / STUDY / "federation", server.key())
    made.add(3)
    made.sign()
    let_in(server, tmp_path / "w")
    assert "it holds no secret" in capsys.readouterr().out
    with service(server):
        until(lambda: follow(server, tmp_path) == 0)
        shown = capsys.readouterr()
        assert "brca: 4 lines verified, root " in shown.out
        kept = (made.folder / "cosignatures.jsonl").read_bytes().splitlines()
        fingerprint = SigningKey.load(tmp_path / "w" / "identity.pem").public.fingerprint
        assert fingerprint in json.loads(kept[1])["note"]
        assert (tmp_path / "w" / STUDY / "study-log.jsonl").read_bytes().splitlines() == made.lines

        Writer(server.studies / "other" / "federation", server.key(), study="other").sign()
        until(lambda: follow(server, tmp_path) == 2)
        assert "expected one study at the log service, found 2" in capsys.readouterr().err
        assert follow(server, tmp_path, "--study", "other") == 0
        assert follow(server, tmp_path, "--study", "../x") == 2

        assert run("server", "witness", server.folder, "--withdraw", "State Commissioner") == 0
        assert follow(server, tmp_path) == 6
        assert "belongs to nobody who may follow the log now" in capsys.readouterr().err


def test_a_second_history_ends_it_with_exit_code_6(
    server: ServerFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    let_in(server, tmp_path / "w")
    made = Writer(server.studies / STUDY / "federation", server.key())
    made.add(1)
    made.sign()
    with service(server):
        assert follow(server, tmp_path) == 0
    for path in made.folder.iterdir():
        path.unlink()
    other = Writer(server.studies / STUDY / "federation", server.key())
    other.log.append("void", {"round": 1})
    other.add(1)
    other.sign()
    with service(server):
        assert follow(server, tmp_path) == 6
    assert "does not follow the line before" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "w" / STUDY).glob("refused-*")] == ["refused-3.note"]


def test_a_witness_without_a_pass_or_with_somebody_elses_is_told_so(
    server: ServerFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w").mkdir()
    assert follow(server, tmp_path) == 9
    assert "expected the coordinator's pass" in capsys.readouterr().err
    let_in(server, tmp_path / "w")
    let_in_again = (tmp_path / "w" / "pass.json").read_bytes()
    assert run("audit", "request", tmp_path / "v", "--name", "v") == 0
    (tmp_path / "v" / "pass.json").write_bytes(let_in_again)
    keys = tmp_path / "hub.pem"
    assert (
        run("audit", "witness", server.log_address, "--keys", keys, "--state", tmp_path / "v", "--once") == 6
    )
    assert "is for another key than identity.pem" in capsys.readouterr().err
    (tmp_path / "nobody.pem").write_bytes(keys.read_bytes())
    keys = tmp_path / "nobody.pem"
    assert (
        run("audit", "witness", server.log_address, "--keys", keys, "--state", tmp_path / "w", "--once") == 6
    )
    assert "expected the key of 'hub'" in capsys.readouterr().err


def test_a_request_made_again_has_the_same_keys(tmp_path: Path) -> None:
    def made() -> list[bytes]:
        assert run("audit", "request", tmp_path / "w", "--name", "w") == 0
        return [(tmp_path / "w" / name).read_bytes() for name in ("identity.pem", "node.key", "request.json")]

    assert made() == made()
