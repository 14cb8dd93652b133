"""A table that is read in parts says what it says when it is read whole."""

import gzip
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from tests.hospital import hospital

from wardround.client import tablestream
from wardround.client.tables import read_table
from wardround.client.tablestream import read_parts, row_end
from wardround.common.errors import CohortError

TRICKY = (
    "patient;age;note\n"
    '"001";61;"two\nlines; and ""quotes"""\n'
    "\n"
    "NA;NA;plain\n"
    '003;;"ends\r\nhere"\n'
    "004;7.5;last without a break"
)


def joined(path: Path, **sizes: int) -> pd.DataFrame:
    parts = list(read_parts(path, verbatim=("patient",), **sizes))
    assert [part.first for part in parts] == [
        sum(len(other.frame) for other in parts[:number]) for number in range(len(parts))
    ]
    assert parts[-1].done == 1.0
    return pd.concat([part.frame for part in parts], ignore_index=True)


@pytest.mark.parametrize("block", [1, 7, 20, 40, 64, 1 << 20])
@pytest.mark.parametrize("before", ["", "\n\n", "\ufeff", "\ufeff\n"])
def test_text_is_the_same_whatever_the_size_of_a_part(tmp_path: Path, block: int, before: str) -> None:
    for name, data in (
        ("t.csv", (before + TRICKY).encode()),
        ("t.csv.gz", gzip.compress((before + TRICKY).encode())),
    ):
        (tmp_path / name).write_bytes(data)
        assert_frame_equal(
            joined(tmp_path / name, block=block), read_table(tmp_path / name, verbatim=("patient",))
        )


def test_many_rows_come_in_many_parts_and_parquet_too(tmp_path: Path) -> None:
    frame = hospital(300)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    assert len(list(read_parts(tmp_path / "t.csv", block=4096))) > 5
    assert len(list(read_parts(tmp_path / "t.parquet", rows=64))) == 5
    for name in ("t.csv", "t.parquet"):
        whole = read_table(tmp_path / name, verbatim=("patient",))
        assert_frame_equal(joined(tmp_path / name, block=4096, rows=64), whole)


def test_a_ragged_row_of_a_later_part_is_named_by_its_number_in_the_file(tmp_path: Path) -> None:
    lines = ["patient,age", *(f"p{number},{number}" for number in range(500)), "p500,1,2", "p501,3"]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    messages = []
    for block in (256, 1 << 20):
        with pytest.raises(CohortError) as caught:
            list(read_parts(tmp_path / "t.csv", block=block))
        messages.append(str(caught.value))
    assert "the first is row 502 with 3" in messages[0]
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\n\n", "is empty"),
        ("t.csv", b"a,b\n", "header but no rows"),
        ("t.csv", "a,b\n1,\xe4\n".encode("latin-1"), "not UTF-8"),
        ("t.csv", b"a,a\n1,2\n", "more than once"),
        ("t.csv", b"#x\na,b\n1,2\n", "comment line"),
        ("t.csv.gz", b"a,b\n1,2\n", "could not read"),
        ("t.parquet", b"PAR1nothing", "not a Parquet file"),
        ("t.xlsx", b"", "what kind of table"),
    ],
)
def test_what_could_be_misread_is_refused_as_when_it_is_read_whole(
    tmp_path: Path, name: str, data: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CohortError, match=says):
        list(read_parts(tmp_path / name))
    with pytest.raises(CohortError, match="no table at"):
        list(read_parts(tmp_path / f"no-{name}") if "xlsx" not in name else read_parts(tmp_path / "no.csv"))


def test_a_quotation_mark_that_is_never_closed_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tablestream, "LONGEST", 1000)
    (tmp_path / "t.csv").write_text('a,b\n1,"' + "x\n" * 5000, encoding="utf-8")
    with pytest.raises(CohortError, match="no row ends"):
        list(read_parts(tmp_path / "t.csv", block=100))


def test_a_row_ends_outside_quotation_marks_only() -> None:
    assert row_end(b'a\n"b\n') == 2
    assert row_end(b'a\n"b\n"\n') == 7
    assert row_end(b'"a\n') == 0
    assert row_end(b"a,b") == 0
