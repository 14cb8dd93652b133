"""Private names of Flower's replies: taken in piece by piece, so that one hospital holds up or ends nothing.

Flower's own grid waits, for minutes, until a node has uploaded what it announced, and an object that cannot be read
ends the study. Here a reply that is not complete is looked at again with the next question, and one that is damaged,
too large or of another form becomes an error of the node that sent it. Verified: flwr 1.41.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from flwr.app import Array, Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_object_body,
    get_object_head_values_from_object_content,
    iterate_object_tree,
)
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectPullError,
    ObjectUnavailableError,
    inflate_object_from_contents,
)

from wardround.common.flower.records import LARGEST_VALUE
from wardround.common.flower.tally import LARGEST_REPLY

_LARGEST_PART: Final = LARGEST_VALUE + 2**20  # bytes of anything but the pieces of an array
_PIECE: Final = "ArrayChunk"


class _UnfitError(ValueError):
    """What a node sent cannot be one of our replies."""


@dataclass(slots=True, kw_only=True)
class Parcel:
    """A reply that a node announced, and what has arrived of it by now.

    Attributes:
        run: Number of the run.
        name: The reply's own name.
        answers: Name of the message that it answers, as the SuperLink checked it.
        wanted: Names of the objects that are still missing.
        contents: What has arrived.
    """

    run: int
    name: str
    answers: str
    wanted: list[str]
    contents: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, announced: ProtoMessage, tree: ObjectTree) -> "Parcel":
        """What the SuperLink says about a reply."""
        was = announced.metadata
        wanted = list(dict.fromkeys(node.object_id for node in iterate_object_tree(tree)))
        return cls(run=was.run_id, name=was.message_id, answers=was.reply_to_message_id, wanted=wanted)

    def look(self, pull: Callable[[str], bytes]) -> Message | None:
        """Take what has arrived since the last look.

        Args:
            pull: Flower's way to get one object.

        Returns:
            The whole reply; an error in its place if it can never be one; None while something is missing.
        """
        try:
            while self.wanted:
                self.contents[self.wanted[-1]] = pull(self.wanted[-1])
                self.wanted.pop()
                if sum(map(len, self.contents.values())) > LARGEST_REPLY:
                    raise _UnfitError
        except ObjectUnavailableError:
            return None
        except (ObjectPullError, _UnfitError):
            return self._error()
        return self._open()

    def put_back(self) -> None:
        """Nobody asks for it at the moment: keep only its names."""
        self.wanted.extend(self.contents)
        self.contents.clear()

    def _open(self) -> Message:
        try:
            _check_size(self.contents)
            found = inflate_object_from_contents(self.name, self.contents)
        except Exception:  # whatever a node sent, it is an error of that node
            return self._error()
        if not isinstance(found, Message) or found.metadata.reply_to_message_id != self.answers:
            return self._error()
        found.metadata.__dict__["_message_id"] = self.name
        return found

    def _error(self) -> Message:
        self.contents.clear()
        about = Metadata(
            run_id=self.run,
            message_id="",
            src_node_id=SUPERLINK_NODE_ID,
            dst_node_id=SUPERLINK_NODE_ID,
            reply_to_message_id=self.answers,
            group_id="",
            created_at=0.0,
            ttl=0.0,
            message_type="system",
        )
        return make_message(
            about, error=Error(code=ErrorCode.MESSAGE_UNAVAILABLE, reason="not a whole reply")
        )


def _check_size(contents: Mapping[str, bytes]) -> None:
    """Refuse what would grow when it is opened: pieces that are repeated, or many records of small numbers.

    Raises:
        ValueError, LookupError: It is refused, or is nothing of Flower's.
    """
    kinds: set[str] = set()
    for content in contents.values():
        kind, children, _ = get_object_head_values_from_object_content(content)
        if kind == _PIECE:
            continue
        if kind in kinds or len(content) > _LARGEST_PART:
            raise _UnfitError
        kinds.add(kind)
        if kind == Array.__qualname__:
            pieces = json.loads(get_object_body(content, Array))["arraychunk_ids"]
            if sum(len(contents[children[piece]]) for piece in pieces) > LARGEST_REPLY:
                raise _UnfitError
