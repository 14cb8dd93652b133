"""The head of an envelope: what is proven without the body, and the fields that version 1 gained."""

import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.trust.envelope import Header, head_of, open_envelope, open_head, seal
from wardround.common.trust.identity import Roster, SigningKey


def key(number: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


COORDINATOR, STRANGER = key(9), key(7)
ROSTER = Roster(coordinator="coordinator", coordinator_key=COORDINATOR.public, sites={"east": key(1).public})
HEADER = Header(
    kind="task",
    study="response",
    protocol_digest=digest(b"protocol"),
    run=digest(b"run")[:32],
    round=3,
    attempt=1,
    sender="coordinator",
    receiver="east",
    base_model=digest(b"model"),
)
BODY = bytes(range(40))
SEALED = seal(COORDINATOR, HEADER, BODY)


def test_fields_that_version_1_gained_are_on_the_wire_only_where_they_say_something() -> None:
    marked = replace(HEADER, receipt=digest(b"receipt"), log="old 0\n")
    line, _ = seal(COORDINATOR, marked, BODY).split(b"\n", 1)
    assert json.loads(line) == json.loads(SEALED.split(b"\n", 1)[0]) | {
        "receipt": digest(b"receipt"),
        "log": "old 0\n",
    }
    assert open_envelope(seal(COORDINATOR, marked, BODY), ROSTER, log="old 0\n").header == marked


def test_a_header_that_nobody_would_read_is_not_sealed() -> None:
    with pytest.raises(UsageError, match="header of at most 8192 bytes"):
        seal(COORDINATOR, replace(HEADER, log="x" * 8192), BODY)


def test_a_head_proves_header_and_body_digest_without_the_body() -> None:
    head = head_of(SEALED)
    assert head + BODY == SEALED
    opened = open_head(head, ROSTER, receiver="east", round=3)
    assert (opened.header, opened.body_digest) == (HEADER, digest(BODY))


def test_a_head_with_a_fault_is_refused() -> None:
    head = head_of(SEALED)
    for place in range(len(head)):
        changed = bytearray(head)
        changed[place] ^= 1
        with pytest.raises(TrustError):
            open_head(bytes(changed), ROSTER)
    for wrong in (SEALED, head[:-1], head + b"\n", head_of(seal(STRANGER, HEADER, BODY))):
        with pytest.raises(TrustError):
            open_head(wrong, ROSTER)
    with pytest.raises(TrustError, match="expected round 4"):
        open_head(head, ROSTER, round=4)
    with pytest.raises(UsageError, match="no field"):
        open_head(head, ROSTER, reciever="east")
