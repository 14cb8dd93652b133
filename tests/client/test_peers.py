"""The peers that a site approved: its own file, which nothing but people adds to."""

import stat
from pathlib import Path

import pytest

from wardround.client.peers import FILE, approve_peers, approved_peers
from wardround.common.errors import ProtocolError, StorageError, TrustError, WardroundError
from wardround.common.trust.identity import PublicKey, SigningKey


def keys(*names: str) -> dict[str, PublicKey]:
    return {name: SigningKey.generate().public for name in names}


def test_nobody_is_approved_at_first(tmp_path: Path) -> None:
    assert approved_peers(tmp_path) == {}


def test_what_was_approved_is_read_back_and_added_to(tmp_path: Path) -> None:
    first, second = keys("Ärzte & Söhne", "north"), keys("a b")
    approve_peers(tmp_path, first)
    approve_peers(tmp_path, second)
    approve_peers(tmp_path, {**first, **second})
    assert approved_peers(tmp_path) == {**first, **second}
    assert list(approved_peers(tmp_path)) == sorted({**first, **second})
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_the_same_peers_again_write_nothing(tmp_path: Path) -> None:
    first = keys("north")
    approve_peers(tmp_path, first)
    before = (tmp_path / FILE).stat().st_ino
    approve_peers(tmp_path, first)
    assert (tmp_path / FILE).stat().st_ino == before


def test_a_changed_key_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    first = keys("north", "south")
    approve_peers(tmp_path, first)
    with pytest.raises(TrustError, match="'north' was approved with another key"):
        approve_peers(tmp_path, keys("north"))
    assert approved_peers(tmp_path) == first


def test_one_hospital_does_not_count_as_two(tmp_path: Path) -> None:
    (key,) = keys("north").values()
    approve_peers(tmp_path, {"north": key})
    with pytest.raises(TrustError, match="the same key"):
        approve_peers(tmp_path, {"second-north": key})
    text = (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text(text + f'"second-north" = "{key.encode()}"\n')
    with pytest.raises(TrustError, match="the same key"):
        approved_peers(tmp_path)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 5000])
def test_a_name_that_no_envelope_can_carry_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WardroundError):
        approve_peers(tmp_path, keys(name))
    assert not (tmp_path / FILE).exists()


HEAD = 'format = "wardround-peers"\nversion = 1\n'
BAD: list[tuple[str, type[WardroundError]]] = [
    ("peers", ProtocolError),
    (HEAD.replace("peers", "site"), StorageError),
    (HEAD.replace("1", "2"), StorageError),
    (HEAD + 'trusted = "all"\n', ProtocolError),
    (HEAD + 'peers = "all"\n', ProtocolError),
    (HEAD + '[peers]\nnorth = "no key"\n', TrustError),
    (HEAD + "[peers]\nnorth = 5\n", WardroundError),
]


@pytest.mark.parametrize(("text", "error"), BAD, ids=[text[-20:] for text, _ in BAD])
def test_a_file_that_cannot_be_understood_approves_nobody(
    tmp_path: Path, text: str, error: type[WardroundError]
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(error):
        approved_peers(tmp_path)
