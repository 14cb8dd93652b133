"""The coordinator's folder and its `server.toml`: who it is, where hospitals dial, where everything stands.

    format = "wardround-server"
    version = 1
    name = "coordinator"
    address = "fl.example.org:8443"
    listen = "0.0.0.0"
    names = []
    log_port = 8444    (left out: no log service)

The private keys below this folder (identity, certificate authority, server) never leave it; each is made here, for its
owner only. Assumes that the folder is backed up as a whole, or not at all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from wardround.common.durable import write_atomic
from wardround.common.errors import ProtocolError, StorageError, UsageError
from wardround.common.flower.places import LinkPlace
from wardround.common.formats import check_header
from wardround.common.study.decode import convert, parse, read_text, refuse_missing, refuse_unknown
from wardround.common.trust.certcheck import check_server_certificate
from wardround.common.trust.identity import SigningKey, check_name
from wardround.common.trust.join import check_host, join_address, split_address
from wardround.common.trust.ledgerfile import make_folder
from wardround.server.archive import Archiving
from wardround.server.certificates import Pair, issue, make_authority

FILE: Final = "server.toml"
FORMAT: Final = "wardround-server"
VERSION: Final = 1
DEFAULT_PORT: Final = 8443

_REQUIRED: Final[Mapping[str, Any]] = {"name": str, "address": str}
_KEYS: Final = {**_REQUIRED, "listen": str, "names": tuple[str, ...], "log_port": int, "archive": Archiving}
NO_LOG: Final = "add `log_port = 8444`, open that port in the firewall, then start `server up` again"
_TEMPLATE: Final = """\
# The coordinator. Hospitals dial `address`; it stands in the invites that were sent.
format = "{format}"
version = {version}

name = {name}
address = {address}
listen = {listen}  # the address of this machine to listen on; "0.0.0.0" for all
names = {names}  # further names of this machine; then: wardround server init DIR --renew-certificate
"""
_LOG_LINE: Final = "log_port = {}  # where witnesses and auditors follow the studies' logs\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFile:
    """A coordinator's folder.

    Attributes:
        folder: Where it is.
        name: Of the coordinator, as in the roster.
        host, port: What hospitals dial.
        listen: The address of this machine to listen on.
        names: Further names that the certificate is for.
        log_port: Where witnesses and auditors follow the studies' logs; 0 for no log service.
        archive: Whether hospitals' replies are kept, so that an auditor can recompute what came of them.
    """

    folder: Path
    name: str
    host: str
    port: int
    listen: str = "0.0.0.0"  # noqa: S104  (hospitals come from outside)
    names: tuple[str, ...] = ()
    log_port: int = 0
    archive: Archiving = "keep"

    def __post_init__(self) -> None:
        """Refuse names and addresses that cannot be meant.

        Raises:
            UsageError: Naming the value.
        """
        check_name(self.name)
        split_address(self.address)
        for host in (self.listen, *self.names):
            check_host(host)
        if not 0 <= self.log_port < 65536 or self.log_port == self.port:
            raise UsageError(f"expected a log_port below 65536 other than {self.port}, found {self.log_port}")

    @classmethod
    def load(cls, folder: Path | str) -> "ServerFile":
        """Read the `server.toml` of a folder.

        Raises:
            ProtocolError: A key is unknown, missing, of another type or cannot be meant.
            StorageError: There is none, it is another kind of file, or was written for a newer release.
        """
        path = Path(folder) / FILE
        if not path.exists():
            raise StorageError(
                f"expected {FILE} in {folder}, found none",
                advice="make a coordinator there: wardround server init DIR --name NAME --address HOST:PORT",
            )
        top = parse(read_text(path), path.name)
        check_header(top, name=FORMAT, version=VERSION, where=path.name)
        refuse_unknown(top, ("format", "version", *_KEYS), f"{path.name}:")
        refuse_missing(top, _REQUIRED, f"{path.name}:")
        terms: dict[str, Any] = {
            key: convert(kind, top[key], f"{path.name}: {key}") for key, kind in _KEYS.items() if key in top
        }
        try:
            host, port = split_address(terms.pop("address"))
            return cls(folder=Path(folder), host=host, port=port, **terms)
        except UsageError as error:
            raise ProtocolError(f"{path.name}: {error}", advice=error.advice) from None

    @property
    def address(self) -> str:
        """`host:port`, as in the invites."""
        return join_address(self.host, self.port)

    @property
    def log_address(self) -> str:
        """`host:port` of the log service.

        Raises:
            UsageError: There is none.
        """
        if not self.log_port:
            raise UsageError(f"no log service is set up in {self.folder / FILE}", advice=NO_LOG)
        return join_address(self.host, self.log_port)

    @property
    def identity(self) -> Path:
        """The coordinator's private key."""
        return self.folder / "identity.pem"

    @property
    def tls(self) -> Path:
        """The folder of certificates and their keys."""
        return self.folder / "tls"

    @property
    def ca(self) -> Path:
        """The certificate that hospitals pinned."""
        return self.tls / "ca.crt"

    @property
    def ca_key(self) -> Path:
        """Its private key."""
        return self.tls / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate."""
        return self.tls / "server.crt"

    @property
    def certificate_key(self) -> Path:
        """Its private key."""
        return self.tls / "server.key"

    @property
    def members(self) -> Path:
        """The signed log of who was enrolled, replaced and removed."""
        return self.folder / "members.jsonl"

    @property
    def witnesses(self) -> Path:
        """The signed log of outside witnesses and auditors who may follow the studies' logs."""
        return self.folder / "witnesses.jsonl"

    @property
    def roster(self) -> Path:
        """The newest signed roster."""
        return self.folder / "roster.json"

    @property
    def invites(self) -> Path:
        """The folder of invites, one per hospital."""
        return self.folder / "invites"

    @property
    def flower(self) -> Path:
        """The folder of Flower's state."""
        return self.folder / "flower"

    @property
    def studies(self) -> Path:
        """The folder of published studies."""
        return self.folder / "studies"

    @property
    def logs(self) -> Path:
        """The folder of logs."""
        return self.folder / "logs"

    def key(self) -> SigningKey:
        """The coordinator's private key.

        Raises:
            StorageError: It cannot be read.
            TrustError: Others may read it, or it is none.
        """
        return SigningKey.load(self.identity)

    def authority(self) -> Pair:
        """The certificate authority that hospitals pinned, with its private key.

        Raises:
            StorageError: It cannot be read.
        """
        try:
            return Pair(certificate=self.ca.read_bytes(), key=self.ca_key.read_bytes())
        except OSError as error:
            raise StorageError(
                f"could not read the certificate authority in {self.tls}: {error.strerror or error}",
                advice="restore ca.crt and ca.key from a backup; with new ones every hospital needs a new invite",
            ) from error

    def link_place(self) -> LinkPlace:
        """Where the SuperLink of this folder stands."""
        return LinkPlace(
            host=self.listen,
            port=self.port,
            ca=self.ca,
            certificate=self.certificate,
            key=self.certificate_key,
            home=self.flower,
        )


def create_server(server: ServerFile, *, now: datetime) -> SigningKey:
    """Make the folder of a coordinator: keys, certificates and, last, its `server.toml`.

    After a crash or a full disk the same call goes on from there; no key is made twice.

    Args:
        server: What it will be.
        now: The clock, for the certificates.

    Returns:
        The coordinator's key.

    Raises:
        UsageError: There is a coordinator already.
        StorageError: Something cannot be written.
    """
    path = server.folder / FILE
    if path.exists():
        raise UsageError(
            f"{path} exists already",
            advice="edit it, or choose another folder; --renew-certificate renews the certificate",
        )
    make_folder(server.folder)
    make_folder(server.tls)
    if not server.identity.exists():
        SigningKey.generate().save(server.identity)
    if not server.ca.exists():
        _write(make_authority(server.name, now), server.ca, server.ca_key)
    renew_certificate(server, now=now)
    write_atomic(path, _text(server), mode=0o600)
    return server.key()


def renew_certificate(server: ServerFile, *, now: datetime) -> datetime:
    """Make a new certificate for the server, for its address and names of today. Hospitals need do nothing.

    Returns:
        When it expires. The server uses it when it starts next.

    Raises:
        StorageError: The authority cannot be read, or the certificate cannot be written.
        TrustError: The authority's files are not what they must be.
    """
    authority = server.authority()
    pair = issue(authority, (server.host, *server.names), now)
    _write(pair, server.certificate, server.certificate_key)
    return check_server_certificate(pair.certificate, authority.certificate, host=server.host, now=now)


def _write(pair: Pair, certificate: Path, key: Path) -> None:
    write_atomic(key, pair.key, mode=0o600)
    write_atomic(certificate, pair.certificate)


def _text(server: ServerFile) -> bytes:
    named = {name: _toml(getattr(server, name)) for name in ("name", "address", "listen")}
    text = _TEMPLATE.format(format=FORMAT, version=VERSION, names=_toml(list(server.names)), **named)
    return (text + (_LOG_LINE.format(server.log_port) if server.log_port else "")).encode()


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
