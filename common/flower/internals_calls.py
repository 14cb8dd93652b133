"""Private names of Flower's HTTP clients: who may call what, and how long a call is repeated. Verified: flwr 1.41.

A call that finds nobody is repeated for as long as its `Patience` says; every other refusal becomes an error of ours,
and no text of Flower's travels further than this computer.
"""

import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeVar

import httpx
from flwr.common.constant import SubStatus
from flwr.proto.runtime_pb2 import PushTaskOutputRequest, SendTaskHeartbeatRequest
from flwr.supercore.control.control_http_client import ControlHttpClient
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import (
    ProtobufCall,
    ProtobufClient,
    ProtobufClientInterceptor,
    ProtobufRequestContext,
)
from flwr.supercore.retry import RetryInvoker
from flwr.supercore.runtime import RuntimeHttpClient

from wardround.common.errors import StudyError, TrustError
from wardround.common.flower.health import healthy

__all__ = [
    "COMPLETED",
    "FAILED",
    "LOCAL_HEADER",
    "ControlHttpClient",
    "Patience",
    "RunLost",
    "RuntimeHttpClient",
    "about_certificates",
    "beat",
    "close_task",
    "control_client",
    "healthy",
    "link_client",
    "local_secret",
    "node_client",
]

COMPLETED: Final = SubStatus.COMPLETED
FAILED: Final = SubStatus.FAILED
LOCAL_HEADER: Final = "x-wardround-local"
_ACQUIRE = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_AGAIN = (502, 503, 504)
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0  # seconds
_TIMEOUT = 30.0  # seconds

Say = Callable[[str], None]
Client = TypeVar("Client", bound=ProtobufClient)


class RunLost(StudyError):  # noqa: N818  (something that happened to us, not a fault of ours)
    """The server on the other side does not know this task any more."""


def local_secret(secret: Path) -> str:
    """What the guard of the SuperLink wants to see from callers on its own machine."""
    return hmac.new(secret.read_bytes().strip(), b"wardround-local", hashlib.sha256).hexdigest()


class Patience(RetryInvoker):
    """How often a call is repeated that finds nobody.

    Args:
        where: What is called, for the line that a person reads.
        limit: Seconds after which it is given up; None for never.
        say: Gets that line, once per interruption.
        stop: Ends any waiting at once when somebody sets it.
    """

    def __init__(
        self, where: str, *, limit: float | None, say: Say = lambda _: None, stop: Event | None = None
    ) -> None:
        self._where = where
        self._limit = limit
        self._say = say
        self._stop = stop or Event()

    def invoke(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `target` until it answers.

        Raises:
            RunLost: The task ended on the other side.
            StudyError: Nobody answered within the limit, or the call was refused.
            TrustError: The other side shows a certificate or wants a secret that does not fit.
        """
        start, wait = time.monotonic(), _FIRST_WAIT
        while True:
            try:
                return target(*args, **kwargs)
            except httpx.HTTPStatusError as error:
                if error.response.status_code not in _AGAIN:
                    raise _refusal(self._where, error) from None
            except httpx.TransportError as error:
                if about_certificates(error):
                    raise _stranger(self._where) from None
            if self._limit is not None and time.monotonic() - start >= self._limit:
                raise StudyError(f"{self._where} does not answer", advice="start it, or see its log")
            if wait == _FIRST_WAIT:
                self._say(f"waiting for {self._where}")
            if self._stop.wait(wait):
                raise StudyError(f"stopped waiting for {self._where}")
            wait = min(2 * wait, _LONGEST_WAIT)


class LocalSecret:
    """Shows the SuperLink's guard that the caller can read this machine's secret."""

    def __init__(self, secret: Path) -> None:
        self._value = local_secret(secret)

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Add the header."""
        context.request.headers[LOCAL_HEADER] = self._value
        return call_next(context)


def control_client(address: str, ca: Path, secret: Path, patience: Patience) -> ControlHttpClient:
    """A caller of the SuperLink's Control API on this machine."""
    version = RuntimeVersionHttpInterceptor(component_name="flwr CLI")
    return _direct(
        ControlHttpClient(f"https://{address}", interceptors=[version, LocalSecret(secret)]), ca, patience
    )


def link_client(address: str, ca: Path, secret: Path, patience: Patience, *, token: str) -> RuntimeHttpClient:
    """A caller of the SuperLink's Runtime API on this machine; without a task yet where `token` is empty."""
    version = RuntimeVersionHttpInterceptor(component_name="flwr-serverapp")
    shown: list[ProtobufClientInterceptor] = [version, LocalSecret(secret), _task(secret, token)]
    return _direct(RuntimeHttpClient(f"https://{address}", interceptors=shown), ca, patience)


def node_client(address: str, ca: Path, secret: Path, patience: Patience, *, token: str) -> RuntimeHttpClient:
    """A caller of the SuperNode's Runtime API on this machine; without a task yet where `token` is empty."""
    version = RuntimeVersionHttpInterceptor(component_name="flwr-clientapp")
    return _direct(
        RuntimeHttpClient(f"https://{address}", interceptors=[version, _task(secret, token)]), ca, patience
    )


def beat(client: RuntimeHttpClient) -> bool:
    """Say that the task of this client is alive; False if it has ended."""
    return bool(client.SendTaskHeartbeat(SendTaskHeartbeatRequest()).success)


def close_task(client: RuntimeHttpClient, outcome: str) -> None:
    """Say how the task ended: one word of Flower's, no details."""
    client.PushTaskOutput(PushTaskOutputRequest(sub_status=outcome, details=""))


def _task(secret: Path, token: str) -> ProtobufClientInterceptor:
    if token:
        return RuntimeTokenHttpInterceptor(token)
    return SuperExecAuthHttpInterceptor(master_secret=secret.read_bytes().strip(), protected_methods=_ACQUIRE)


def _direct(client: Client, ca: Path, patience: Patience) -> Client:
    """The same client, straight to this machine: no proxy of the environment, no certificate but the given one."""
    client._client.close()
    client._client = _http(ca, timeout=_TIMEOUT)
    client._retry_invoker = patience
    return client


def _http(ca: Path, *, timeout: float) -> httpx.Client:
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted.load_verify_locations(cafile=ca)
    return httpx.Client(verify=trusted, timeout=timeout, trust_env=False)


def about_certificates(error: Exception) -> bool:
    """Whether a connection failed because of what the other side showed, and not on its way."""
    return "certificate" in str(error).lower()


def _stranger(where: str) -> TrustError:
    return TrustError(
        f"{where} shows a certificate that does not fit",
        advice="another program took its port, or the certificate has expired or lacks the name 127.0.0.1",
    )


def _refusal(where: str, error: httpx.HTTPStatusError) -> StudyError | TrustError:
    status = error.response.status_code
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.NOT_FOUND):
        return RunLost(f"{where} does not know this task any more")
    if status == httpx.codes.FORBIDDEN:
        return TrustError(f"{where} refused this process", advice="run it as the owner of the folder")
    return StudyError(f"{where} answered with error {status}", advice="see its log")
