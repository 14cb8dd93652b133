"""Checkpoints beside a log, one JSON object per line: `{"note": "<the signed checkpoint as text>"}`.

`checkpoints.jsonl` is written by the study's coordinator, after the lines that a checkpoint covers are durable.
`cosignatures.jsonl` is written by the log service, for the cosignatures that it was sent. Each has one writer. A torn
last line is left out by readers: it was told to nobody. A first line with a format and version may stand before them.

Nothing is verified here.
"""

from collections.abc import Iterable
from typing import Final

from wardround.common.errors import TrustError
from wardround.common.formats import canonical, check_header, header
from wardround.common.trust.checkpoint import SignedCheckpoint, parse
from wardround.common.trust.signed import exact_keys
from wardround.common.trust.signed import parse as parse_json

CHECKPOINTS: Final = "checkpoints.jsonl"
COSIGNATURES: Final = "cosignatures.jsonl"
FORMAT: Final = "wardround-checkpoints"
VERSION: Final = 1

HEAD: Final = canonical(header(FORMAT, VERSION))
"""The first line of a file."""


def checkpoint_line(signed: SignedCheckpoint) -> bytes:
    """The line of one checkpoint, without its newline."""
    return canonical({"note": signed.encode().decode()})


def read_line(line: bytes, *, where: str) -> SignedCheckpoint | None:
    """Read one line, given without its newline; None for the first, which says the format.

    Raises:
        TrustError: It is neither.
        StorageError: It is the first line of another kind of file, or a newer release wrote it.
    """
    found = parse_json(line, where=where)
    if "format" in found:
        check_header(found, name=FORMAT, version=VERSION, where=where)
        return None
    exact_keys(found, frozenset({"note"}), where=where)
    note = found["note"]
    if not isinstance(note, str):
        raise TrustError(f"expected a signed checkpoint as text in {where}, found something else")
    return parse(note.encode(), where=where)


def merged(found: Iterable[SignedCheckpoint]) -> dict[int, SignedCheckpoint]:
    """Size -> the checkpoint of that size with all its signatures; of two with different texts the first stays."""
    kept: dict[int, SignedCheckpoint] = {}
    for one in found:
        before = kept.setdefault(one.checkpoint.size, one)
        if before.checkpoint == one.checkpoint:
            kept[one.checkpoint.size] = before.with_signatures(one.signatures)
    return kept
