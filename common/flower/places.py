"""Where Flower's processes of one role stand: addresses, certificates, secrets and folders, and their commands.

Everything is given by arguments; nothing of the user's home or environment steers Flower. Nothing here imports it, so
that commands and a supervisor stay quick.
"""

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from wardround.common.durable import write_atomic, write_passing
from wardround.common.errors import StorageError
from wardround.common.flower.localtls import make_local_pair

LOOPBACK = "127.0.0.1"
PARENT = "WARDROUND_PARENT"  # a process that ends with this one
_SECRET = 32  # bytes
_UNKNOWN = "expected the port of a running SuperNode in {path}, found none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkPlace:
    """The coordinator's side.

    Attributes:
        host: Address to listen on, `0.0.0.0` for every network.
        port: Port to listen on: the only one that hospitals need.
        ca: The certificate (PEM) that vouches for `certificate`; every hospital pins it.
        certificate: The server's certificate (PEM); its names must include 127.0.0.1.
        key: The server's private key (PEM).
        home: Folder for Flower's state and secret; nobody else may read it.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    home: Path

    @property
    def secret(self) -> Path:
        """What only processes of this machine's owner can read: it opens all that hospitals must not reach."""
        return self.home / "superexec.secret"

    @property
    def database(self) -> Path:
        """Flower's state: SQLite."""
        return self.home / "state.db"

    @property
    def loopback(self) -> str:
        """Where processes of this machine reach the SuperLink."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Make the folder and the secret if they are not there.

        Raises:
            StorageError: They cannot be written.
        """
        _private_folder(self.home)
        _secret_file(self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """A hospital's side.

    Attributes:
        superlink: `host:port` of the coordinator's SuperLink.
        ca: The pinned certificate (PEM) that vouches for it.
        key: The node's private key (OpenSSH, ECDSA).
        home: Folder for what SuperNode and executor share; nobody else may read it.
    """

    superlink: str
    ca: Path
    key: Path
    home: Path

    @property
    def desk(self) -> "Desk":
        """Where the SuperNode and the executor of this hospital meet."""
        return Desk(home=self.home)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where the SuperNode and the executor of one hospital meet: on loopback, by files in one private folder.

    Attributes:
        home: The folder.
    """

    home: Path

    @property
    def secret(self) -> Path:
        """Without it nobody on this machine gets a task from the SuperNode."""
        return self.home / "superexec.secret"

    @property
    def certificate(self) -> Path:
        """The SuperNode's own certificate for loopback, and the only one that the executor accepts."""
        return self.home / "runtime.crt"

    @property
    def key(self) -> Path:
        """Its private key."""
        return self.home / "runtime.key"

    @property
    def task(self) -> Path:
        """The token of the task at hand, for whoever has to report that its child died."""
        return self.home / "task.token"

    def announce(self, port: int) -> None:
        """Say on which port the SuperNode waits for the executor."""
        write_atomic(self._port, str(port).encode(), mode=0o600)

    def address(self) -> str:
        """Where the SuperNode waits for the executor.

        Raises:
            StorageError: No SuperNode has started in this folder.
        """
        try:
            return f"{LOOPBACK}:{int(self._port.read_text(encoding='ascii'))}"
        except (OSError, ValueError):
            raise StorageError(
                _UNKNOWN.format(path=self._port), advice="start the site's SuperNode"
            ) from None

    def wait_as(self, pid: int) -> None:
        """Say that the executor of that process waits for tasks."""
        write_passing(self._waiting, str(pid).encode(), mode=0o600)

    def waiting(self) -> int:
        """The process that last said that it waits for tasks; 0 for none."""
        try:
            return int(self._waiting.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def prepare(self) -> None:
        """Make the folder, the secret and the certificate for loopback if they are not there.

        Raises:
            StorageError: They cannot be written.
        """
        _private_folder(self.home)
        _secret_file(self.secret)
        if not (self.certificate.exists() and self.key.exists()):
            certificate, key = make_local_pair(LOOPBACK)
            write_atomic(self.key, key, mode=0o600)
            write_atomic(self.certificate, certificate)

    @property
    def _waiting(self) -> Path:
        return self.home / "executor.pid"

    @property
    def _port(self) -> Path:
        return self.home / "runtime.port"


def superlink_command(place: LinkPlace) -> list[str]:
    """The command that starts the SuperLink of a place."""
    return [
        *_module("superlink"),
        *("--host", place.host, "--port", str(place.port), "--ca", str(place.ca)),
        *("--certificate", str(place.certificate), "--key", str(place.key), "--home", str(place.home)),
    ]


def supernode_command(place: NodePlace) -> list[str]:
    """The command that starts the SuperNode of a place."""
    return [
        *_module("supernode"),
        *("--superlink", place.superlink, "--ca", str(place.ca)),
        *("--key", str(place.key), "--home", str(place.home)),
    ]


def environment(*, parent: int | None = None) -> dict[str, str]:
    """The environment of a started process.

    Args:
        parent: A process with which the started one ends.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLWR_")}
    return kept if parent is None else {**kept, PARENT: str(parent)}


def settle(home: Path) -> None:
    """Make Flower, imported after this, keep to `home` and report to nobody, whatever the environment says."""
    for name in [name for name in os.environ if name.startswith("FLWR_")]:
        del os.environ[name]
    os.environ |= {
        "FLWR_HOME": str(home.absolute()),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"wardround.common.flower.{name}"]


def _private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise StorageError(f"could not make {folder}: {error.strerror}", advice="check its owner") from error


def _secret_file(path: Path) -> None:
    if not path.exists():
        write_atomic(path, secrets.token_hex(_SECRET).encode(), mode=0o600)
