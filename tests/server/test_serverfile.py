"""The coordinator's folder: what is made, who may read it, and what is refused."""

import shutil
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from tests.crashes import Acknowledge, crash_points
from tests.enrolling import GOLDEN, NOW, coordinator

from wardround.common.errors import ProtocolError, StorageError, TrustError, UsageError
from wardround.common.trust.certcheck import check_server_certificate, server_names
from wardround.server.serverfile import ServerFile, create_server, renew_certificate

PRIVATE = ("identity.pem", "tls/ca.key", "tls/server.key", "server.toml")


def test_a_new_coordinator_reads_back_and_its_secrets_are_its_owners(tmp_path: Path) -> None:
    server = coordinator(tmp_path / "co")
    assert ServerFile.load(tmp_path / "co") == server
    assert server.address == "fl.example.org:8443"
    for name in PRIVATE:
        assert stat.S_IMODE((server.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert check_server_certificate(
        server.certificate.read_bytes(), server.ca.read_bytes(), host=server.host, now=NOW
    ) == NOW + timedelta(days=397)


def test_a_coordinator_is_never_made_over_another(tmp_path: Path) -> None:
    server = coordinator(tmp_path / "co")
    before = {path: path.read_bytes() for path in server.folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="exists already"):
        coordinator(tmp_path / "co")
    assert {path: path.read_bytes() for path in server.folder.rglob("*") if path.is_file()} == before


def test_the_certificate_is_renewed_for_the_names_of_today_and_the_authority_stays(tmp_path: Path) -> None:
    server = coordinator(tmp_path / "co")
    ca = server.ca.read_bytes()
    text = (server.folder / "server.toml").read_text()
    (server.folder / "server.toml").write_text(
        text.replace("fl.example", "new.example").replace("names = []", 'names = ["a"]')
    )
    later = NOW + timedelta(days=390)
    assert renew_certificate(ServerFile.load(server.folder), now=later) == later + timedelta(days=397)
    assert server.ca.read_bytes() == ca
    assert server_names(server.certificate.read_bytes())[:2] == ("new.example.org", "a")


def test_a_coordinator_may_do_without_an_archive_and_nothing_else_is_understood(tmp_path: Path) -> None:
    server = coordinator(tmp_path / "co")
    assert server.archive == "keep"
    path = server.folder / "server.toml"
    text = path.read_text()
    path.write_text(text + 'archive = "none"\n')
    assert ServerFile.load(server.folder).archive == "none"
    path.write_text(text + 'archive = "some"\n')
    with pytest.raises(ProtocolError, match="archive"):
        ServerFile.load(server.folder)


@pytest.mark.parametrize("name", ["ca.crt", "ca.key"])
def test_without_its_authority_nothing_is_renewed(tmp_path: Path, name: str) -> None:
    server = coordinator(tmp_path / "co")
    before = server.certificate.read_bytes()
    (server.tls / name).write_bytes(b"")
    with pytest.raises(TrustError, match=r"expected a certificate in ca.crt"):
        renew_certificate(server, now=NOW)
    (server.tls / name).unlink()
    with pytest.raises(StorageError, match="could not read the certificate authority") as caught:
        renew_certificate(server, now=NOW)
    assert "every hospital needs a new invite" in caught.value.advice
    assert server.certificate.read_bytes() == before


def test_a_folder_without_a_coordinator_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"expected server.toml") as caught:
        ServerFile.load(tmp_path)
    assert "wardround server init" in caught.value.advice


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("version = 1", "version = 2", StorageError),
        ("wardround-server", "wardround-site", StorageError),
        ("fl.example.org:8443", "fl.example.org", ProtocolError),
        ("fl.example.org:8443", "http://fl.example.org:8443", ProtocolError),
        ("0.0.0.0", "everywhere!", ProtocolError),  # noqa: S104  (read from the file)
        ("names = []", 'names = ["a b"]', ProtocolError),
        ("names = []", "names = 3", ProtocolError),
        ("names = []", "color = 3", ProtocolError),
        ("name = ", "nome = ", ProtocolError),
    ],
)
def test_a_server_file_that_cannot_be_meant_is_refused(
    tmp_path: Path, old: str, new: str, error: type[Exception]
) -> None:
    path = coordinator(tmp_path / "co").folder / "server.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(error):
        ServerFile.load(path.parent)


def test_a_server_file_of_version_1_stays_readable(tmp_path: Path) -> None:
    shutil.copyfile(GOLDEN / "server-v1.toml", tmp_path / "server.toml")
    assert ServerFile.load(tmp_path) == ServerFile(
        folder=tmp_path, name="hub", host="fl.example.org", port=8443, listen="10.0.0.7", names=("hub.local",)
    )


@pytest.mark.usefixtures("quick_disk")
def test_after_a_crash_at_any_byte_the_same_call_goes_on(tmp_path: Path) -> None:
    def action(folder: Path, acknowledge: Acknowledge) -> None:
        server = ServerFile(folder=folder, name="hub", host="fl.example.org", port=8443)
        acknowledge(create_server(server, now=NOW).public.encode())

    for crash in crash_points(tmp_path, action):
        server = ServerFile(folder=crash.folder, name="hub", host="fl.example.org", port=8443)
        if crash.acknowledged:
            assert ServerFile.load(crash.folder).key().public.encode() == crash.acknowledged[0]
        elif (crash.folder / "server.toml").exists():
            server = ServerFile.load(crash.folder)
        else:
            create_server(server, now=NOW)
        check_server_certificate(
            server.certificate.read_bytes(), server.ca.read_bytes(), host=server.host, now=NOW
        )
