"""Letting witnesses follow the logs: words, names and keys of their own, and passes that hold no secret."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.enrolling import NOW, clock, key, let_in, node_line, request, words_of
from tests.logs import hub

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.trust.logpass import LogPass, open_pass, seal_pass
from wardround.common.trust.studylog import read_own_log
from wardround.server.enrolment import current_roster, remove
from wardround.server.serverfile import ServerFile, create_server
from wardround.server.witnesses import admit, read_witnesses, withdraw

WATCH = request("watch", 70)


@pytest.fixture
def server(tmp_path: Path) -> ServerFile:
    return hub(tmp_path / "hub")


def admitted(server: ServerFile, data: bytes, *, replace: str = "") -> LogPass:
    path = admit(server.folder, data, words=words_of(data), replace=replace)
    return open_pass(path.read_bytes(), server.key().public)


def test_a_witness_gets_a_pass_and_a_line_in_a_signed_log(server: ServerFile) -> None:
    given = admitted(server, WATCH)
    assert (given.coordinator, given.address) == ("hub", "127.0.0.1:8444")
    assert (given.witness.name, given.witness.node_key) == ("watch", node_line(70))
    entries = read_own_log(server.witnesses, server.key().public)
    assert [(entry.kind, entry.data["name"]) for entry in entries] == [("enrol", "watch")]


def test_its_certificate_is_for_its_node_key_and_for_nothing_but_connections(server: ServerFile) -> None:
    given = admitted(server, WATCH)
    made = x509.load_pem_x509_certificate(given.certificate.encode())
    ca = x509.load_pem_x509_certificate(server.ca.read_bytes())
    made.verify_directly_issued_by(ca)
    assert made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.CLIENT_AUTH]
    )
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert 396 <= (made.not_valid_after_utc - made.not_valid_before_utc).days <= 398
    assert b"PRIVATE" not in (server.folder / "passes" / "watch.json").read_bytes()


def test_a_pass_is_made_anew_and_the_log_stays(server: ServerFile) -> None:
    first, second = admitted(server, WATCH), admitted(server, WATCH)
    assert first.certificate != second.certificate
    assert len(read_own_log(server.witnesses, server.key().public)) == 1


def test_a_key_comes_in_only_with_its_words(server: ServerFile) -> None:
    with pytest.raises(TrustError, match="the words do not belong to the key of watch"):
        admit(server.folder, WATCH, words=words_of(request("watch", 71)))
    assert not server.witnesses.exists()


def test_a_member_gets_a_pass_and_no_line(server: ServerFile) -> None:
    data = request("east", 31)
    let_in(server, data)
    assert admitted(server, data).witness.name == "east"
    assert not server.witnesses.exists()


@pytest.mark.parametrize(
    "data",
    [request("east", 72), request("watch", 31, node=72), request("watch", 72, node=31), request("hub", 72)],
)
def test_a_witness_has_a_name_and_keys_of_its_own(server: ServerFile, data: bytes) -> None:
    let_in(server, request("east", 31))
    for _ in range(2):
        with pytest.raises(TrustError, match="belongs to a member of the consortium, or did"):
            admitted(server, data)
        if "east" in current_sites(server):
            let_in(server, request("north", 32))
            remove(server.folder, "east")


def current_sites(server: ServerFile) -> set[str]:
    return set(current_roster(server.folder).roster.sites)


def test_a_witness_is_in_no_roster(server: ServerFile) -> None:
    let_in(server, request("east", 31))
    admitted(server, WATCH)
    assert current_sites(server) == {"east"}


def test_who_was_taken_out_keeps_its_name(server: ServerFile) -> None:
    admitted(server, WATCH)
    withdraw(server.folder, "watch", clock=clock)
    assert not read_witnesses(server, server.key().public).sites
    with pytest.raises(UsageError, match="no witness is called 'watch'"):
        withdraw(server.folder, "watch")
    with pytest.raises(TrustError, match="'watch' is the name of another key"):
        admitted(server, request("watch", 71))
    admitted(server, WATCH)
    assert set(read_witnesses(server, server.key().public).sites) == {"watch"}


def test_without_a_log_service_there_is_no_pass(tmp_path: Path) -> None:
    plain = ServerFile(folder=tmp_path / "hub", name="hub", host="127.0.0.1", port=8443)
    create_server(plain, now=NOW)
    with pytest.raises(UsageError, match="no log service is set up"):
        admit(plain.folder, WATCH, words=words_of(WATCH))
    assert not plain.witnesses.exists()


def test_a_pass_of_somebody_else_or_a_changed_one_is_refused(server: ServerFile) -> None:
    given = admitted(server, WATCH)
    data = seal_pass(server.key(), given)
    with pytest.raises(TrustError):
        open_pass(data, key(7).public)
    with pytest.raises(TrustError):
        open_pass(data.replace(b"8444", b"8445"), server.key().public)
    with pytest.raises(StorageError, match="expected a pass for a log service"):
        open_pass(WATCH, server.key().public)
    with pytest.raises(UsageError, match="expected the key of the pass's own coordinator"):
        seal_pass(key(7), given)
