"""What is inside the signed envelopes of a round: tasks, updates, refusals. Bytes in, values out.

The envelope says who, for which study, which round; the body here says what. Both sides use this module, so that
a body has one meaning.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import TrustError, WardroundError
from wardround.common.formats import canonical, digest
from wardround.common.learning.parameters import Parameters, from_bytes, to_bytes
from wardround.common.privacy.events import DpEvent, decode, encode
from wardround.common.trust.signed import exact_keys, is_count, is_digest, parse

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

_RECEIPT = frozenset({"event", "ledger_seq", "ledger_head"})
_REFERENCE = re.compile(r"[0-9a-f]{8}")
_LENGTH = 4  # bytes of the receipt's length, big-endian


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A site's signed word on what one release cost.

    Attributes:
        event: The charge of this release.
        ledger_seq: Number, from 0, of the newest entry in the site's ledger after the charge.
        ledger_head: Digest of that entry.
    """

    event: DpEvent
    ledger_seq: int
    ledger_head: str

    def to_dict(self) -> dict[str, object]:
        """The form that is signed and logged."""
        return {"event": encode(self.event), "ledger_seq": self.ledger_seq, "ledger_head": self.ledger_head}

    def to_bytes(self) -> bytes:
        """The bytes of `to_dict`."""
        return canonical(self.to_dict())

    @property
    def digest(self) -> str:
        """SHA-256 of `to_bytes`: what the head of the reply names."""
        return digest(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Receipt":
        """Read `to_bytes` back.

        Raises:
            TrustError: It is no receipt, or states a charge that cannot be.
        """
        return _receipt(parse(data, where="a receipt"))


def pack_update(receipt: Receipt, update: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The body of an update: its length depends on public terms only, never on patients."""
    head = receipt.to_bytes()
    return to_bytes(update, before=len(head).to_bytes(_LENGTH, "big") + head)


def unpack_update(body: bytes) -> tuple[Receipt, Parameters]:
    """Read what `pack_update` wrote.

    Raises:
        TrustError: The body is cut, is not what it says, or carries anything else.
    """
    size = int.from_bytes(body[:_LENGTH], "big")
    head, rest = body[_LENGTH : _LENGTH + size], body[_LENGTH + size :]
    return Receipt.from_bytes(head), from_bytes(rest)


def _receipt(found: dict[str, object]) -> Receipt:
    exact_keys(found, _RECEIPT, where="a receipt")
    try:
        match found:
            case {"event": dict(event), "ledger_seq": int(seq), "ledger_head": str(head)}:
                if is_count(seq) and is_digest(head):
                    return Receipt(event=decode(event), ledger_seq=seq, ledger_head=head)
    except (WardroundError, ValueError):
        raise TrustError("the receipt of an update states a charge that cannot be") from None
    raise TrustError("a field of a receipt has the wrong type")


def refusal_reference(body: bytes) -> str:
    """The reference number of a refusal: it means something at the site only.

    Raises:
        TrustError: The body says more or less than that.
    """
    match parse(body, where="a refusal"):
        case {"code": "declined", "reference": str(reference), **rest}:
            if not rest and _REFERENCE.fullmatch(reference):
                return reference
    raise TrustError("a refusal carries one code and one reference, nothing else")


def refusal(reference: str) -> bytes:
    """The body of a refusal: one code for every reason."""
    return canonical({"code": "declined", "reference": reference})
