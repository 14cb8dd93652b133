"""What the log service shows of files that are being written, torn or changed, and how much one client may use."""

import contextlib
from pathlib import Path

import pytest
from tests.flowerline import until
from tests.logs import STUDY, Service, Witness, Writer, hub, running, writer

from wardround.common.audit.logclient import LaterError, LogClient, ShorterError
from wardround.common.audit.logwire import Page
from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.checkpoint import Checkpoint, cosign, sign
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import utc_now
from wardround.server.logclients import Limits
from wardround.server.serverfile import ServerFile

GENEROUS = Limits(rate=1e6, burst=1e6, look=0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ServerFile:
    return hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def written(server: ServerFile) -> Writer:
    made = writer(server)
    made.add(20)
    made.sign()
    return made


def test_a_cosignature_is_kept_and_shown_once(server: ServerFile, tmp_path: Path) -> None:
    made = writer(server, study="kept")
    signed = made.sign()
    witness = Witness(server, tmp_path, 55)
    first = cosign(witness.key, signed.checkpoint, time=utc_now())
    with running(server, GENEROUS) as service, witness.client(service) as client:
        client.cosign("kept", 1, first)
        client.cosign("kept", 1, cosign(witness.key, signed.checkpoint, time=utc_now()))
        assert client.checkpoint("kept") == signed.with_signatures([first])
    lines = (made.folder / "cosignatures.jsonl").read_bytes().splitlines()
    assert len(lines) == 2  # the format, and the one
    with running(server, GENEROUS) as service, witness.client(service) as client:
        assert client.checkpoint("kept") == signed.with_signatures([first])


def test_what_is_not_signed_yet_or_torn_is_not_shown(server: ServerFile, tmp_path: Path) -> None:
    made = writer(server, study="torn")
    witness = Witness(server, tmp_path, 56)
    with running(server, GENEROUS) as service, witness.client(service) as client:
        with pytest.raises(UsageError, match="no such checkpoint"):
            client.checkpoint("torn")
        made.sign()
        made.add(1)
        until_size(service, "torn", 1)
        whole = made.lines
        signed_before = (made.folder / "checkpoints.jsonl").read_bytes()
        with (made.folder / "study-log.jsonl").open("ab") as file:
            file.write(b'{"payload":"half of a li')
        checkpoint = Checkpoint(
            origin=made.origin, size=3, root=Tree([*whole, b'{"payload":"half of a li']).root()
        )
        with (made.folder / "checkpoints.jsonl").open("ab") as file:
            file.write(b'{"note":"' + sign(made.signer, checkpoint).encode()[:40])
        service.look_now()
        assert client.studies()["torn"] == 1
        with pytest.raises(ShorterError):
            client.entries("torn", 1, 1)
        again = Writer(made.folder, made.signer, study="torn")  # which cuts the torn line off
        again.add(1)
        (made.folder / "checkpoints.jsonl").write_bytes(signed_before)
        again.sign()
        until_size(service, "torn", 3)
        assert client.entries("torn", 0, 9).lines == tuple(again.lines)


def test_lines_that_a_full_disk_took_back_are_not_a_change(server: ServerFile, tmp_path: Path) -> None:
    """The writer cuts off what could not be made durable, and writes something else there later."""
    made = writer(server, study="full")
    made.sign()
    paths = [made.folder / "study-log.jsonl", made.folder / "checkpoints.jsonl"]
    before = [path.read_bytes() for path in paths]
    witness = Witness(server, tmp_path, 64)
    with running(server, GENEROUS) as service, witness.client(service) as client:
        made.add(1)
        (made.folder / "checkpoints.jsonl").write_bytes(before[1] + before[1])
        service.look_now()
        for path, data in zip(paths, before, strict=True):
            path.write_bytes(data)
        service.look_now()
        again = Writer(made.folder, made.signer, study="full")
        again.log.append("void", {"round": 1})
        again.sign()
        until_size(service, "full", 2)
        assert client.entries("full", 0, 9).lines == tuple(again.lines)


def test_a_log_that_was_changed_is_never_shown_again(server: ServerFile, tmp_path: Path) -> None:
    made = writer(server, study="changed")
    made.add(3)
    made.sign()
    witness = Witness(server, tmp_path, 57)
    path = made.folder / "study-log.jsonl"
    good = path.read_bytes()
    with running(server, GENEROUS) as service, witness.client(service) as client:
        assert client.studies()["changed"] == 4
        path.write_bytes(good.replace(b"A", b"B"))
        with pytest.raises(TrustError, match="the files of this log were changed") as caught:
            client.entries("changed", 0, 4)
        assert str(server.folder) not in str(caught.value)
        path.write_bytes(good[:100])
        service.look_now()
        path.write_bytes(good)
        service.look_now()
        with pytest.raises(TrustError, match="the files of this log were changed"):
            client.checkpoint("changed")
        assert "changed" not in client.studies()
    assert any("is shorter than it was" in line for line in service.said)


def test_a_checkpoint_of_other_lines_is_not_shown(server: ServerFile, tmp_path: Path) -> None:
    made = writer(server, study="other-lines")
    made.sign()
    (made.folder / "study-log.jsonl").write_bytes(b"{}\n")
    witness = Witness(server, tmp_path, 58)
    with (
        running(server, GENEROUS) as service,
        witness.client(service) as client,
        pytest.raises(TrustError, match="the files of this log were changed"),
    ):
        client.checkpoint("other-lines")
    assert any("is not the log that its checkpoint of 1 lines covers" in line for line in service.said)


def test_a_client_that_asks_too_often_waits_and_others_do_not(server: ServerFile, tmp_path: Path) -> None:
    hasty, calm = Witness(server, tmp_path / "a", 59), Witness(server, tmp_path / "b", 60)
    with (
        running(server, Limits(rate=0.001, burst=5)) as service,
        hasty.client(service) as one,
        calm.client(service) as other,
    ):
        for _ in range(5):
            one.studies()
        with pytest.raises(LaterError, match="too many calls"):
            one.studies()
        other.studies()


def test_a_client_follows_only_so_many_streams_at_a_time(
    server: ServerFile, written: Writer, tmp_path: Path
) -> None:
    greedy, calm = Witness(server, tmp_path / "a", 61), Witness(server, tmp_path / "b", 62)
    with (
        running(server, Limits(streams=2, look=0.05)) as service,
        greedy.client(service) as one,
        calm.client(service) as other,
    ):
        streams = [one.follow(STUDY, 0) for _ in range(2)]
        for stream in streams:
            next(stream)
        with pytest.raises(LaterError, match="too many streams"):
            next(one.follow(STUDY, 0))
        assert isinstance(next(other.follow(STUDY, 0)), Page)
        streams[0].close()
        assert isinstance(first_of(one), Page)


def first_of(client: LogClient) -> object:
    """What a stream begins with, once the service noticed that another one ended."""
    found: list[object] = []

    def begun() -> bool:
        with contextlib.suppress(LaterError):
            found.append(next(client.follow(STUDY, 0)))
        return bool(found)

    until(begun)
    return found[0]


def until_size(service: Service, study: str, size: int) -> None:
    def there() -> bool:
        service.look_now()
        return service.calls.sizes().get(study) == size

    until(there)
