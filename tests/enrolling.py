"""A coordinator and hospitals before any study: fixed keys, folders, words. No network."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardround.client.joining import make_request
from wardround.client.sitefile import FirstPolicy, create_site
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.join import open_request, seal_request
from wardround.common.trust.words import spoken
from wardround.server.enrolment import Enrolment, enrol
from wardround.server.serverfile import ServerFile, create_server

GOLDEN = Path(__file__).resolve().parent / "golden"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def clock() -> datetime:
    return NOW


def key(number: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def node_line(number: int) -> str:
    public = ec.derive_private_key(1000 + number, ec.SECP384R1()).public_key()
    return public.public_bytes(pem.Encoding.OpenSSH, pem.PublicFormat.OpenSSH).decode()


def request(name: str, number: int, *, node: int = 0) -> bytes:
    return seal_request(key(number), name, node_line(node or number))


def words_of(data: bytes) -> str:
    return spoken(open_request(data).key.fingerprint)


def coordinator(folder: Path) -> ServerFile:
    """A new coordinator, made at `NOW`."""
    server = ServerFile(folder=folder, name="hub", host="fl.example.org", port=8443)
    create_server(server, now=NOW)
    return server


def site(folder: Path, name: str) -> bytes:
    """A new hospital; gives its request."""
    create_site(folder, FirstPolicy(site=name, table=folder / "t.csv"))
    return make_request(folder)


def let_in(server: ServerFile, data: bytes, *, replace: str = "") -> Enrolment:
    """Enrol with the right words."""
    return enrol(server.folder, data, words=words_of(data), replace=replace, clock=clock)
