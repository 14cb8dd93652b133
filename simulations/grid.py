"""An in-process Flower `Grid`: the same ServerApp, strategy and ClientApp as in a deployment, without a network.

Each message makes a round trip through Flower's wire bytes, so that sites and server share no objects, and an
exception at a site becomes the error reply that Flower's runtime would send.
"""

from collections.abc import Iterable

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from wardround.common.flower.internals import NodeInfo, Run, become_task, deliver, name_message

_CLIENT_APP_RAISED = 2  # Flower's own code for an exception inside a ClientApp


class InlineGrid(Grid):
    """Runs one site after the other, each when its reply is asked for: no more than one reply waits in memory.

    Args:
        app: The ClientApp that every site runs.
        sites: Name of each site, in order; it becomes the node's `partition-id`.
    """

    def __init__(self, app: ClientApp, sites: Iterable[str]) -> None:
        become_task()
        self._app = app
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"partition-id": index, "site": name},
                state=RecordDict(),
                run_config={},
            )
            for index, (node, name) in enumerate(enumerate(sites, start=10))
        }
        self._sent: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """A grid in this process serves one run only."""

    @property
    def run(self) -> Run:
        """The run's description; nothing here reads it."""
        return Run.create_empty(run_id=1)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """As Flower's own grids do."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes of all sites."""
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """The nodes of all sites, as a SuperLink describes them."""
        return [NodeInfo(node_id=node) for node in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Take messages on their way; a site works on its own when the reply is asked for."""
        sent = {name_message(message): message for message in messages}
        self._sent |= sent
        return list(sent)

    def _answer(self, message: Message) -> Message:
        arrived = deliver(message)
        try:
            return deliver(self._app(arrived, self._contexts[message.metadata.dst_node_id]))
        except Exception as error:
            return Message(Error(code=_CLIENT_APP_RAISED, reason=type(error).__name__), reply_to=arrived)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies, one by one in the order of sending; each is given out once."""
        asked = frozenset(message_ids)
        for identifier in [one for one in self._sent if one in asked]:
            if (message := self._sent.pop(identifier, None)) is not None:
                yield self._answer(message)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send all, return all replies. `timeout` has no meaning where nothing waits."""
        return self.pull_messages(self.push_messages(messages))
