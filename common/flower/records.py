"""Our envelopes as Flower records, and back.

Flower carries bytes; it is not believed. Whatever else a record holds (a claimed number of examples, metrics,
a configuration) is not even looked at.
"""

from flwr.app import Array, ArrayRecord, RecordDict

from wardround.common.errors import TrustError

_KEY = "envelope"
_BYTES = "wardround.bytes"


def pack(envelope: bytes) -> RecordDict:
    """One envelope as the content of a Flower message (an array record, which Flower sends in chunks)."""
    array = Array(dtype="uint8", shape=(len(envelope),), stype=_BYTES, data=envelope)
    return RecordDict({_KEY: ArrayRecord({_KEY: array})})


def unpack(content: RecordDict) -> bytes:
    """The envelope of a message's content.

    Raises:
        TrustError: There is none; nothing else in the content is read.
    """
    # Not `content.array_records`: that view and the content refer to each other and would wait for the collector.
    record = content.get(_KEY)
    if not isinstance(record, ArrayRecord) or _KEY not in record:
        raise TrustError("expected one envelope in the message, found none")
    if record[_KEY].stype != _BYTES:
        raise TrustError(f"expected an envelope as {_BYTES}, found another serialisation")
    return record[_KEY].data
