"""One line of a site's ledger: a signed, numbered entry that names the line before it. Pure: bytes and values.

A line is the canonical JSON of `seq` (from 0), `prev` (SHA-256 of the line before, without its newline; 64 zeros
in the first), `kind`, `time` (the day in UTC by the site's clock, for people only), `payload` and `signature`. The
signature covers the canonical JSON of all other fields for the ledger domain (see `signed`). The first line also
carries `format` and `version`. Numbers are integers or decimal strings.

Source: Schneier and Kelsey (1999), "Secure audit logs to support computer forensics".
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wardround.common.errors import TrustError
from wardround.common.formats import canonical, check_header, digest, header
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.signed import LEDGER_DOMAIN, bytes_of, exact_keys, parse, text_of

FORMAT = "wardround-ledger"
VERSION = 1
NOTHING_BEFORE = "0" * 64

_KEYS = frozenset({"seq", "prev", "kind", "time", "payload", "signature"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One verified entry.

    Attributes:
        seq: Its number, from 0.
        prev: SHA-256 of the line before.
        kind: What happened; the rules are in `ledgerstate`.
        time: The day in UTC by the site's clock: a ledger is handed over, and must not tell how long a site computed on
            its patients. No rule depends on it.
        payload: The details of that kind.
        line: The exact bytes, without a newline.
    """

    seq: int
    prev: str
    kind: str
    time: str
    payload: Mapping[str, object]
    line: bytes

    @property
    def hash(self) -> str:
        """SHA-256 of the line: what the next entry calls `prev`."""
        return digest(self.line)


def write_entry(
    key: SigningKey, *, before: Entry | None, kind: str, time: str, payload: Mapping[str, object]
) -> Entry:
    """Sign the entry that follows `before` (None: the first)."""
    seq, prev = (before.seq + 1, before.hash) if before else (0, NOTHING_BEFORE)
    fields = {"seq": seq, "prev": prev, "kind": kind, "time": time, "payload": dict(payload)}
    signed = fields if before else {**header(FORMAT, VERSION), **fields}
    signature = text_of(key.sign(LEDGER_DOMAIN, canonical(signed)))
    line = canonical({**signed, "signature": signature})
    return Entry(seq=seq, prev=prev, kind=kind, time=time, payload=payload, line=line)


def read_entry(line: bytes, *, key: PublicKey, before: Entry | None, where: str) -> Entry:
    """Verify one line.

    Args:
        line: The bytes without a newline.
        key: The site's public key.
        before: The entry of the line before; None for the first line.
        where: The file, for messages.

    Raises:
        TrustError: The line was edited, moved, signed by another key, or cannot be read.
        StorageError: The first line is of another format or a newer version.
    """
    place = f"{where}, line {before.seq + 2 if before else 1}"
    found = parse(line, where=place)
    expected = _KEYS if before else _KEYS | {"format", "version"}
    if not before:
        check_header(found, name=FORMAT, version=VERSION, where=where)
    exact_keys(found, expected, where=place)
    signature = bytes_of(found.pop("signature"), where=place)
    try:
        key.verify(LEDGER_DOMAIN, canonical(found), signature)
    except TrustError:
        raise _changed(place, "the signature does not fit") from None
    return _entry(found, line, before, place)


def _entry(found: dict[str, object], line: bytes, before: Entry | None, place: str) -> Entry:
    seq, prev = (before.seq + 1, before.hash) if before else (0, NOTHING_BEFORE)
    match found:
        case {"seq": int(), "prev": str(), "kind": str(kind), "time": str(time), "payload": dict(payload)}:
            if found["seq"] != seq or found["prev"] != prev:
                raise _changed(place, "it does not follow the line before")
            return Entry(seq=seq, prev=prev, kind=kind, time=time, payload=payload, line=line)
    raise _changed(place, "a field has another type")


def _changed(place: str, why: str) -> TrustError:
    return TrustError(
        f"expected an unbroken chain of this site's entries, found a changed line: {place}: {why}",
        advice="stop this site; a lost or changed entry under-counts privacy. Compare with the last good backup "
        "and the coordinator's study log, and let the data protection officer decide",
    )
