"""Private names of Flower's SuperLink: the stock server with our guards in front of it. Verified: flwr 1.41.

Guarantees:
    From other machines, only what a hospital's SuperNode needs and the health check can be reached. The rest wants
    a caller on this machine that shows its secret. A node can send replies of its own only, to messages that it got,
    and no more bytes than one reply may have.
"""

import hmac
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Final

from flwr.common.constant import ISOLATION_MODE_PROCESS, SUPERLINK_NODE_ID, TRANSPORT_TYPE_GRPC_RERE
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse
from flwr.server.superlink.linkstate import LinkState
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.inflatable.inflatable_object import iterate_object_tree
from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app
from flwr.superlink.servicer.fleet import fleet_handlers

from wardround.common.flower.internals_calls import LOCAL_HEADER, local_secret
from wardround.common.flower.internals_state import lighten
from wardround.common.flower.places import LinkPlace
from wardround.common.flower.replacing import replace_in
from wardround.common.flower.tally import Tally

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_NODE_CALLS: Final = (
    *("activate-node", "deactivate-node", "send-node-heartbeat", "pull-messages", "push-messages"),
    *("get-run", "get-fab", "push-object", "pull-object", "confirm-message-received"),
)
OPEN_PATHS: Final = frozenset({"/health", *(f"/v1/fleet/{call}" for call in _NODE_CALLS)})
LARGEST_BODY: Final = 32 * 2**20  # bytes; Flower cuts arrays into pieces of 5 MB
MOST_OBJECTS: Final = 1000  # parts of one reply; each is a row of the SuperLink's database
_LOOPBACK: Final = ("127.0.0.1", "::1")

_stock_push = fleet_handlers.push_messages
_stock_push_object = fleet_handlers.push_object


def guarded_superlink(place: LinkPlace) -> App:
    """The SuperLink of a place as an ASGI application."""
    tally = Tally()
    replace_in(fleet_handlers, "push_messages", partial(_push_own_replies, tally))
    replace_in(fleet_handlers, "push_object", partial(_push_part, tally))
    lighten()
    app = create_app(_config(place), SuperLinkLifespan)
    app.add_middleware(Guard, secret=local_secret(place.secret))
    return app


class Guard:
    """Lets hospitals reach what a SuperNode needs and nothing else.

    Args:
        app: The application behind it.
        secret: What a caller on this machine must show for everything else.
    """

    def __init__(self, app: App, secret: str) -> None:
        self._app = app
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a bare status."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http" or not self._allowed(scope):
            await _refuse(send, 403)
        elif not _small(scope):
            await _refuse(send, 413)
        elif (body := await _whole(receive)) is not None:
            await self._app(scope, _once(body, receive), send)

    def _allowed(self, scope: Scope) -> bool:
        if scope["path"] in OPEN_PATHS:
            return True
        shown = dict(scope["headers"]).get(LOCAL_HEADER.encode(), b"")
        near = scope["client"] is not None and scope["client"][0] in _LOOPBACK
        return near and hmac.compare_digest(shown, self._secret)


def _small(scope: Scope) -> bool:
    """Whether a request says how long it is, and is not too long; the server cuts off what exceeds its word."""
    headers = dict(scope["headers"])
    if scope["method"] in ("GET", "HEAD"):
        return True
    length = headers.get(b"content-length", b"")
    return b"transfer-encoding" not in headers and length.isdigit() and int(length) <= LARGEST_BODY


async def _whole(receive: Receive) -> bytes | None:
    """The body of a request; None where its sender left before the end.

    Flower's layers would each pass it on in pieces of 64 kB, which takes longer than everything else they do.
    """
    pieces, more = [], True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)


def _once(body: bytes, receive: Receive) -> Receive:
    """Gives a body in one piece; then what else is received."""
    left = [body]

    async def given() -> MutableMapping[str, Any]:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return given


async def _refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _push_own_replies(tally: Tally, request: PushMessagesRequest, state: LinkState) -> PushMessagesResponse:
    """Flower authenticates the node of a request but not the message in it: a hospital could address another one."""
    if len(request.messages_list) != 1 or len(request.message_object_trees) != 1:
        raise _forbidden("expected one message")
    if sum(1 for _ in iterate_object_tree(request.message_object_trees[0])) > MOST_OBJECTS:
        raise _forbidden(f"node {request.node.node_id} announced a reply of too many parts")
    metadata = request.messages_list[0].metadata
    if metadata.src_node_id != request.node.node_id:
        raise _forbidden(f"node {request.node.node_id} sent a message in another node's name")
    if not metadata.reply_to_message_id or metadata.dst_node_id != SUPERLINK_NODE_ID:
        raise _forbidden(f"node {request.node.node_id} sent a message that is no reply")
    response = _stock_push(request=request, state=state)
    tally.announce(response.session_id, request.node.node_id, metadata.run_id, metadata.reply_to_message_id)
    return response


def _push_part(tally: Tally, request: PushObjectRequest, state: LinkState) -> PushObjectResponse:
    """Flower takes any number of parts for one reply."""
    node, run = request.node.node_id, request.run_id
    if not tally.take(request.session_id, node, run, len(request.object_content)):
        raise _forbidden(f"node {node} sent more than a reply may hold")
    return _stock_push_object(request=request, state=state)


def _forbidden(why: str) -> FlowerError:
    logging.getLogger("wardround.superlink").warning("refused: %s", why)
    return FlowerError(ApiErrorCode.FLEET_RUN_STATUS_NOT_ALLOWED, why)


def _config(place: LinkPlace) -> SuperLinkLifespanConfig:
    pems = place.ca.read_bytes(), place.certificate.read_bytes(), place.key.read_bytes()
    return SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=place.host,
        port=place.port,
        insecure=False,
        certificates=pems,
        superexec_auth_secret=place.secret.read_bytes().strip(),
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=str(place.ca),
        ssl_certfile=str(place.certificate),
        ssl_keyfile=str(place.key),
        database=str(place.database),
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
