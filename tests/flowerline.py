"""A SuperLink, SuperNodes and executors as real processes on loopback, with real TLS and keys, for tests."""

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flwr.app import Context, Message
from flwr.serverapp import Grid, ServerApp

from wardround.common.flower.internals_calls import healthy
from wardround.common.flower.nodekeys import new_node_key
from wardround.common.flower.nodes import register, registered
from wardround.common.flower.places import (
    LinkPlace,
    NodePlace,
    environment,
    superlink_command,
    supernode_command,
)
from wardround.common.flower.records import pack
from wardround.common.flower.serving import serve

LIMIT = 90.0  # seconds for a process to be ready on a busy machine
ROOT = Path(__file__).resolve().parent.parent


class Line:
    """Processes below one folder; all are stopped at the end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        ca, certificate, key = certificates(root / "tls")
        self.place = LinkPlace(
            host="127.0.0.1",
            port=free_port(),
            ca=ca,
            certificate=certificate,
            key=key,
            home=root / "flower",
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def link(self) -> subprocess.Popen[bytes]:
        """Start the SuperLink and wait for it."""
        process = self.start("superlink", superlink_command(self.place))
        until(lambda: healthy(self.place.loopback, self.place.ca), process)
        return process

    def node_place(self, name: str) -> NodePlace:
        """Where a site's SuperNode stands; its key is made on first use."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        if not (folder / "node.key").exists():
            new_node_key(folder / "node.key")
        return NodePlace(
            superlink=self.place.loopback, ca=self.place.ca, key=folder / "node.key", home=folder / "flower"
        )

    def enrol(self, name: str) -> int:
        """Let a site's SuperNode connect."""
        place = self.node_place(name)
        return register(self.place, name, place.key.with_suffix(".pub").read_text(encoding="ascii"))

    def node(self, name: str) -> subprocess.Popen[bytes]:
        """Start a site's SuperNode and wait until the SuperLink knows that it is there."""
        self.enrol(name)
        process = self.start(f"{name}-node", supernode_command(self.node_place(name)))
        until(lambda: self.online(name), process)
        return process

    def online(self, name: str) -> bool:
        """Whether the SuperLink counts a site as there."""
        return any(node.name == name and node.status == "online" for node in registered(self.place))

    def executor(self, name: str) -> subprocess.Popen[bytes]:
        """Start a site's executor with the toy site."""
        return self.start(f"{name}-executor", [sys.executable, "-m", "tests.toysite", str(self.root / name)])

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a process that ends with this one; its output goes into a file."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment(parent=os.getpid()), stdout=log, stderr=log
            )
        self.processes[name] = process
        return process

    def log(self, name: str) -> Path:
        """The output of a process."""
        return self.root / f"{name}.log"

    def said(self, name: str) -> str:
        """What a process has written by now."""
        return self.log(name).read_text(encoding="utf-8")

    def serve(self, main: Callable[[Grid, Context], None], **named: object) -> None:
        """Run a ServerApp in this process."""
        app = ServerApp()
        app.main()(main)
        serve(app, self.place, **named)  # type: ignore[arg-type]

    def stop(self) -> None:
        """End all, the last one first."""
        for process in reversed(self.processes.values()):
            end(process)


@contextlib.contextmanager
def line(root: Path) -> Iterator[Line]:
    """A line without processes yet."""
    made = Line(root)
    try:
        yield made
    finally:
        made.stop()


def end(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> int:
    """End a process; its exit code."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until something is so; a process that ends meanwhile fails the test at once."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {LIMIT:g} s")
        time.sleep(0.1)


def ask(grid: Grid, node: int, data: bytes, *, limit: float = LIMIT) -> Message:
    """Send bytes to one node and wait for its reply."""
    identifiers = list(grid.push_messages([Message(pack(data), node, "train")]))
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        for reply in grid.pull_messages(identifiers):
            return reply
        time.sleep(0.1)
    raise AssertionError(f"no reply within {limit:g} s")


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def alive(pid: int) -> bool:
    """Whether a process runs (a dead child that nobody has waited for does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def certificates(folder: Path, *, names: tuple[str, ...] = ("127.0.0.1",)) -> tuple[Path, Path, Path]:
    """A certificate authority, and a server's certificate and key for some addresses."""
    folder.mkdir(exist_ok=True)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name)) for name in names])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    ca = _unsigned("test authority", ca_key).add_extension(authority, critical=True)
    server = _unsigned("test server", key).add_extension(addresses, critical=False)
    paths = folder / "ca.crt", folder / "server.crt", folder / "server.key"
    paths[0].write_bytes(ca.sign(ca_key, hashes.SHA256()).public_bytes(pem.Encoding.PEM))
    paths[1].write_bytes(server.sign(ca_key, hashes.SHA256()).public_bytes(pem.Encoding.PEM))
    paths[2].write_bytes(key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    return paths


def _unsigned(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
    )
