"""A DSSE envelope in JSON with one signature: how lines of the log and statements are carried.

    {"payload": BASE64, "payloadType": TYPE, "signatures": [{"keyid": FINGERPRINT, "sig": BASE64}]}

Written in canonical JSON. The signature covers DSSE's encoding of type and payload (see `signed`), so that what was
signed as one type stands for no other.

Source: DSSE (secure-systems-lab/dsse), envelope.md and protocol.md, version 1.
"""

from typing import Final

from wardround.common.errors import TrustError
from wardround.common.formats import canonical
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.signed import bytes_of, exact_keys, parse, text_of

_KEYS: Final = frozenset({"payload", "payloadType", "signatures"})


def wrap(key: SigningKey, kind: str, payload: bytes) -> bytes:
    """Sign a payload; the same arguments give the same bytes.

    Args:
        key: Who signs.
        kind: The payload's type, one of the domains of `signed`.
        payload: What is signed.
    """
    signature = {"keyid": key.public.fingerprint, "sig": text_of(key.sign(kind, payload))}
    return canonical({"payload": text_of(payload), "payloadType": kind, "signatures": [signature]})


def unwrap(data: bytes, kind: str, *, where: str) -> tuple[bytes, str, bytes]:
    """Read an envelope of a type. The signature is not verified: the caller knows the key.

    Returns:
        Payload, fingerprint of the key that is said to have signed, and signature.

    Raises:
        TrustError: It is none, of another type, or has more than one signature.
    """
    found = parse(data, where=where)
    exact_keys(found, _KEYS, where=where)
    match found:
        case {"payload": payload, "signatures": [{"keyid": str(keyid), "sig": signature, **rest}]} if (
            not rest
        ):
            if found["payloadType"] == kind:
                return bytes_of(payload, where=where), keyid, bytes_of(signature, where=where)
    raise TrustError(f"expected a DSSE envelope of type {kind} with one signature in {where}")
