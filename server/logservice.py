"""The log service: witnesses and auditors follow a coordinator's study logs while they grow. gRPC, mutual TLS.

    python -m wardround.server.logservice DIR --coordinator KEY

A process of its own beside the SuperLink. It holds no identity key, reads what `server start` writes, and locks
nothing, so that no client can stall a study. What each client may use is bounded: the size of a request, calls per
second, streams, and one message in flight per stream; whoever does not read is dropped, and may resume from any line.

Messages: see `common.audit.logwire`. Health is `grpc.health.v1`, for whoever may ask; there is no reflection.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from wardround.common.audit import logwire
from wardround.common.errors import StorageError, WardroundError
from wardround.common.flower.lifeline import end_with_supervisor
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.join import join_address
from wardround.server.logcalls import LogService
from wardround.server.logclients import Limits
from wardround.server.serverfile import ServerFile

_GRACE: Final = 2.0  # seconds for calls under way when the process is asked to end
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", logwire.LARGEST_REQUEST),
    ("grpc.max_send_message_length", logwire.LARGEST_REPLY),
    ("grpc.max_concurrent_streams", 16),  # of one connection
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),  # a stream may be silent for hours
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),  # a client that pings more often is an abuser
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_connection_idle_ms", 600_000),
    # What a dropped client left unread is freed with its connection at the latest; others resume.
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.so_reuseport", 0),  # a second service on the port is an error, not a rival
)
_MOST_CALLS: Final = 1024  # at a time, of all clients


def credentials(server: ServerFile) -> grpc.ServerCredentials:
    """TLS with the server's certificate; a client must show one of the same authority.

    Raises:
        StorageError: A file cannot be read.
    """
    try:
        pair = (server.certificate_key.read_bytes(), server.certificate.read_bytes())
        ca = server.ca.read_bytes()
    except OSError as error:
        raise StorageError(f"could not read {error.filename}: {error.strerror}") from error
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=True)


async def serve(service: LogService, server: ServerFile, ended: asyncio.Event, *, address: str = "") -> None:
    """Serve until `ended` is set.

    Args:
        service: What answers.
        server: The coordinator's folder.
        ended: Set from this loop.
        address: `host:port` to listen on; by default as in `server.toml`.

    Raises:
        StorageError: Nothing can listen there, or a certificate cannot be read.
    """
    address = address or join_address(server.listen, server.log_port)
    made = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MOST_CALLS)
    made.add_generic_rpc_handlers(service.handlers())
    try:
        made.add_secure_port(address, credentials(server))
    except RuntimeError:
        raise StorageError(
            f"the log service cannot listen on {address}",
            advice="another program has this port, or the certificate and its key do not belong together",
        ) from None
    service.look()
    await made.start()
    print(f"{logwire.READY} {address}", flush=True)
    watching = asyncio.create_task(service.watch())
    try:
        await ended.wait()
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await made.stop(_GRACE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog="wardround-logservice", description="The log service of a coordinator."
    )
    parser.add_argument("folder", type=Path, help="the coordinator's folder")
    parser.add_argument("--coordinator", required=True, help="its public key, base64")
    chosen = parser.parse_args(arguments)
    try:
        server = ServerFile.load(chosen.folder)
        key = PublicKey.decode(chosen.coordinator)
        end_with_supervisor()
        asyncio.run(_run(server, key))
    except WardroundError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code
    return 0


async def _run(server: ServerFile, key: PublicKey) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    service = LogService(server, key, Limits(), say=lambda line: print(line, file=sys.stderr, flush=True))
    await serve(service, server, ended)


if __name__ == "__main__":
    sys.exit(main())
