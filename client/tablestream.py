"""Reading a large table in parts, cell for cell as `tables.read_table` reads it whole.

Text is cut where a row ends, outside quotation marks, and every part gets the file's header line; Parquet comes in
batches of its own. Memory holds one part at a time, however long the file is. A quotation mark that is never closed
makes a part grow to the end of the file, as it does when the file is read whole; beyond `LONGEST` it is refused.
"""

import gzip
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from wardround.client.tables import as_frame, kind_of, plain_table, reading, text_table
from wardround.common.errors import CohortError

BLOCK: Final = 1 << 25
"""Bytes of text that are read at once."""
ROWS: Final = 8192
"""Rows of Parquet that are read at once."""
LONGEST: Final = 1 << 30
_BOM: Final = b"\xef\xbb\xbf"
_QUOTE: Final = ord('"')
_NEWLINE: Final = ord("\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class TablePart:
    """Some rows of a table.

    Attributes:
        frame: At least one row, as `read_table` would give it.
        first: How many rows of the table stand before it.
        done: Share of the file that has been read, in [0, 1].
    """

    frame: pd.DataFrame = field(repr=False)
    first: int
    done: float


def read_parts(
    path: Path, *, verbatim: Collection[str] = (), block: int = BLOCK, rows: int = ROWS
) -> Iterator[TablePart]:
    """Read a table part by part.

    Args:
        path: As `tables.read_table`.
        verbatim: As there.
        block: Bytes of text at once.
        rows: Rows of Parquet at once.

    Raises:
        CohortError: As `read_table`, when the part that is at fault is reached.
    """
    kind, packed = kind_of(path)
    with reading(path), path.open("rb") as raw:
        size = max(path.stat().st_size, 1)
        if kind == "parquet":
            yield from _parquet(raw, packed, path.name, verbatim, rows)
            return
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        seen = 0
        for table in _tables(stream, kind, path.name, block):
            if table.num_rows:
                frame = as_frame(table, path.name, verbatim)
                yield TablePart(frame=frame, first=seen, done=min(raw.tell() / size, 1.0))
                seen += len(frame)
        if not seen:
            raise _no_rows(path.name)


def _tables(stream: BinaryIO, kind: str, name: str, block: int) -> Iterator[pa.Table]:
    header, before = b"", 0
    for part in _whole_rows(stream, name, block):
        if not header:
            header = _first_row(part)
            table = text_table(part, kind, name)
        else:
            table = text_table(header + part, kind, name, before=before)
        yield table
        before += table.num_rows
    if not header:
        raise CohortError(f"{name} is empty", advice="export the table again, with a header line")


def _whole_rows(stream: BinaryIO, name: str, block: int) -> Iterator[bytes]:
    """The file in parts that end where a row ends; the first has at least its header line."""
    rest = b""
    while data := stream.read(block):
        rest += data
        end = row_end(rest)
        if end and rest[:end].removeprefix(_BOM).strip():
            yield rest[:end]
            rest = rest[end:]
        elif len(rest) > LONGEST:
            raise CohortError(
                f"{name}: no row ends within {LONGEST >> 20} MiB", advice="look for an open quotation mark"
            )
    if rest.strip():
        yield rest


def row_end(data: bytes) -> int:
    r"""Where the last whole row ends: behind a line break outside quotation marks; 0 if there is none.

    Example:
        >>> row_end(b'a,b\n1,"x\ny"\n2,"')
        12
    """
    if b'"' not in data:
        return data.rfind(b"\n") + 1
    cells = np.frombuffer(data, np.uint8)
    inside = np.bitwise_xor.accumulate((cells == _QUOTE).view(np.uint8))
    ends = np.flatnonzero((cells == _NEWLINE) & (inside == 0))
    return int(ends[-1]) + 1 if len(ends) else 0


def _first_row(part: bytes) -> bytes:
    """The header line, with its line break."""
    end = part.find(b"\n")
    while end >= 0 and (part[:end].count(b'"') % 2 or not part[:end].removeprefix(_BOM).strip()):
        end = part.find(b"\n", end + 1)
    return part if end < 0 else part[: end + 1]


def _parquet(
    raw: BinaryIO, packed: bool, name: str, verbatim: Collection[str], rows: int
) -> Iterator[TablePart]:
    source = pa.BufferReader(gzip.decompress(raw.read())) if packed else raw
    try:
        file = pq.ParquetFile(source)
        total, seen = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(batch_size=rows):
            frame = as_frame(plain_table(pa.Table.from_batches([batch]), name), name, verbatim)
            if len(frame):
                yield TablePart(frame=frame, first=seen, done=(seen + len(frame)) / total)
                seen += len(frame)
    except pa.ArrowException:
        raise CohortError(f"{name} is not a Parquet file", advice="check the file's name and kind") from None
    if not seen:
        raise _no_rows(name)


def _no_rows(name: str) -> CohortError:
    return CohortError(f"{name} has a header but no rows", advice="export the table again, with its patients")
