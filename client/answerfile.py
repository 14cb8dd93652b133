"""Writing answers to a file that only its owner can read, and never over another file unless told so.

CSV joins what is a list by `; ` and writes a feature of an explanation as `name +0.31 (0.20 to 0.55)`. JSON says before
the patients what the answers mean and what they are not; Parquet says the same in its metadata under `wardround`.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from wardround.common.durable import write_atomic
from wardround.common.errors import UsageError
from wardround.common.formats import header

FORMAT: Final = "wardround-predictions"
VERSION: Final = 1
KINDS: Final = {".csv": "csv", ".json": "json", ".parquet": "parquet"}

Existing = Literal["refuse", "replace"]


def check_target(out: Path, table: Path, existing: Existing) -> None:
    """Refuse a file that cannot or must not be written, before any work is done.

    Raises:
        UsageError: Its kind is not known, it is there already, it is the table itself, or its folder is not there.
    """
    if out.suffix.lower() not in KINDS:
        raise UsageError(
            f"expected {out.name} to end in {', '.join(KINDS)}", advice="the ending says how it is written"
        )
    if not out.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}", advice="make it first, readable by you alone")
    if out.exists() and table.exists() and os.path.samefile(out, table):
        raise UsageError(f"{out} is the table that is read", advice="choose another --out")
    if os.path.lexists(out) and (existing == "refuse" or not out.is_file() or out.is_symlink()):
        raise UsageError(
            f"{out} exists already", advice="choose another --out, or give --replace to write over that file"
        )


def write_answers(out: Path, table: pa.Table, about: Mapping[str, Any], existing: Existing) -> None:
    """Write the answers, whole or not at all, readable by their owner only.

    Args:
        out: Its ending says the kind.
        table: One row per patient.
        about: What the answers mean; nothing in it was computed from a patient.
        existing: What to do with a file of that name.

    Raises:
        UsageError: See `check_target`.
        StorageError: The disk is full or the folder cannot be written.
    """
    check_target(out, out.with_name(f".{out.name}.none"), existing)
    data = {"csv": _csv, "json": _json, "parquet": _parquet}[KINDS[out.suffix.lower()]](table, about)
    try:
        write_atomic(out, data, mode=0o600)
    except BaseException:
        # An interrupted draft holds patients; nobody would look for it.
        out.with_name(f".{out.name}.draft").unlink(missing_ok=True)
        raise


def _csv(table: pa.Table, about: Mapping[str, Any]) -> bytes:
    columns = {
        name: _flat(column) if pa.types.is_list(column.type) else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(pa.table(columns), sink)
    return bytes(sink.getvalue().to_pybytes())


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.array(
        [None if cell is None else "; ".join(map(_text, cell)) for cell in column.to_pylist()], pa.string()
    )


def _text(item: str | dict[str, Any]) -> str:
    if isinstance(item, str):
        return item
    return f"{item['feature']} {item['contribution']:+.3g} ({item['low']:.3g} to {item['high']:.3g})"


def _json(table: pa.Table, about: Mapping[str, Any]) -> bytes:
    value = {**header(FORMAT, VERSION), **about, "patients": table.to_pylist()}
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parquet(table: pa.Table, about: Mapping[str, Any]) -> bytes:
    sink = pa.BufferOutputStream()
    facts = json.dumps({**header(FORMAT, VERSION), **about}, allow_nan=False)
    pq.write_table(table.replace_schema_metadata({"wardround": facts}), sink)
    return bytes(sink.getvalue().to_pybytes())
