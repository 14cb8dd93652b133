"""A crowd of followers, a client that stops reading, cut connections and nonsense: no line is lost, no writer waits."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tests.flowerline import free_port, until
from tests.logs import STUDY, Service, Witness, Writer, hub, running, writer

from wardround.common.audit import logwire
from wardround.common.audit.followed import FollowedLog
from wardround.common.audit.logclient import LaterError, LogClient, credentials
from wardround.common.audit.witnessing import catch_up, cosigned, verified
from wardround.common.errors import TrustError
from wardround.common.trust.checkpoint import Checkpoint, SignedCheckpoint, verify
from wardround.common.trust.join import split_address
from wardround.common.trust.signed import utc_now
from wardround.server.logclients import Limits
from wardround.server.serverfile import ServerFile

FOLLOWERS = 100
PER_CLIENT = 4
LONG = "long"


class Follower(threading.Thread):
    """Follows until a number of lines was verified, through every cut."""

    def __init__(self, address: str, witness: Witness, log: FollowedLog, size: int) -> None:
        super().__init__(daemon=True)
        self.address, self.witness, self.log, self.wanted = address, witness, log, size
        self.cuts, self.problem = 0, ""

    def run(self) -> None:
        while not self.log.remembered or self.log.remembered.checkpoint.size < self.wanted:
            try:
                with LogClient(self.address, self.witness.given, self.witness.node_key) as client:
                    for new in verified(client, self.log):
                        if new.checkpoint.size >= self.wanted:
                            return
            except LaterError:
                self.cuts += 1
                time.sleep(0.05)
            except Exception as error:
                self.problem = repr(error)
                return


class Cable:
    """A line between a client and the service that can be cut: everything on it breaks off at once."""

    def __init__(self, address: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._to = split_address(address)
        self._pairs: list[socket.socket] = []
        self._door = socket.create_server(split_address(self.address))
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        for line in self._pairs:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._pairs = []

    def close(self) -> None:
        self._door.close()
        self.cut()

    def _serve(self) -> None:
        while True:
            try:
                inner, outer = self._door.accept()[0], socket.create_connection(self._to)
            except OSError:
                return
            self._pairs += [inner, outer]
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError), source:
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server(tmp_path: Path) -> ServerFile:
    return hub(tmp_path / "hub")


@contextmanager
def stalled(service: Service, witness: Witness) -> Iterator[None]:
    """A client that asks for everything and reads one message; 64 KiB are buffered for it."""
    secure, options = credentials(witness.given, witness.node_key), [("grpc.http2.bdp_probe", 0)]
    with grpc.secure_channel(service.address, secure, options=options) as channel:
        follow = channel.unary_stream(logwire.path("Follow"))
        stream = follow(logwire.request("Follow", study=LONG, start=0))
        next(stream)
        yield
        stream.cancel()


def noise(service: Service, witness: Witness, ended: threading.Event) -> None:
    """Requests that mean nothing, and lines that speak no TLS, again and again."""
    with witness.client(service) as client:
        for number in range(10_000):
            if ended.wait(0.05):
                return
            try:
                method = sorted(logwire.REQUESTS)[number % len(logwire.REQUESTS)]
                client._channel.unary_unary(logwire.path(method))(bytes([number % 256]) * (number % 99))
            except grpc.RpcError:
                pass
            with socket.create_connection(split_address(service.address), timeout=10) as line:
                line.sendall(b"\x16\x03\x01" + bytes(50))


def test_a_hundred_followers_get_every_line_beside_one_that_stopped_a_cut_line_and_noise(
    server: ServerFile, tmp_path: Path
) -> None:
    long = writer(server, study=LONG)
    long.add(30, long=200_000)  # more than a connection buffers
    long.sign()
    made = writer(server)
    made.add(20)
    made.sign()
    size, rounds = 21 + 3 * 4, 3
    witnesses = [Witness(server, tmp_path / f"w{n}", 100 + n) for n in range(FOLLOWERS // PER_CLIENT + 2)]
    *crowd, still, loud = witnesses
    limits = Limits(look=0.05, stall=1.0, streams=2 * PER_CLIENT, rate=100.0)
    ended = threading.Event()
    with running(server, limits) as service, stalled(service, still):
        cable = Cable(service.address)
        noisy = threading.Thread(target=noise, args=(service, loud, ended))
        noisy.start()
        followers = [
            Follower(
                cable.address if number % 10 == 0 else service.address,
                witness,
                FollowedLog(tmp_path / f"f{number}", STUDY, coordinator=witness.coordinator, cosigners={}),
                size,
            )
            for number, witness in enumerate(crowd * PER_CLIENT)
        ]
        for one in followers:
            one.start()
        slowest = 0.0
        for _ in range(rounds):
            before = time.perf_counter()
            made.add(4)
            made.sign()
            slowest = max(slowest, time.perf_counter() - before)
            time.sleep(0.2)
            cable.cut()
        for one in followers:
            one.join(120)
        ended.set()
        noisy.join(20)
        cable.close()
        until(lambda: service.calls.clients.streams == 0)
    assert f"{still.name} did not read and was dropped" in service.said
    assert [one.problem for one in followers if one.problem] == []
    assert len(followers) == FOLLOWERS
    assert {one.log.size for one in followers} == {size}
    assert sum(one.cuts for one in followers) > 0
    copies = {(tmp_path / f"f{n}" / "study-log.jsonl").read_bytes() for n in range(FOLLOWERS)}
    assert copies == {(made.folder / "study-log.jsonl").read_bytes()}
    assert slowest < 5.0, "the writer waited for a reader"


def test_a_witness_cosigns_each_checkpoint_as_the_study_goes_on(server: ServerFile, tmp_path: Path) -> None:
    made, witness = writer(server), Witness(server, tmp_path / "w", 50)
    made.sign()
    with running(server) as service, witness.client(service) as client:
        log = witness.log()
        stream = cosigned(client, log, witness.key, clock=utc_now)
        assert next(stream).checkpoint.size == 1
        made.add(2)
        made.sign()
        assert next(stream).checkpoint.size == 3
        stream.close()
        newest = client.checkpoint(STUDY)
        known = [witness.key.public]
        found = verify(newest, origin=made.origin, coordinator=witness.coordinator, cosigners=known)
        assert set(found) == {witness.key.public.fingerprint}


def test_a_witness_goes_on_after_a_crash_and_offers_what_it_cosigned_last(
    server: ServerFile, tmp_path: Path
) -> None:
    made, witness = writer(server), Witness(server, tmp_path / "w", 50)
    made.add(4)
    signed = made.sign()
    with running(server) as service, witness.client(service) as client:
        assert next(verified(client, witness.log())) == signed  # and it dies before it hands over
        assert client.checkpoint(STUDY) == signed
        assert (
            catch_up(client, witness.log(), witness.key, clock=utc_now, limit=60.0).checkpoint
            == signed.checkpoint
        )
        assert len(client.checkpoint(STUDY).signatures) == 2
        made.add(1)
        made.sign()
        service.look_now()
        log = witness.log()
        assert log.size == 5
        assert catch_up(client, log, witness.key, clock=utc_now, limit=60.0).checkpoint.size == 6
        assert witness.log().size == 6


def test_a_log_that_was_rolled_back_is_noticed_and_the_evidence_kept(
    server: ServerFile, tmp_path: Path
) -> None:
    made, witness = writer(server), Witness(server, tmp_path / "w", 50)
    made.add(1)
    early = {path: path.read_bytes() for path in made.folder.iterdir()}
    made.add(4)
    made.sign()
    with running(server) as service, witness.client(service) as client:
        catch_up(client, witness.log(), witness.key, clock=utc_now, limit=60.0)
    for path in made.folder.iterdir():
        path.unlink()
    for path, data in early.items():
        path.write_bytes(data)
    signed = Writer(made.folder, made.signer).sign()
    assert signed.checkpoint.size == 2
    with (
        running(server) as service,
        witness.client(service) as client,
        pytest.raises(TrustError, match="the log is shorter"),
    ):
        catch_up(client, witness.log(), witness.key, clock=utc_now, limit=60.0)
    assert (witness.folder / STUDY / "refused-2.note").read_bytes() == signed.encode()
    assert witness.log().size == 6


def test_a_rewritten_log_is_not_cosigned_and_the_evidence_is_kept(server: ServerFile, tmp_path: Path) -> None:
    made, witness = writer(server), Witness(server, tmp_path / "w", 50)
    made.add(1)
    made.sign()
    with running(server) as service, witness.client(service) as client:
        catch_up(client, witness.log(), witness.key, clock=utc_now, limit=60.0)
    for path in made.folder.iterdir():
        path.unlink()
    other = writer(server)
    other.log.append("round", {"round": 99})
    for count, words in ((0, "signed two different logs of 2 lines"), (3, "does not follow the line before")):
        other.add(count)
        signed = other.sign()
        with running(server) as service, witness.client(service) as client:
            with pytest.raises(TrustError, match=words):
                catch_up(client, witness.log(), witness.key, clock=utc_now, limit=60.0)
            assert len(client.checkpoint(STUDY).signatures) == 1
        kept = witness.folder / STUDY / f"refused-{2 + count}.note"
        assert kept.read_bytes() == signed.encode()


class Boasting(LogClient):
    """A service that names a checkpoint, and never shows it."""

    def checkpoint(self, study: str) -> SignedCheckpoint:
        """Of more lines than there are, under a signature that is nobody's."""
        said = super().checkpoint(study)
        far = Checkpoint(origin=said.checkpoint.origin, size=1000, root=bytes(32))
        return SignedCheckpoint(checkpoint=far, signatures=said.signatures)


def test_catching_up_with_lines_that_never_come_ends_in_time_and_keeps_what_was_verified(
    server: ServerFile, tmp_path: Path
) -> None:
    made, witness = writer(server), Witness(server, tmp_path / "w", 50)
    made.add(4)
    made.sign()
    log, began = witness.log(), time.monotonic()
    with (
        running(server) as service,
        Boasting(service.address, witness.given, witness.node_key) as client,
        pytest.raises(LaterError),
    ):
        catch_up(client, log, witness.key, clock=utc_now, limit=5.0)
    assert time.monotonic() - began < 30
    assert log.size == witness.log().size == 5
    assert not list(witness.folder.rglob("refused-*"))
