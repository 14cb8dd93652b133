"""Reading a hospital's table without changing what it says.

CSV, TSV and Parquet, each also gzipped. Every cell of a text file stays a string, so that leading zeros of
identifiers and hospital codes survive; only the declared spellings in `MISSING` become missing. A file that
could be misread (another encoding, ragged rows, decimal commas) is refused with advice, never guessed at.
Messages name rows by number and columns by name; they never show a cell.

Assumes the table fits in memory (about three times its size on disk while it is read).
"""

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from wardround.common.errors import CohortError

MISSING: Final = ("", "NA", "N/A", "NaN", "nan", "null", "None", ".", "?")
"""Cells that mean "no value". Hospital code NA is a real code: see `verbatim` in `read_table`."""

TEXT: Final = pd.StringDtype("pyarrow", na_value=np.nan)
_HEADER_BYTES: Final = 1 << 24
_KINDS: Final = {
    ".csv": "csv",
    ".txt": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
}


def read_table(path: Path | str, *, verbatim: Collection[str] = ()) -> pd.DataFrame:
    """Read one table.

    Args:
        path: A `.csv`, `.txt`, `.tsv`, `.tab`, `.parquet` or `.pq` file, or one of these with `.gz` behind it.
        verbatim: Columns in which only an empty cell is missing, such as the hospital code (one TCGA hospital
            is called NA) and the patient identifier.

    Returns:
        One row per line of the file. Text files give string columns with NaN where missing; Parquet keeps
        numbers as numbers (booleans as 1 and 0).

    Raises:
        CohortError: The file is missing, empty, of another encoding or kind, ragged, or names a column twice.
    """
    file = Path(path)
    kind, packed = kind_of(file)
    data = _bytes(file, packed)
    if not data.strip():
        raise CohortError(f"{file.name} is empty", advice="export the table again, with a header line")
    table = _parquet(data, file.name) if kind == "parquet" else text_table(data, kind, file.name)
    if not table.num_rows:
        raise CohortError(f"{file.name} has a header but no rows")
    return as_frame(table, file.name, verbatim)


def as_frame(table: pa.Table, name: str, verbatim: Collection[str]) -> pd.DataFrame:
    """Rows of a table as the rest of the package reads them; see `read_table`.

    Raises:
        CohortError: A column has no name, or two have one.
    """
    names = _column_names(table.column_names, name)
    columns = [
        _with_missing(column, own in verbatim) for own, column in zip(names, table.columns, strict=True)
    ]
    frame = pa.table(columns, names=names).to_pandas(
        ignore_metadata=True, types_mapper={pa.large_string(): TEXT}.get
    )
    return frame  # type: ignore[no-any-return]


def kind_of(file: Path) -> tuple[str, bool]:
    """Which kind of table a file's name tells, `csv`, `tsv` or `parquet`, and whether it is gzipped.

    Raises:
        CohortError: It tells none.
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = _KINDS.get(suffixes[-2] if packed and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
    if kind is None:
        raise CohortError(
            f"cannot tell what kind of table {file.name} is",
            advice="name it .csv, .tsv or .parquet, with .gz behind it if compressed",
        )
    return kind, packed


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """While a table is read: what the disk or an archive raises becomes a `CohortError`."""
    try:
        yield
    except FileNotFoundError:
        raise CohortError(f"there is no table at {file}", advice="check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise CohortError(
            f"could not read {file}: {type(error).__name__}", advice="check permissions, or export it again"
        ) from None


def _bytes(file: Path, packed: bool) -> bytes:
    with reading(file):
        data = file.read_bytes()
        return gzip.decompress(data) if packed else data


def text_table(data: bytes, kind: str, name: str, *, before: int = 0) -> pa.Table:
    """Read CSV or TSV bytes: one header line, then rows, every cell a string.

    Args:
        data: The bytes; where only a part of a file is read, its header line stands in front of it.
        kind: `csv` or `tsv`.
        name: Of the file.
        before: Rows of the file between its header and this part; for row numbers in messages.

    Raises:
        CohortError: It could be misread.
    """
    data = _utf8(data, name)
    header_text = data[:_HEADER_BYTES].decode("utf-8", errors="ignore")
    separator = "\t" if kind == "tsv" else _separator(header_text)
    header = _header(header_text, separator, name)
    ragged: list[tuple[int, int]] = []

    def note(row: Any) -> str:
        ragged.append((row.number or 0, row.actual_columns))
        return "skip"

    table = _parsed(data, header, separator, note, name)
    if ragged:
        raise _ragged(ragged, len(header), name, before)
    if any(column.type != pa.large_string() for column in table.columns):
        raise CohortError(f"{name}: the header line could not be read", advice="check its quotation marks")
    if separator != ",":
        _refuse_decimal_commas(table, name)
    return table


def _utf8(data: bytes, name: str) -> bytes:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise CohortError(f"{name} is UTF-16 text", advice="export as CSV UTF-8 (in Excel: 'CSV UTF-8')")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CohortError(
            f"{name} is not UTF-8 text: line {line} holds another encoding",
            advice="probably Latin-1 or Windows-1252; convert it: iconv -f WINDOWS-1252 -t UTF-8",
        ) from None
    if b"\0" in data:
        raise CohortError(f"{name} holds binary data, expected text", advice="check the file's name and kind")
    return data


def _separator(text: str) -> str:
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    unquoted = re.sub(r'"[^"]*"', "", first)
    return max((",", ";", "\t"), key=unquoted.count)


def _header(text: str, separator: str, name: str) -> list[str]:
    lines = csv.reader(io.StringIO(text, newline=None), delimiter=separator)
    header = next((row for row in lines if row), [])
    if header and header[0].startswith("#"):
        raise CohortError(
            f"{name} starts with a comment line", advice="remove the lines that start with # above the header"
        )
    _column_names(header, name)
    return header


def _column_names(header: list[str], name: str) -> list[str]:
    names = [column.strip() for column in header]
    if "" in names:
        raise CohortError(
            f"{name}: column {names.index('') + 1} has no name",
            advice="name every column (R: write.csv with row.names = FALSE; pandas: index=False)",
        )
    twice = [column for column, count in Counter(names).items() if count > 1]
    if twice:
        raise CohortError(
            f"{name}: {len(twice)} column names appear more than once, among them {twice[0]!r}",
            advice="rename or remove one of each",
        )
    return names


def _parsed(
    data: bytes, header: list[str], separator: str, note: Callable[[Any], str], name: str
) -> pa.Table:
    try:
        return pa_csv.read_csv(
            pa.BufferReader(data),
            # One thread, so that rows are counted; one block, so that no row is cut.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=min(len(data) + 1, 2**31 - 1)),
            parse_options=pa_csv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=note
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        # The library's message quotes the row, so it is not chained.
        raise CohortError(
            f"{name} could not be read as a table", advice="check its separators and quotation marks"
        ) from None


def _ragged(ragged: list[tuple[int, int]], expected: int, name: str, before: int) -> CohortError:
    row, found = ragged[0]
    advice = "look for stray separators or an open quotation mark in that row"
    if all(cells == expected + 1 for _, cells in ragged):
        advice = (
            "the header may lack the name of a first column (R: row.names), or numbers have decimal commas"
        )
    return CohortError(
        f"{name}: {len(ragged)} rows do not have the header's {expected} cells; the first is row {row + before} "
        f"with {found} (the header is row 1; empty lines are not counted)",
        advice=advice,
    )


def _refuse_decimal_commas(table: pa.Table, name: str) -> None:
    for column_name, column in zip(table.column_names, table.columns, strict=True):
        cells = [cell for cell in column.slice(0, 1000).to_pylist() if cell.strip() not in MISSING]
        commas = any("," in cell for cell in cells)
        if commas and all(re.fullmatch(r"\s*[+-]?\d+(,\d+)?\s*", cell) for cell in cells):
            raise CohortError(
                f"{name}: column {column_name!r} is written with decimal commas",
                advice="export with decimal points; a comma could also separate thousands",
            )


def _with_missing(column: pa.ChunkedArray, verbatim: bool) -> pa.ChunkedArray:
    if column.type != pa.large_string():
        return column
    trimmed = pc.utf8_trim_whitespace(column)
    spellings = pa.array([""] if verbatim else MISSING, pa.large_string())
    return pc.if_else(pc.is_in(trimmed, value_set=spellings), None, trimmed)


def _parquet(data: bytes, name: str) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError):
        raise CohortError(f"{name} is not a Parquet file", advice="check the file's name and kind") from None
    return plain_table(table, name)


def plain_table(table: pa.Table, name: str) -> pa.Table:
    """Rows of a Parquet file with its indices left out, and text and numbers in one form.

    Raises:
        CohortError: A column holds something else than text or numbers.
    """
    kept = [column for column in table.column_names if not column.startswith("__index_level_")]
    _column_names(kept, name)
    return pa.table([_plain(table.column(column), column, name) for column in kept], names=kept)


def _plain(column: pa.ChunkedArray, column_name: str, name: str) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_boolean(kind):
        return column.cast(pa.int64()).cast(pa.float64() if column.null_count else pa.int64())
    if pa.types.is_integer(kind) and not column.null_count:
        return column
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise CohortError(f"{name}: column {column_name!r} holds {kind}, expected text or numbers")
    return column.cast(pa.large_string())
