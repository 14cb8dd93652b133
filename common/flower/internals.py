"""The only module that touches private names of Flower. Verified against flwr 1.41.

Every name here has a contract test, so that an upgrade of Flower fails loudly and in one place.
"""

import copy
import logging
import os
import uuid
from collections.abc import Sequence

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.common.secure_aggregation.ndarrays_arithmetic import parameters_addition, parameters_mod
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore import telemetry
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from numpy.typing import NDArray

__all__ = ["NodeInfo", "Run", "become_task", "deliver", "name_message", "quieten", "secagg_masked"]

Record = ArrayRecord | ConfigRecord | MetricRecord

# A hospital's computer reports to nobody. The variables are for processes that this one starts; here Flower has read
# them already, whoever imported it first.
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["FLWR_DISABLE_UPDATE_CHECK"] = "1"
telemetry.FLWR_TELEMETRY_ENABLED = "0"


def become_task() -> None:
    """Give this process the identity that `Message(...)` demands outside Flower's own runtime."""
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1


def name_message(message: Message) -> str:
    """Give a message the identifier that a SuperLink would give it."""
    identifier = str(uuid.uuid4())
    message.metadata.__dict__["_message_id"] = identifier
    return identifier


def deliver(message: Message) -> Message:
    """What arrives when a message is sent: rebuilt from its wire bytes, sharing no object that can change.

    The bytes of arrays and configurations cross as they are. They are immutable, and copying them into a protocol
    buffer and out again would be most of a small round.
    """
    sent = copy.copy(message)
    if message.has_content():
        sent.content = RecordDict({name: _without_data(record) for name, record in message.content.items()})
    arrived = message_from_proto(ProtoMessage.FromString(message_to_proto(sent).SerializeToString()))
    for name, record in message.content.items() if message.has_content() else ():
        _give_data(arrived.content[name], record)
    arrived.metadata.__dict__["_message_id"] = message.metadata.message_id
    return arrived


def _without_data(record: Record) -> Record:
    if isinstance(record, ConfigRecord):
        return ConfigRecord(
            {key: b"" if isinstance(value, bytes) else value for key, value in record.items()}
        )
    if not isinstance(record, ArrayRecord):
        return record
    return ArrayRecord(
        {
            key: Array(dtype=array.dtype, shape=array.shape, stype=array.stype, data=b"")
            for key, array in record.items()
        }
    )


def _give_data(arrived: Record, sent: Record) -> None:
    if isinstance(arrived, ArrayRecord) and isinstance(sent, ArrayRecord):
        for key, array in sent.items():
            arrived[key].data = bytes(array.data)  # the same object, unless somebody put a mutable one in
    if isinstance(arrived, ConfigRecord) and isinstance(sent, ConfigRecord):
        for key, value in sent.items():
            if isinstance(value, bytes):
                arrived[key] = value


def quieten() -> None:
    """Keep Flower's own log lines off a researcher's terminal; ours say what matters."""
    logging.getLogger("flwr").setLevel(logging.ERROR)


def secagg_masked(values: NDArray[np.int64], keys: Sequence[bytes]) -> NDArray[np.int64]:
    """Mask a vector modulo 2^32 as Flower's SecAgg+ does: to measure ours beside it, never to protect anything."""
    masked = [values]
    for key in keys:
        masked = parameters_addition(masked, pseudo_rand_gen(key, 1 << 32, [values.shape]))
    return parameters_mod(masked, 1 << 32)[0]
