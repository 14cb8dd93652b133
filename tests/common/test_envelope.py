"""Envelopes: everything is bound, and nothing but the sealed bytes opens."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import canonical, digest
from wardround.common.trust.envelope import (
    KINDS,
    LONGEST_HEADER,
    Header,
    claimed_digest,
    open_envelope,
    seal,
)
from wardround.common.trust.identity import PublicKey, Roster, SigningKey

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def key(number: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


COORDINATOR, EAST, NORTH, STRANGER = key(9), key(1), key(2), key(7)
ROSTER = Roster(
    coordinator="coordinator",
    coordinator_key=COORDINATOR.public,
    sites={"east": EAST.public, "north": NORTH.public},
)
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

OTHER: dict[str, Any] = {
    "kind": "finish",
    "study": "survival",
    "protocol_digest": digest(b"another protocol"),
    "run": digest(b"another run")[:32],
    "round": 4,
    "attempt": 2,
    "sender": "north",
    "receiver": "north",
    "base_model": digest(b"another model"),
    "receipt": digest(b"another receipt"),
    "log": "another log",
}


def fields(header: Header) -> dict[str, Any]:
    return {name: getattr(header, name) for name in Header.__dataclass_fields__}


def forged(change: dict[str, object], *, signer: SigningKey = COORDINATOR, body: bytes = BODY) -> bytes:
    """An envelope whose header says anything, with a good signature over it."""
    line = json.loads(SEALED.split(b"\n", 1)[0]) | change
    text = canonical({name: value for name, value in line.items() if value is not ...})
    return text + b"\n" + signer.sign("application/vnd.wardround.envelope", text) + body


def test_what_was_sealed_is_opened() -> None:
    opened = open_envelope(SEALED, ROSTER, **fields(HEADER))
    assert opened.header == HEADER
    assert opened.body == BODY
    assert (opened.header.round, opened.header.attempt) == (3, 1)
    assert open_envelope(forged({}), ROSTER).body == BODY


def test_the_bytes_on_the_wire_are_header_line_signature_and_body() -> None:
    line, rest = SEALED.split(b"\n", 1)
    said = {name: value for name, value in fields(HEADER).items() if name not in ("receipt", "log")}
    assert json.loads(line) == said | {
        "format": "wardround-envelope",
        "version": 1,
        "body_digest": digest(BODY),
    }
    pae = b"DSSEv1 34 application/vnd.wardround.envelope %d %b" % (len(line), line)
    assert rest == Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32).sign(pae) + BODY


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_field_that_differs_is_named_with_both_values(name: str) -> None:
    with pytest.raises(TrustError) as caught:
        open_envelope(SEALED, ROSTER, **(fields(HEADER) | {name: OTHER[name]}))
    message = str(caught.value)
    assert f"expected {name} {OTHER[name]!r}" in message
    assert repr(getattr(HEADER, name)) in message


@pytest.mark.parametrize("name", sorted(OTHER))
def test_a_field_changed_under_way_is_refused_even_if_nobody_expects_it(name: str) -> None:
    other = seal(COORDINATOR, replace(HEADER, **{name: OTHER[name]}), BODY)
    mixed = other.split(b"\n", 1)[0] + b"\n" + SEALED.split(b"\n", 1)[1]
    with pytest.raises(TrustError, match="signature does not belong"):
        open_envelope(mixed, ROSTER)


def test_every_single_flipped_bit_is_refused() -> None:
    for at in range(len(SEALED) * 8):
        flipped = bytearray(SEALED)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(TrustError):
            open_envelope(bytes(flipped), ROSTER)


@given(st.binary(max_size=300), st.data())
def test_any_flipped_bit_of_any_body_is_refused(body: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(EAST, replace(HEADER, sender="east", receiver="coordinator"), body))
    at = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[at // 8] ^= 1 << at % 8
    with pytest.raises(TrustError):
        open_envelope(bytes(sealed), ROSTER)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_without_a_raw_exception(data: bytes) -> None:
    for hostile in (data, SEALED[:50] + data, data + b"\n" + data + bytes(64)):
        with pytest.raises(TrustError):
            open_envelope(hostile, ROSTER)


def test_every_shortened_or_lengthened_envelope_is_refused() -> None:
    for end in range(len(SEALED)):
        with pytest.raises(TrustError):
            open_envelope(SEALED[:end], ROSTER)
    with pytest.raises(TrustError, match="body_digest"):
        open_envelope(SEALED + b"x", ROSTER)


def test_a_header_without_end_is_refused_before_anything_is_parsed() -> None:
    with pytest.raises(TrustError, match=f"ends within {LONGEST_HEADER} bytes"):
        open_envelope(b"{" * (LONGEST_HEADER + 1) + b"\n" + bytes(64), ROSTER)
    with pytest.raises(TrustError, match="canonical JSON"):
        open_envelope(b"[" * LONGEST_HEADER + b"\n" + bytes(64), ROSTER)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 2}, "expected envelope version 1, found 2"),
        ({"version": 1.0}, "expected envelope version 1, found 1.0"),
        ({"version": True}, "expected envelope version 1, found True"),
        ({"format": "other"}, "expected format 'wardround-envelope'"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"attempt": ...}, "expected key 'attempt'"),
        ({"run": ...}, "expected key 'run'"),
        ({"run": ""}, "128 bits in hexadecimal"),
        ({"run": "0" * 64}, "128 bits in hexadecimal"),
        ({"run": 3}, "128 bits in hexadecimal"),
        ({"round": -1}, "whole numbers >= 0"),
        ({"round": True}, "whole numbers >= 0"),
        ({"round": 3.0}, "whole numbers >= 0"),
        ({"kind": "code"}, "expected kind to be one of"),
        ({"kind": ["task"]}, "expected kind to be one of"),
        ({"study": ""}, "expected a name"),
        ({"receiver": 7}, "expected a name"),
        ({"base_model": "A" * 64}, "SHA-256"),
        ({"protocol_digest": digest(b"")[:-1]}, "SHA-256"),
        ({"sender": 7}, "name of a sender"),
        ({"sender": ...}, "name of a sender"),
        ({"body_digest": digest(b"")}, "body_digest differs"),
        ({"body_digest": None}, "expected the SHA-256 of a body"),
        ({"receipt": ""}, "no empty field"),
        ({"receipt": "ab"}, "SHA-256"),
        ({"log": 3}, "log to be text"),
    ],
)
def test_a_signed_header_with_a_fault_is_refused(change: dict[str, object], why: str) -> None:
    with pytest.raises(TrustError, match=why):
        open_envelope(forged(change), ROSTER)


def test_a_header_in_another_spelling_is_refused() -> None:
    line = json.dumps(json.loads(SEALED.split(b"\n", 1)[0])).encode()
    with pytest.raises(TrustError, match="another spelling"):
        open_envelope(line + b"\n" + COORDINATOR.sign("x", line) + BODY, ROSTER)


def test_a_repeated_key_is_refused() -> None:
    line = SEALED.split(b"\n", 1)[0].replace(b'"round":3', b'"round":2,"round":3')
    signature = COORDINATOR.sign("application/vnd.wardround.envelope", line)
    with pytest.raises(TrustError, match="another spelling"):
        open_envelope(line + b"\n" + signature + BODY, ROSTER)


def test_a_strangers_envelope_is_refused() -> None:
    with pytest.raises(TrustError, match="'south' is not in the roster"):
        open_envelope(seal(STRANGER, replace(HEADER, sender="south"), BODY), ROSTER)


def test_one_site_cannot_speak_for_another() -> None:
    with pytest.raises(TrustError, match="signature does not belong"):
        open_envelope(seal(NORTH, replace(HEADER, sender="east"), BODY), ROSTER)


def test_the_signature_is_checked_before_the_rest_is_believed() -> None:
    with pytest.raises(TrustError, match="signature does not belong"):
        open_envelope(forged({"version": 2}, signer=STRANGER), ROSTER)


def test_a_signature_made_for_another_purpose_does_not_open() -> None:
    line = SEALED.split(b"\n", 1)[0]
    wrong = line + b"\n" + COORDINATOR.sign("application/vnd.wardround+json", line) + BODY
    with pytest.raises(TrustError, match="signature does not belong"):
        open_envelope(wrong, ROSTER)


def test_an_expectation_that_no_envelope_has_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no field 'reciever'"):
        open_envelope(SEALED, ROSTER, reciever="east")


def test_true_is_not_round_one() -> None:
    sealed = seal(COORDINATOR, replace(HEADER, round=1), BODY)
    with pytest.raises(TrustError, match="expected round True"):
        open_envelope(sealed, ROSTER, round=True)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([5000, 5001])), max_size=30))
def test_every_body_gets_its_own_digest_whichever_came_before(bodies: list[tuple[int, int]]) -> None:
    for last, size in bodies:
        body = bytes(size - 1) + bytes([last])
        assert open_envelope(seal(COORDINATOR, HEADER, body), ROSTER).body_digest == digest(body)


def test_one_other_byte_in_a_large_body_is_noticed_after_the_honest_one_was_opened() -> None:
    data = seal(COORDINATOR, HEADER, bytes(5000))
    assert open_envelope(data, ROSTER).body == bytes(5000)
    for place in (-5000, -2500, -1):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(TrustError, match="body_digest differs"):
            open_envelope(bytes(changed), ROSTER)


def test_the_header_has_one_length_for_all_bodies_of_a_study() -> None:
    assert len(seal(EAST, HEADER, b"")) == len(seal(EAST, HEADER, BODY)) - len(BODY)


def test_the_golden_envelope_of_version_1_still_opens() -> None:
    # Sealed anew when every message got its run, before any release; its private key is kept nowhere.
    east = PublicKey.decode("jA9ns+NxSsbpNG4xoruvzEmlq9n04Ui98ten1UOPR5k=")
    roster = replace(ROSTER, sites={"east": east})
    opened = open_envelope((GOLDEN / "envelope-v1.bin").read_bytes(), roster, receiver="coordinator")
    assert opened.header.kind == "update"
    assert opened.header.sender == "east"
    assert (opened.header.round, opened.header.attempt) == (2, 1)
    assert opened.header.run == "00112233445566778899aabbccddeeff"
    assert opened.body == b"body of version 1\x00\xff\n"


def test_every_kind_can_be_sealed() -> None:
    for kind in KINDS:
        assert open_envelope(seal(COORDINATOR, replace(HEADER, kind=kind), b""), ROSTER).header.kind == kind


def test_the_claimed_digest_is_read_before_anything_is_verified() -> None:
    assert claimed_digest(SEALED) == HEADER.protocol_digest
    assert claimed_digest(SEALED[:-4] + b"gone") == HEADER.protocol_digest


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no header",
        b"{}\n" + bytes(64),
        b'{"protocol_digest":1}\n' + bytes(64),
        b'{"protocol_digest":"../../etc"}\n' + bytes(64),
        b'{"protocol_digest":"' + b"A" * 64 + b'"}\n' + bytes(64),
        b'{"protocol_digest":"' + b"a" * 9000 + b'"}\n' + bytes(64),
    ],
)
def test_what_claims_no_digest_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError):
        claimed_digest(data)
