"""A coordinator's folder with a growing study log, its log service on loopback, and witnesses with their passes."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from tests.enrolling import key as key_of
from tests.enrolling import node_line, request, words_of
from tests.flowerline import free_port, until
from tests.studies import RUN

from wardround.common.audit.followed import FollowedLog
from wardround.common.audit.logclient import LogClient
from wardround.common.durable import append_line
from wardround.common.formats import digest
from wardround.common.trust.checkpoint import Checkpoint, SignedCheckpoint, origin, sign
from wardround.common.trust.checkpointfile import CHECKPOINTS, checkpoint_line
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.join import split_address
from wardround.common.trust.logpass import LogPass, open_pass
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import utc_now
from wardround.common.trust.studylog import StudyLog
from wardround.server.logcalls import LogService
from wardround.server.logclients import Limits
from wardround.server.logservice import serve
from wardround.server.logview import LOG
from wardround.server.serverfile import ServerFile, create_server
from wardround.server.witnesses import admit

STUDY = "brca"
PROTOCOL = digest(b"the protocol")


class Writer:
    """What `server start` does to the log of a study: lines, and a checkpoint after them."""

    def __init__(self, folder: Path, signer: SigningKey, *, study: str = STUDY) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.signer = signer
        self.origin = origin(study, PROTOCOL, RUN)
        self.log = StudyLog(folder / LOG, signer)
        self.log.append_once("protocol", {"digest": PROTOCOL, "name": study, "run": RUN})

    @property
    def lines(self) -> list[bytes]:
        return (self.folder / LOG).read_bytes().splitlines()

    def add(self, count: int, *, long: int = 0) -> None:
        """Some lines, each with `long` bytes of text."""
        for number in range(count):
            self.log.append("round", {"round": number, "note": "x" * long})

    def sign(self) -> SignedCheckpoint:
        """A checkpoint over all lines, written beside the log."""
        tree = Tree(self.lines)
        signed = sign(self.signer, Checkpoint(origin=self.origin, size=tree.size, root=tree.root()))
        append_line(self.folder / CHECKPOINTS, checkpoint_line(signed))
        return signed


class Service:
    """A running log service, in a thread with its own loop."""

    def __init__(self, server: ServerFile, limits: Limits) -> None:
        self.said: list[str] = []
        self.server = server
        self.address = f"127.0.0.1:{free_port()}"
        self._ready = threading.Event()

        async def run() -> None:
            self.ended = asyncio.Event()
            self.loop = asyncio.get_running_loop()
            self.calls = LogService(server, server.key().public, limits, say=self.said.append)
            self._ready.set()
            await serve(self.calls, server, self.ended, address=self.address)

        self._thread = threading.Thread(target=lambda: asyncio.run(run()))
        self._thread.start()
        assert self._ready.wait(10)
        until(lambda: listens(self.address))

    def look_now(self) -> None:
        """Let the service look at its files, and wait until it has."""

        async def look() -> None:
            self.calls.look()

        asyncio.run_coroutine_threadsafe(look(), self.loop).result(20)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.ended.set)
        self._thread.join(20)
        assert not self._thread.is_alive()


def listens(address: str) -> bool:
    try:
        socket.create_connection(split_address(address), timeout=5).close()
    except OSError:
        return False
    return True


def hub(folder: Path) -> ServerFile:
    """A coordinator's folder with a log service on a free port."""
    server = ServerFile(
        folder=folder, name="hub", host="127.0.0.1", port=8443, listen="127.0.0.1", log_port=8444
    )
    create_server(server, now=utc_now())
    return server


def writer(server: ServerFile, *, study: str = STUDY) -> Writer:
    return Writer(server.studies / study / "federation", server.key(), study=study)


@contextmanager
def running(server: ServerFile, limits: Limits | None = None) -> Iterator[Service]:
    service = Service(server, limits or Limits(look=0.05))
    try:
        yield service
    finally:
        service.stop()


class Witness:
    """An outside witness that was let in."""

    def __init__(self, server: ServerFile, folder: Path, number: int, *, name: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = key_of(number)
        private = ec.derive_private_key(1000 + number, ec.SECP384R1())
        self.node_key = folder / "node.key"
        self.node_key.write_bytes(
            private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.OpenSSH, pem.NoEncryption())
        )
        self.name = name or f"witness-{number}"
        data = request(self.name, number)
        self.pass_path = admit(server.folder, data, words=words_of(data))
        self.coordinator = server.key().public
        self.given: LogPass = open_pass(self.pass_path.read_bytes(), self.coordinator)
        assert self.given.witness.node_key == node_line(number)

    def given_with(self, *, ca: str) -> LogPass:
        """Its pass, with another authority for the service."""
        return replace(self.given, ca=ca)

    def client(self, service: Service) -> LogClient:
        return LogClient(service.address, self.given, self.node_key)

    def log(self, study: str = STUDY) -> FollowedLog:
        return FollowedLog(self.folder / study, study, coordinator=self.coordinator, cosigners={})
