r"""What one party says and signs, to be carried and kept by others: an approval, a report. DSSE in JSON, as in the log.

    {"payload": BASE64, "payloadType": "application/vnd.wardround.statement+json", "signatures": [{"keyid": K,
    "sig": BASE64}]}

The payload is the canonical JSON of `format`, `version`, `kind` and the fields of that kind. A statement stands in a
study log as it came, so that nobody but its signer can have made it. It is checked with openssl like a line of the log
(see `studylog`), with `DSSEv1 40 application/vnd.wardround.statement+json` before the length.

Source: DSSE (secure-systems-lab/dsse), envelope.md and protocol.md, version 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wardround.common.errors import TrustError
from wardround.common.formats import canonical, check_header, header
from wardround.common.trust.dsse import unwrap, wrap
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.signed import STATEMENT_DOMAIN, parse

FORMAT: Final = "wardround-statement"
VERSION: Final = 1
LONGEST: Final = 1 << 20  # bytes
APPROVAL: Final = "approval"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement whose signature was checked.

    Attributes:
        kind: What it is about.
        fields: What it says.
        keyid: Fingerprint of the key that signed.
    """

    kind: str
    fields: Mapping[str, object]
    keyid: str


def sign_statement(key: SigningKey, kind: str, fields: Mapping[str, object]) -> bytes:
    """A signed statement; the same arguments give the same bytes.

    Args:
        key: Who says it.
        kind: What it is about.
        fields: JSON values; numbers as integers or decimal strings.
    """
    payload = canonical({**header(FORMAT, VERSION), "kind": kind, **fields})
    return wrap(key, STATEMENT_DOMAIN, payload)


def read_statement(data: bytes, *, kind: str, signer: PublicKey, where: str = "a statement") -> Statement:
    """Check a statement and read it. What its fields mean is for the caller to check.

    Args:
        data: The bytes, from anybody.
        kind: What it must be about.
        signer: Who must have signed it.
        where: For messages.

    Guarantees:
        Returns only if the holder of `signer` signed exactly these fields for this kind.

    Raises:
        TrustError: Anything else.
        StorageError: A newer version.
    """
    if len(data) > LONGEST:
        raise TrustError(f"expected at most {LONGEST} bytes in {where}, found more")
    payload, keyid, signature = unwrap(data, STATEMENT_DOMAIN, where=where)
    if keyid != signer.fingerprint:
        raise TrustError(f"expected key {signer.short} under {where}, found another")
    signer.verify(STATEMENT_DOMAIN, payload, signature)
    found = parse(payload, where=where)
    check_header(found, name=FORMAT, version=VERSION, where=where)
    if found.get("kind") != kind:
        raise TrustError(f"expected {where} of kind {kind!r}, found {found.get('kind')!r:.80}")
    about = {name: value for name, value in found.items() if name not in ("format", "version", "kind")}
    return Statement(kind=kind, fields=about, keyid=keyid)
