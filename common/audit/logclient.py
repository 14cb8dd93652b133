"""A client of the log service: what it asks, and what its refusals mean. It believes nothing that it is told.

Connections are TLS in both directions: the service shows a certificate of the authority in the pass, the client shows
its own. The private key is the node key, which authenticates a connection and signs nothing else.
"""

from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as pem

from wardround.common.audit import logwire
from wardround.common.audit.logwire import Page
from wardround.common.errors import StorageError, StudyError, TrustError, UsageError, WardroundError
from wardround.common.trust.checkpoint import NoteSignature, SignedCheckpoint
from wardround.common.trust.logpass import LogPass

_PATIENCE: Final = 20.0  # seconds for one answer
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", logwire.LARGEST_REPLY),
    ("grpc.keepalive_time_ms", 30_000),  # the service allows 20 s
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),  # a stream may be silent for hours
    ("grpc.enable_retries", 0),
)
_LATER: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}


class LaterError(StudyError):
    """The service cannot answer now: the same question may be asked again later."""


class ShorterError(TrustError):
    """The log of the service is shorter than what was asked for."""


def credentials(given: LogPass, node_key: Path) -> grpc.ChannelCredentials:
    """TLS in both directions.

    Args:
        given: The pass.
        node_key: The file of the private node key.

    Raises:
        StorageError: The key cannot be read.
        TrustError: It is none.
    """
    return grpc.ssl_channel_credentials(
        root_certificates=given.ca.encode(),
        private_key=_private_key(node_key),
        certificate_chain=given.certificate.encode(),
    )


class LogClient:
    """A connection to a log service; a context manager.

    Args:
        address: `host:port`.
        given: The pass.
        node_key: The file of the private node key.

    Raises:
        StorageError: The key cannot be read.
        TrustError: It is none.
    """

    def __init__(self, address: str, given: LogPass, node_key: Path) -> None:
        self.address = address
        self._channel = grpc.secure_channel(address, credentials(given, node_key), options=_OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every stream."""
        self._channel.close()

    def studies(self) -> dict[str, int]:
        """Name of each study whose log is shown -> number of its lines.

        Raises:
            LaterError: The service cannot answer now; so in every method.
            TrustError: It refuses, or its answer is none; so in every method.
        """
        return logwire.read_studies(self._ask("Studies"))

    def checkpoint(self, study: str) -> SignedCheckpoint:
        """The newest checkpoint with all its cosignatures; nothing is verified."""
        return logwire.read_note(self._ask("Checkpoint", study=study))

    def entries(self, study: str, start: int, count: int) -> Page:
        """Lines from `start`, at least one, at most `count`; nothing is verified."""
        return _in_place(
            logwire.read_page(self._ask("Entries", study=study, start=start, count=count)), start
        )

    def inclusion(self, study: str, number: int, size: int) -> tuple[bytes, ...]:
        """The proof that line `number` is among the first `size`."""
        return logwire.read_proof(self._ask("Inclusion", study=study, number=number, size=size))

    def consistency(self, study: str, old: int, size: int) -> tuple[bytes, ...]:
        """The proof that the first `old` lines are the first of the first `size`."""
        return logwire.read_proof(self._ask("Consistency", study=study, old=old, size=size))

    def cosign(self, study: str, size: int, line: NoteSignature) -> None:
        """Hand a cosignature over."""
        self._ask("Cosign", study=study, size=size, line=line.line.removesuffix("\n"))

    def follow(
        self, study: str, start: int, *, limit: float | None = None
    ) -> Generator[Page | SignedCheckpoint, None, None]:
        """Lines from `start` and checkpoints, as they come, for `limit` seconds or without end; nothing is verified.

        Raises:
            LaterError: The connection was cut, the service ended it, or the limit is over; follow again from where it
                ended.
            ShorterError: The log is shorter than `start`.
            TrustError: The service refuses, or says what it may not say.
        """
        call = self._channel.unary_stream(logwire.path("Follow"))
        stream = call(logwire.request("Follow", study=study, start=start), timeout=limit)
        try:
            for message in stream:
                yield logwire.read_step(message)
        except grpc.RpcError as error:
            raise _meaning(error, self.address) from None
        finally:
            stream.cancel()
        raise LaterError(f"the log service at {self.address} ended the stream")

    def _ask(self, method: str, **fields: str | int) -> bytes:
        call = self._channel.unary_unary(logwire.path(method))
        try:
            return bytes(call(logwire.request(method, **fields), timeout=_PATIENCE))
        except grpc.RpcError as error:
            raise _meaning(error, self.address) from None


def _in_place(page: Page, start: int) -> Page:
    if page.start != start:
        raise TrustError(f"expected lines from {start} from the log service, found lines from {page.start}")
    return page


def _meaning(error: Any, address: str) -> WardroundError:
    code, words = error.code(), str(error.details() or "")[:300]
    said = f"the log service at {address}: {words if words.isprintable() else 'no answer'}"
    if code in _LATER:
        return LaterError(
            said, advice="it may be down, or a firewall drops it; the same command goes on later"
        )
    match code:
        case grpc.StatusCode.OUT_OF_RANGE:
            return ShorterError(said)
        case grpc.StatusCode.NOT_FOUND:
            return UsageError(said, advice="ask the coordinator which studies' logs it shows")
        case grpc.StatusCode.PERMISSION_DENIED:
            return TrustError(said, advice="ask the coordinator for a new pass")
    return TrustError(f"{said} ({code.name})", advice="ask the coordinator what its log service says")


def _private_key(path: Path) -> bytes:
    """The node key in the form that TLS wants."""
    try:
        key = pem.load_ssh_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise StorageError(f"could not read the node key {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TrustError(f"expected a private node key (OpenSSH, without passphrase) in {path}") from None
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
