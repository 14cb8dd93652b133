"""What every signed record shares: the bytes under a signature, and strict JSON.

A signature is never made over a bare message. It is made over the pre-authentication encoding (PAE) of DSSE:
the domain and the message, each with its length in front, so that a signature made for one purpose can never
pass for another, and no two (domain, message) pairs give the same bytes.

    >>> encoded("application/vnd.wardround+json", b"{}")
    b'DSSEv1 30 application/vnd.wardround+json 2 {}'

Checkpoints of a log are the one exception: they are signed notes, whose text says in its first bytes what it is (see
`note`), so that tools of other transparency logs can check them.

Source: DSSE, protocol.md (secure-systems-lab/dsse), version 1.
"""

import base64
import binascii
import json
from datetime import UTC, datetime

from wardround.common.errors import TrustError
from wardround.common.formats import canonical

ENVELOPE_DOMAIN = "application/vnd.wardround.envelope"
LEDGER_DOMAIN = "application/vnd.wardround.ledger+json"
HEAD_DOMAIN = "application/vnd.wardround.ledger-head+json"
LOG_DOMAIN = "application/vnd.wardround+json"
STATEMENT_DOMAIN = "application/vnd.wardround.statement+json"
NOTE_STARTS = (b"wardround/", b"cosignature/v1\n")

_HEX = frozenset("0123456789abcdef")


def encoded(domain: str, message: bytes) -> bytes:
    """The bytes that are signed: DSSE's PAE of `domain` (ASCII) and `message`."""
    name = domain.encode("ascii")
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(message), message)


def note(text: bytes) -> bytes:
    """The bytes that are signed of a checkpoint or cosignature: its text as it stands.

    Guarantees:
        No text that is accepted equals the `encoded` bytes of any domain and message: its first bytes differ.

    Raises:
        TrustError: The text begins like neither.
    """
    if not text.startswith(NOTE_STARTS):
        raise TrustError("expected the text of a checkpoint or of a cosignature, found other bytes to sign")
    return text


def parse(data: bytes, *, where: str) -> dict[str, object]:
    """Read one canonical JSON object.

    Only canonical bytes are accepted, which refuses repeated keys, NaN and a second spelling of one value.

    Raises:
        TrustError: The bytes are not the canonical form of a JSON object.
    """
    try:
        value = json.loads(data)
        same = canonical(value) == data
    except (ValueError, RecursionError):
        raise TrustError(f"expected canonical JSON in {where}, found something else") from None
    if not (same and isinstance(value, dict)):
        raise TrustError(f"expected one canonical JSON object in {where}, found another spelling or type")
    return value


def exact_keys(found: dict[str, object], expected: frozenset[str], *, where: str) -> None:
    """Refuse a missing or an unknown key. Names of keys are public; values are not shown.

    Raises:
        TrustError: The keys differ.
    """
    if missing := expected - found.keys():
        raise TrustError(f"expected key {min(missing)!r} in {where}, found none")
    if unknown := found.keys() - expected:
        raise TrustError(
            f"unknown key {min(unknown)!r} in {where}",
            advice="a newer release may have written it; nothing unknown is accepted",
        )


def text_of(data: bytes) -> str:
    """Base64 (RFC 4648, section 4) as text."""
    return base64.b64encode(data).decode("ascii")


def bytes_of(text: object, *, where: str) -> bytes:
    """Read base64 back; only the one canonical spelling is accepted.

    Raises:
        TrustError: It is not base64, or has stray bits that would give two spellings of one value.
    """
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or text_of(data) != text:
        raise TrustError(f"expected base64 text in {where}, found something else")
    return data


def is_digest(value: object) -> bool:
    """Whether a value is a SHA-256 in lower-case hexadecimal."""
    return isinstance(value, str) and len(value) == 64 and _HEX.issuperset(value)


def is_run(value: object) -> bool:
    """Whether a value is the identifier of a run: 128 bits in lower-case hexadecimal."""
    return isinstance(value, str) and len(value) == 32 and _HEX.issuperset(value)


def is_count(value: object) -> bool:
    """Whether a value is a whole number >= 0 (JSON `true` is not one)."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def utc_now() -> datetime:
    """The clock of a deployment."""
    return datetime.now(UTC)


def day(moment: datetime) -> str:
    """The day of a moment in UTC, in the form of `timestamp`: for what is handed over and must not say how long.

    >>> day(datetime(2026, 11, 22, 8, 30, tzinfo=UTC))
    '2026-11-22T00:00:00Z'
    """
    return timestamp(moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0))


def timestamp(moment: datetime) -> str:
    """UTC with seconds, RFC 3339.

    >>> timestamp(datetime(2026, 11, 22, 8, 30, tzinfo=UTC))
    '2026-11-22T08:30:00Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
