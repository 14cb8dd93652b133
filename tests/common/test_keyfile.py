"""Private keys with a passphrase: who is asked, what is refused, and that nothing readable is on disk."""

import getpass
import io
import stat
import sys
from pathlib import Path

import pytest
from tests.enrolling import key

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.keyfile import PASSPHRASE, new_passphrase, passphrase_for

SECRET = "correct horse battery"  # noqa: S105


@pytest.fixture(autouse=True)
def _no_passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSPHRASE, raising=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    path = tmp_path / "identity.pem"
    key(1).save(path, passphrase=SECRET)
    return path


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Somebody types these answers; gives the questions."""
    asked: list[str] = []
    typed = iter(answers)

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return next(typed)

    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(getpass, "getpass", answer)
    return asked


def test_a_locked_key_is_encrypted_on_disk_and_for_its_owner_only(locked: Path) -> None:
    assert locked.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert stat.S_IMODE(locked.stat().st_mode) == 0o600
    assert sorted(path.name for path in locked.parent.iterdir()) == ["identity.pem"]


def test_the_passphrase_comes_from_the_environment(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, SECRET)
    assert SigningKey.load(locked).public == key(1).public
    assert passphrase_for(locked) == SECRET


def test_or_from_the_terminal_asking_for_the_file_by_name(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = at_a_terminal(monkeypatch, SECRET)
    assert SigningKey.load(locked).public == key(1).public
    assert asked == [f"Passphrase of {locked}: "]


def test_or_from_the_caller(locked: Path) -> None:
    assert SigningKey.load(locked, passphrase=SECRET).public == key(1).public


def test_without_either_the_error_says_what_to_set(locked: Path) -> None:
    for read in (SigningKey.load, passphrase_for):
        with pytest.raises(TrustError, match="nobody can be asked") as caught:
            read(locked)
        assert PASSPHRASE in caught.value.advice


def test_a_wrong_passphrase_is_refused_and_not_repeated(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE, "wrong and secret")
    for read in (SigningKey.load, passphrase_for):
        with pytest.raises(TrustError, match=r"could not open .* with this passphrase") as caught:
            read(locked)
        assert "wrong and secret" not in caught.value.diagnostics()


def test_a_key_without_passphrase_never_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key(2).save(tmp_path / "identity.pem")
    asked = at_a_terminal(monkeypatch)
    assert SigningKey.load(tmp_path / "identity.pem").public == key(2).public
    assert passphrase_for(tmp_path / "identity.pem") == ""
    assert asked == []


def test_a_locked_key_that_was_cut_short_is_refused(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, SECRET)
    locked.write_bytes(locked.read_bytes()[:90])
    with pytest.raises(TrustError, match="could not open"):
        SigningKey.load(locked)
    with pytest.raises(StorageError, match="could not read the key"):
        passphrase_for(locked.with_name("none"))


def test_a_new_passphrase_is_typed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch, SECRET, SECRET)
    assert new_passphrase() == SECRET
    at_a_terminal(monkeypatch, SECRET, SECRET + ".")
    with pytest.raises(UsageError, match="differ"):
        new_passphrase()
    at_a_terminal(monkeypatch, "short", "short")
    with pytest.raises(UsageError, match="at least 8"):
        new_passphrase()


def test_a_new_passphrase_needs_somebody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no terminal"):
        new_passphrase()
    monkeypatch.setenv(PASSPHRASE, SECRET)
    assert new_passphrase() == SECRET
