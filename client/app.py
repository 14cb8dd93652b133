"""The ClientApp: unpacks an envelope, lets the site answer, packs the reply. The same everywhere.

Which site a node is comes from the node's own configuration, never from a message. Whatever goes wrong outside the
site's own refusals leaves as one constant error, because Flower sends exception texts to the server.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from wardround.common.flower.records import pack, unpack


class Answers(Protocol):
    """Whoever answers for a site: a `Site` in one study, or a reception that finds the site of each message."""

    def answer(self, data: bytes) -> bytes:
        """Answer one message from the coordinator; raise where not even a refusal is due."""
        ...


SiteFor = Callable[[Context], AbstractContextManager[Answers]]


class SiteFailed(RuntimeError):  # noqa: N818  (Flower shows the class name to the server; it says all it may)
    """What the server sees of any unexpected failure at a site."""


def client_app(site_for: SiteFor) -> ClientApp:
    """A Flower ClientApp that answers for the site of its node.

    Args:
        site_for: Opens the site that a node's configuration names, for one message.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        return _answer(message, context, site_for)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return _answer(message, context, site_for)

    return app


def _answer(message: Message, context: Context, site_for: SiteFor) -> Message:
    try:
        with site_for(context) as site:
            return Message(pack(site.answer(unpack(message.content))), reply_to=message)
    except Exception:
        raise SiteFailed from None
