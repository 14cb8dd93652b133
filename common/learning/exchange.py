"""What is inside the signed envelopes of a round: tasks, updates, refusals. Bytes in, values out.

The envelope says who, for which study, which round; the body here says what. Both sides use this module, so that
a body has one meaning.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import TrustError
from wardround.common.formats import canonical, digest
from wardround.common.learning.parameters import Parameters, from_bytes, to_bytes
from wardround.common.privacy.events import DpEvent, decode, encode

ROLL_CALL = "roll-call"
PRESENT = "present"
TASK = "task"
UPDATE = "update"
DECLINED = "declined"
FINISH = "finish"
FINISHED = "finished"

EVERYONE = "everyone"
"""Receiver of a roll call, which is meant for nobody in particular."""

NO_MODEL = digest(b"")
"""Base model of a message that starts from none."""

_LENGTH = 4  # bytes of the receipt's length, big-endian


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A site's signed word on what one release cost.

    Attributes:
        event: The charge of this release.
        ledger_seq: Number of entries in the site's ledger after the charge.
        ledger_head: Digest of the last of them.
    """

    event: DpEvent
    ledger_seq: int
    ledger_head: str

    def to_dict(self) -> dict[str, object]:
        """The form that is signed and logged."""
        return {"event": encode(self.event), "ledger_seq": self.ledger_seq, "ledger_head": self.ledger_head}


def pack_update(receipt: Receipt, update: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The body of an update: its length depends on public terms only, never on patients."""
    head = canonical(receipt.to_dict())
    return len(head).to_bytes(_LENGTH, "big") + head + to_bytes(update)


def unpack_update(body: bytes) -> tuple[Receipt, Parameters]:
    """Read what `pack_update` wrote.

    Raises:
        TrustError: The body is cut, is not what it says, or carries anything else.
    """
    size = int.from_bytes(body[:_LENGTH], "big")
    head, rest = body[_LENGTH : _LENGTH + size], body[_LENGTH + size :]
    try:
        found = json.loads(head)
        receipt = Receipt(
            event=decode(found.pop("event")),
            ledger_seq=int(found.pop("ledger_seq")),
            ledger_head=str(found.pop("ledger_head")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise TrustError("the receipt of an update cannot be read") from None
    if found:
        raise TrustError(f"the receipt of an update has unknown fields: {', '.join(sorted(found))}")
    return receipt, from_bytes(rest)


def refusal_reference(body: bytes) -> str:
    """The reference number of a refusal: it means something at the site only.

    Raises:
        TrustError: The body says more or less than that.
    """
    try:
        found = json.loads(body)
    except ValueError:
        raise TrustError("a refusal cannot be read") from None
    match found:
        case {"code": "declined", "reference": str(reference), **rest} if not rest:
            return reference
    raise TrustError("a refusal carries one code and one reference, nothing else")


def refusal(reference: str) -> bytes:
    """The body of a refusal: one code for every reason."""
    return canonical({"code": "declined", "reference": reference})
