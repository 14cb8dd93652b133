"""What the log service answers: who asks is looked up, what is asked is checked, and every refusal is a status.

Nothing that a client sends reaches a path, and nothing of this machine reaches a client: not even the words of an
error, which name files.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1.health import SERVICE_NAME
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from wardround.common.audit import logwire
from wardround.common.errors import TrustError, WardroundError
from wardround.common.trust.checkpoint import SignedCheckpoint, parse_line, verify_cosignature
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.join import JoinRequest
from wardround.server.logclients import Account, Clients, Limits
from wardround.server.logview import LOG, LogView
from wardround.server.serverfile import ServerFile

_Code = grpc.StatusCode
_Answer = Callable[["_Call"], bytes]


class _Context(Protocol):
    """What is used of `grpc.aio.ServicerContext`."""

    def auth_context(self) -> Mapping[str, Sequence[bytes]]: ...

    async def write(self, message: bytes) -> None: ...

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...


class _Call:
    """A request that was admitted.

    Attributes:
        client: Who asks.
        fields: What is asked.
        service: Of which service.
    """

    def __init__(self, service: "LogService", client: JoinRequest, fields: dict[str, Any]) -> None:
        self.client = client
        self.fields = fields
        self.service = service

    def view(self) -> LogView:
        """The log that is asked for."""
        return self.service.view(self.fields["study"])


class _Refusal(Exception):  # noqa: N818  (an answer, not a fault of this process)
    """What a client is told."""

    def __init__(self, code: grpc.StatusCode, words: str) -> None:
        super().__init__(words)
        self.code = code


class LogService:
    """The service over the studies of one coordinator's folder.

    Args:
        server: The coordinator's folder.
        coordinator: Its public key.
        limits: What clients may use.
        say: Gets a line whenever a log cannot be shown.
    """

    def __init__(
        self, server: ServerFile, coordinator: PublicKey, limits: Limits, *, say: Callable[[str], None]
    ) -> None:
        self._server = server
        self._limits = limits
        self._say = say
        self._views: dict[str, LogView] = {}
        self._broken: dict[str, str] = {}
        self._grown = asyncio.Event()
        self.clients = Clients(server=server, coordinator=coordinator, limits=limits)

    def view(self, study: str) -> LogView:
        """The log of a study.

        Raises:
            _Refusal: There is none, or its files were changed.
        """
        if study in self._broken:
            raise _Refusal(_Code.DATA_LOSS, "the files of this log were changed: ask the coordinator")
        if study not in self._views:
            raise _Refusal(_Code.NOT_FOUND, "no study of this name is shown here")
        return self._views[study]

    def sizes(self) -> dict[str, int]:
        """Name of each study that is shown -> size of its log."""
        return {name: view.size for name, view in sorted(self._views.items()) if name not in self._broken}

    def look(self) -> None:
        """Take in what was written since, and wake the streams if anything was."""
        for path in self._server.studies.glob(f"*/federation/{LOG}"):
            name = path.parent.parent.name
            if name not in self._broken and logwire.is_study(name):
                self._look_at(name, path.parent)

    def _look_at(self, name: str, folder: Path) -> None:
        try:
            view = self._views[name] = self._views.get(name) or LogView(folder)
            before = view.size
            view.refresh()
        except TrustError as error:
            # Never shown again by this process: two views of one log must not both look right.
            self._broken[name] = str(error)
            self._say(f"the log of {name} is not shown any more: {error}")
        except WardroundError as error:
            self._say(f"the log of {name}: {error}")
        else:
            if view.size > before:
                self._grown.set()
                self._grown = asyncio.Event()

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(self._limits.look)

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """What the methods of the service and of `grpc.health.v1` do. Watching the health is not offered."""
        answers: dict[str, _Answer] = {
            "Studies": lambda call: logwire.studies_reply(self.sizes()),
            "Checkpoint": _checkpoint,
            "Entries": _entries,
            "Inclusion": _inclusion,
            "Consistency": _consistency,
            "Cosign": _cosign,
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(self._unary(name, do)) for name, do in answers.items()
        }
        methods["Follow"] = grpc.unary_stream_rpc_method_handler(self._follow)
        check = grpc.unary_unary_rpc_method_handler(self._health)
        return (
            grpc.method_handlers_generic_handler(logwire.SERVICE, methods),
            grpc.method_handlers_generic_handler(SERVICE_NAME, {"Check": check}),
        )

    def _unary(self, method: str, answer: _Answer) -> Callable[[bytes, _Context], Awaitable[bytes]]:
        async def run(data: bytes, context: _Context) -> bytes:
            async with self._refusing(context):
                call, _ = self._admit(method, data, context)
                return answer(call)
            raise AssertionError("a refusal ends the call")

        return run

    async def _health(self, data: bytes, context: _Context) -> bytes:
        async with self._refusing(context):
            self._take(self._known(context))
            try:
                name = HealthCheckRequest.FromString(data).service
            except DecodeError:
                raise _Refusal(_Code.INVALID_ARGUMENT, "expected a HealthCheckRequest") from None
            if name not in ("", logwire.SERVICE):
                raise _Refusal(_Code.NOT_FOUND, "no such service")
            serving = HealthCheckResponse(status=HealthCheckResponse.SERVING)
            return bytes(serving.SerializeToString())
        raise AssertionError("a refusal ends the call")

    async def _follow(self, data: bytes, context: _Context) -> None:
        async with self._refusing(context):
            call, account = self._admit("Follow", data, context)
            if account.streams >= self._limits.streams or self.clients.streams >= self._limits.all_streams:
                raise _Refusal(_Code.RESOURCE_EXHAUSTED, "too many streams are followed")
            account.streams += 1
            try:
                async for message in self._steps(call, context):
                    async with asyncio.timeout(self._limits.stall):
                        await context.write(message)
            except TimeoutError:
                # No status can follow a message that is stuck: leaving without one resets the stream and frees it.
                self._say(f"{call.client.name} did not read and was dropped")
                raise asyncio.CancelledError from None
            finally:
                account.streams -= 1

    async def _steps(self, call: _Call, context: _Context) -> AsyncIterator[bytes]:
        """The messages of a stream. Nothing is made before the last one was taken: that is the bound of its memory."""
        at, shown = call.fields["start"], -1
        if at > call.view().size:
            raise _Refusal(_Code.OUT_OF_RANGE, "the log is shorter")
        while True:
            grown = self._grown
            self._known(context)
            while at < (view := call.view()).size:
                page = view.page(at, logwire.MOST_LINES)
                at += len(page.lines)
                yield logwire.page_reply(page)
            if view.size != shown and (signed := view.latest):
                shown = view.size
                yield logwire.note_reply(signed)
            # Not `wait_for`: before Python 3.12 it forgets a cancellation that comes together with the event, and the
            # stream of a client that is gone would stay counted.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.stall):
                    await grown.wait()

    def _admit(self, method: str, data: bytes, context: _Context) -> tuple[_Call, Account]:
        client = self._known(context)
        account = self._take(client)
        try:
            fields = logwire.read_request(method, data)
        except TrustError as error:
            raise _Refusal(_Code.INVALID_ARGUMENT, str(error)) from None
        return _Call(self, client, fields), account

    def _take(self, client: JoinRequest) -> Account:
        account = self.clients.account(client)
        if not account.take(self._limits, self.clients.clock()):
            raise _Refusal(_Code.RESOURCE_EXHAUSTED, "too many calls; ask again in a second")
        return account

    def _known(self, context: _Context) -> JoinRequest:
        shown = context.auth_context().get("x509_pem_cert", [b""])
        client = self.clients.find(shown[0])
        if client is None:
            raise _Refusal(
                _Code.PERMISSION_DENIED, "this certificate belongs to nobody who may follow the log now"
            )
        return client

    @contextlib.asynccontextmanager
    async def _refusing(self, context: _Context) -> AsyncIterator[None]:
        """Answer with a status; what went wrong in here stays in here, with its paths."""
        try:
            yield
        except _Refusal as refusal:
            await context.abort(refusal.code, str(refusal))
        except TrustError as error:
            self._say(f"a call was refused: {error}")
            await context.abort(_Code.DATA_LOSS, "the files of this log were changed: ask the coordinator")
        except WardroundError as error:
            self._say(f"a call failed: {error}")
            await context.abort(_Code.UNAVAILABLE, "the log cannot be read now; ask again later")
        except Exception as error:
            self._say(f"a call failed, which is a fault of this program: {error!r}")
            await context.abort(_Code.INTERNAL, "a fault of the service, which the coordinator's log shows")


def _checkpoint(call: _Call) -> bytes:
    return logwire.note_reply(_shown(call.view().latest))


def _entries(call: _Call) -> bytes:
    view, start, count = call.view(), call.fields["start"], call.fields["count"]
    if start >= view.size or count < 1:
        raise _Refusal(_Code.OUT_OF_RANGE, f"expected a start below {view.size} and a count >= 1")
    return logwire.page_reply(view.page(start, count))


def _inclusion(call: _Call) -> bytes:
    view, number, size = call.view(), call.fields["number"], call.fields["size"]
    if not number < size <= view.size:
        raise _Refusal(_Code.OUT_OF_RANGE, f"expected a number below the size and a size up to {view.size}")
    return logwire.proof_reply(view.inclusion(number, size))


def _consistency(call: _Call) -> bytes:
    view, old, size = call.view(), call.fields["old"], call.fields["size"]
    if not old <= size <= view.size:
        raise _Refusal(_Code.OUT_OF_RANGE, f"expected two sizes up to {view.size}, the old one first")
    return logwire.proof_reply(view.consistency(old, size))


def _cosign(call: _Call) -> bytes:
    view, size = call.view(), call.fields["size"]
    signed = _shown(view.checkpoint(size))
    try:
        line = parse_line(call.fields["line"])
        verify_cosignature(line, signed.checkpoint, call.client.key)
    except TrustError as error:
        raise _Refusal(_Code.INVALID_ARGUMENT, str(error)) from None
    view.add(size, line)
    return b"{}"


def _shown(signed: SignedCheckpoint | None) -> SignedCheckpoint:
    if signed is None:
        raise _Refusal(_Code.NOT_FOUND, "no such checkpoint is shown")
    return signed
