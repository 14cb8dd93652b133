"""Our envelopes as Flower records, and back.

Flower carries bytes; it is not believed. Whatever else a record holds (a claimed number of examples, metrics,
a configuration) is not even looked at. An envelope is one value of a configuration record, because Flower asks for
each part of a message in a request of its own; a large one is an array, which Flower sends in pieces.
"""

from typing import Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from wardround.common.errors import TrustError

LARGEST_VALUE: Final = 8 * 2**20  # bytes of an envelope that travels in one piece
_KEY: Final = "envelope"
_BYTES: Final = "wardround.bytes"


def pack(envelope: bytes) -> RecordDict:
    """One envelope as the content of a Flower message."""
    if len(envelope) <= LARGEST_VALUE:
        return RecordDict({_KEY: ConfigRecord({_KEY: envelope})})
    array = Array(dtype="uint8", shape=(len(envelope),), stype=_BYTES, data=envelope)
    return RecordDict({_KEY: ArrayRecord({_KEY: array})})


def unpack(content: RecordDict) -> bytes:
    """The envelope of a message's content.

    Raises:
        TrustError: There is none; nothing else in the content is read.
    """
    record = content.get(_KEY)
    if isinstance(record, ConfigRecord) and isinstance(value := record.get(_KEY), bytes):
        return value
    if not isinstance(record, ArrayRecord) or _KEY not in record:
        raise TrustError("expected one envelope in the message, found none")
    if record[_KEY].stype != _BYTES:
        raise TrustError(f"expected an envelope as {_BYTES}, found another serialisation")
    return record[_KEY].data
