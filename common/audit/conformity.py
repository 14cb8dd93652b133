"""A conformance report: what one installation did on synthetic patients, bound to its code and signed.

It speaks about the code with that digest, on that machine, on that day, and about nothing else. Whoever signs says
that the report is the one that the run wrote; a signature cannot show that the hospital trains with this code.
"""

from collections.abc import Mapping
from typing import Final

from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.sealed import Kind, open_file, seal_file

FORMAT: Final = "wardround-conformance"
VERSION: Final = 1
KIND: Final = Kind(
    format=FORMAT,
    version=VERSION,
    fields=frozenset(
        {
            "checks",
            "code",
            "complete",
            "false_alarm",
            "machine",
            "seconds",
            "signer",
            "time",
            "verdict",
            "versions",
        }
    ),
)
CONFORMS: Final = "conforms"
DEVIATES: Final = "does not conform"


def seal_report(key: SigningKey, fields: Mapping[str, object]) -> bytes:
    """Sign a report.

    Args:
        key: Whose installation it is.
        fields: Those of `KIND`, without `signer`.
    """
    return seal_file(key, KIND, {**fields, "signer": key.public.encode()})


def open_report(data: bytes, key: PublicKey, *, where: str = "a conformance report") -> Mapping[str, object]:
    """Check a report and give its fields.

    Args:
        data: The bytes, from anybody.
        key: The hospital's key, as people compared it.
        where: For messages.

    Raises:
        StorageError: Another kind of file, or a newer version.
        TrustError: Changed, or signed by somebody else.
    """
    return open_file(data, KIND, signer=lambda _: key, where=where)
