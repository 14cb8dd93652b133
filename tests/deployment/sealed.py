"""What leaves a hospital in our envelopes, without what is random or names it: for comparing two hospitals' words."""

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final


def envelope_of(data: bytes) -> tuple[object, ...]:
    """One of our envelopes: header, signature, body."""
    line, _, rest = data.partition(b"\n")
    header: dict[str, Any] = json.loads(line)
    header["sender"] = "<names the hospital>"
    header["run"] = ("<drawn by the coordinator>", len(header.get("run", "")))
    header["body_digest"] = ("<a hash over noised numbers>", len(header["body_digest"]))
    signature, body = rest[:64], rest[64:]
    assert len(signature) == 64
    if header.get("receipt"):
        assert header["receipt"] == hashlib.sha256(receipt_of(body)).hexdigest()
        header["receipt"] = "<a hash over the receipt, which is compared itself>"
    if header.get("log"):
        header["log"] = log_of(header["log"])
    inside = INSIDE[header["kind"]](body) if header["kind"] in INSIDE else (body,)
    return tuple(sorted(header.items())), "<signature>", len(body), inside


def update_of(body: bytes) -> tuple[object, ...]:
    """Receipt, and safetensors of which only the numbers are left out."""
    receipt, tensors = json.loads(receipt_of(body)), body[4 + len(receipt_of(body)) :]
    receipt["ledger_head"] = ("<a hash over a clock and a key>", len(receipt["ledger_head"]))
    (names,) = struct.unpack("<Q", tensors[:8])
    numbers = tensors[8 + names :]
    return (
        len(receipt_of(body)),
        tuple(sorted((key, repr(value)) for key, value in receipt.items())),
        tensors[8 : 8 + names],
        len(numbers),
    )


def log_of(text: str) -> tuple[object, ...]:
    """How many lines of the log were cosigned, and the cosignature, if there is one."""
    size, *lines, end = text.split("\n")
    assert end == ""
    for line in lines:
        dash, name, signature = line.split(" ")
        assert (dash, len(name), len(base64.b64decode(signature))) == ("\u2014", 64, 4 + 8 + 64)
    return (size, *(f"<key, clock and signature, {len(line)} characters>" for line in lines))


def approval_of(body: bytes) -> tuple[object, ...]:
    """A signed approval: all that it says but the name, the clock and the hash over them."""
    if not body:
        return (body,)
    statement = json.loads(body)
    said = json.loads(base64.b64decode(statement.pop("payload")))
    (signed,) = statement.pop("signatures")
    said["site"], said["time"] = "<names the hospital>", ("<the clock>", len(said["time"]))
    for price in (said, said.get("evaluation")):  # of training, and of the evaluation if there is one
        if price:
            price["ledger"]["hash"] = ("<a hash over a clock and a key>", len(price["ledger"]["hash"]))
    lengths = {name: len(value) for name, value in signed.items()}
    return tuple(sorted((name, repr(value)) for name, value in (said | statement | lengths).items()))


def receipt_of(body: bytes) -> bytes:
    """The receipt of an update, behind its length."""
    return body[4 : 4 + int.from_bytes(body[:4], "big")]


def refusal_of(body: bytes) -> tuple[object, ...]:
    """One code, and a reference of eight drawn digits."""
    found = json.loads(body)
    reference = found.pop("reference")
    assert len(reference) == 8
    int(reference, 16)
    return tuple(sorted(found.items()))


INSIDE: Final[Mapping[str, Callable[[bytes], tuple[object, ...]]]] = {
    "update": update_of,
    "declined": refusal_of,
    "present": approval_of,
}
"""Kind of an envelope -> what of its body is compared. Every other body is compared as it is."""
