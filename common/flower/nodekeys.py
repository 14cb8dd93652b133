"""The key by which a hospital's SuperNode is known to the SuperLink: made on the spot, only its public line leaves.

It authenticates a connection, nothing more: who answers for a hospital is decided by the identity key and signed
envelopes. Format: OpenSSH, ECDSA on NIST P-384, as Flower expects.
"""

import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec

from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, TrustError

_LONGEST = 1000  # characters


def new_node_key(path: Path) -> str:
    """Make a key pair: `path` for its owner's eyes only, the public line beside it with suffix `.pub`.

    Returns:
        The public line.

    Raises:
        StorageError: The files cannot be written.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.OpenSSH, pem.NoEncryption())
    line = _line(key.public_key())
    write_atomic(path, private, mode=0o600)
    write_atomic(path.with_suffix(".pub"), line.encode() + b"\n")
    return line


def own_node_line(path: Path) -> str:
    """The public line of a private node key.

    Raises:
        StorageError: The file cannot be read.
        TrustError: Others may read it, or it holds no ECDSA P-384 key.
    """
    try:
        data, mode = path.read_bytes(), stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise StorageError(f"could not read the node key {path}: {error.strerror or error}") from error
    if mode & 0o077:
        raise TrustError(
            f"expected {path} to be readable by its owner only, found mode {mode:03o}",
            advice=f"chmod 600 {path}; if others may have read it: wardround site request DIR --new-node-key",
        )
    try:
        key = pem.load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TrustError(
            f"expected a private node key (OpenSSH, without passphrase) in {path}, found something else",
            advice="make another one: wardround site request DIR --new-node-key",
        ) from None
    return _line(_checked(key.public_key()))


def check_node_key(line: str) -> str:
    """The public line in its one spelling, without a comment.

    Raises:
        TrustError: It is not an ECDSA P-384 key in OpenSSH's form.
    """
    return _line(_parsed(line))


def node_key_pem(line: str) -> bytes:
    """The public key as PEM SubjectPublicKeyInfo, as Flower keeps it.

    Raises:
        TrustError: It is not an ECDSA P-384 key in OpenSSH's form.
    """
    return _parsed(line).public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)


def node_public_key(line: str) -> ec.EllipticCurvePublicKey:
    """The public key of a line.

    Raises:
        TrustError: It is not an ECDSA P-384 key in OpenSSH's form.
    """
    return _parsed(line)


def node_key_line(data: bytes) -> str:
    """Read `node_key_pem` back.

    Raises:
        TrustError: It is not an ECDSA P-384 key.
    """
    try:
        return _line(_checked(pem.load_pem_public_key(data)))
    except (ValueError, UnsupportedAlgorithm):
        raise _not_a_key() from None


def _parsed(line: str) -> ec.EllipticCurvePublicKey:
    try:
        return _checked(pem.load_ssh_public_key(line[:_LONGEST].encode()))
    except (ValueError, UnsupportedAlgorithm):
        raise _not_a_key() from None


def _checked(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _not_a_key()
    return key


def _line(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(pem.Encoding.OpenSSH, pem.PublicFormat.OpenSSH).decode()


def _not_a_key() -> TrustError:
    return TrustError(
        "expected a node key (one line that starts with ecdsa-sha2-nistp384), found something else",
        advice="send the file node.pub as `wardround site init` wrote it",
    )
