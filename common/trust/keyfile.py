"""A private key on disk: PEM PKCS#8, for its owner only, with a passphrase where its owner wants one.

A passphrase is read from the environment variable `WARDROUND_PASSPHRASE` or from the terminal, never from a command
line, which every user of the machine can see. It protects a copied file, not a machine that somebody else controls.

Source: RFC 5958 (PKCS#8) and RFC 8018 (PBES2).
"""

import contextlib
import getpass
import os
import stat
import sys
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardround.common.durable import sync_folder, write_atomic
from wardround.common.errors import StorageError, TrustError, UsageError

PASSPHRASE: Final = "WARDROUND_PASSPHRASE"  # noqa: S105  (a name, not a secret)
_SHORTEST: Final = 8  # characters
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def read_key(path: Path, *, passphrase: str = "") -> Ed25519PrivateKey:
    """Read a private key.

    Args:
        path: The file.
        passphrase: Its passphrase; empty to ask for it if it has one.

    Raises:
        StorageError: The file cannot be read.
        TrustError: Others may read it, it holds no such key, or the passphrase is missing or wrong.
    """
    data = _read_private(path)
    secret = passphrase or _passphrase(path) if data.lstrip().startswith(_ENCRYPTED) else ""
    key = None
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):
        key = pem.load_pem_private_key(data, password=secret.encode() if secret else None)
    if isinstance(key, Ed25519PrivateKey):
        return key
    if secret:
        raise TrustError(
            f"could not open {path} with this passphrase",
            advice=f"type it again, or correct {PASSPHRASE}; without its passphrase a key is lost",
        )
    raise TrustError(
        f"expected an Ed25519 private key in {path}",
        advice="the file was cut short or is another one: restore it",
    )


def write_key(path: Path, key: Ed25519PrivateKey, *, passphrase: str = "") -> None:
    """Write a private key that is not there yet, readable by its owner only.

    Args:
        path: The file; its folder must exist.
        key: The key.
        passphrase: Encrypts the file; empty for none.

    Raises:
        StorageError: The file exists already (a key is never overwritten), or cannot be written.
    """
    secret = pem.BestAvailableEncryption(passphrase.encode()) if passphrase else pem.NoEncryption()
    draft = path.with_name(f".{path.name}.new")
    write_atomic(draft, key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, secret), mode=0o600)
    _move_new(draft, path)


def passphrase_for(path: Path) -> str:
    """The passphrase of a key file, asked for once so that processes started from here need no terminal.

    Returns:
        The passphrase, known to be right; empty if the key has none.

    Raises:
        StorageError: The file cannot be read.
        TrustError: The passphrase is missing or wrong, or the file holds no key.
    """
    data = _read_private(path)
    if not data.lstrip().startswith(_ENCRYPTED):
        return ""
    secret = _passphrase(path)
    try:
        pem.load_pem_private_key(data, password=secret.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TrustError(
            f"could not open {path} with this passphrase", advice=f"type it again, or correct {PASSPHRASE}"
        ) from None
    return secret


def new_passphrase() -> str:
    """A passphrase for a new key: from the environment, else typed twice on the terminal.

    Raises:
        UsageError: There is neither, it is too short, or the two differ.
    """
    secret = os.environ.get(PASSPHRASE, "")
    if not secret:
        if not sys.stdin.isatty():
            raise UsageError(f"no terminal to ask for a passphrase on, and {PASSPHRASE} is not set")
        secret = getpass.getpass("Passphrase for the new key: ")
        if getpass.getpass("The same again: ") != secret:
            raise UsageError("the two passphrases differ; nothing was written")
    if len(secret) < _SHORTEST:
        raise UsageError(f"expected a passphrase of at least {_SHORTEST} characters; nothing was written")
    return secret


def _passphrase(path: Path) -> str:
    if secret := os.environ.get(PASSPHRASE, ""):
        return secret
    if sys.stdin is not None and sys.stdin.isatty():
        return getpass.getpass(f"Passphrase of {path}: ")
    raise TrustError(
        f"{path} has a passphrase, and nobody can be asked for it here",
        advice=f"set the environment variable {PASSPHRASE} for this process only",
    )


def _move_new(draft: Path, path: Path) -> None:
    # A link fails where the name is taken: of two processes that generate a key, one is told, and a crash leaves
    # the whole key under its name or nothing.
    try:
        os.link(draft, path)
    except FileExistsError:
        raise StorageError(
            f"{path} exists; a key is never overwritten",
            advice="use the key that is there, or choose another name",
        ) from None
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink()
    sync_folder(path.parent)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read()
    except OSError as error:
        raise StorageError(f"could not read the key {path}: {error.strerror or error}") from error
    if mode & 0o077:
        raise TrustError(
            f"expected {path} to be readable by its owner only, found mode {mode:03o}",
            advice=f"chmod 600 {path}; if others may have read it, make a new key and change the roster",
        )
    return data
