"""Cells are read strictly."""

import decimal

import numpy as np
import pandas as pd
import pytest

from wardround.common.learning.values import category_codes, numbers, spelling


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1", 1),
        (" 2.5 ", 2.5),
        ("-1e3", -1000),
        ("+3", 3),
        (".5", 0.5),
        ("0007", 7),
        (7, 7),
        (True, 1),
        (np.float32(0.5), 0.5),
        (decimal.Decimal("2.5"), 2.5),
    ],
)
def test_a_number_is_read(cell: object, number: float) -> None:
    assert numbers(pd.DataFrame({"x": [cell, "9"]}, dtype=object)).ravel().tolist() == [number, 9.0]


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "NA",
        "nan",
        "inf",
        "-Infinity",
        "1,5",
        "1_000",
        "0x10",
        "12 months",
        "1 2",
        "1e400",
        "١٢",
        "yes",
        None,
        np.nan,
        np.inf,
        pd.NA,
        pd.NaT,
        pd.Timestamp("2020-01-01"),
        1 + 2j,
    ],
)
def test_everything_else_is_missing_and_leaves_its_neighbours_alone(cell: object) -> None:
    found = numbers(pd.DataFrame({"x": [cell, "9"], "z": [3.5, cell]}, dtype=object))
    assert np.isnan(found[[0, 1], [0, 1]]).all()
    assert [found[1, 0], found[0, 1]] == [9.0, 3.5]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 3], dtype="Int64"),
        pd.Series([1, 3], dtype="Float64"),
        pd.Series([1, 3], dtype="int8"),
        pd.Series([1, 3], dtype="float32"),
        pd.Series(["1", "3"], dtype="string"),
        pd.Series(["1", "3"], dtype="string[pyarrow]"),
        pd.Series(["1", "3"], dtype="category"),
    ],
    ids=lambda column: str(column.dtype),
)
def test_every_column_type_of_pandas_gives_the_same_numbers(column: pd.Series) -> None:
    assert numbers(pd.DataFrame({"x": column})).ravel().tolist() == [1.0, 3.0]


def test_a_missing_cell_of_a_nullable_column_is_missing() -> None:
    assert np.isnan(numbers(pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}))[1, 0])


def test_a_spelling_matches_exactly_after_trimming() -> None:
    column = pd.Series(["M", " M", "m", "F", "", None, "X"])
    assert category_codes(column, ("F", "M")).tolist() == [1, 1, -1, 0, -1, -1, -1]


@pytest.mark.parametrize("column", [["1", "2", ""], ["1.0", "2.0", ""], [1, 2, None], [1.0, 2.0, np.nan]])
def test_a_code_is_the_same_as_text_and_as_a_number(column: list[object]) -> None:
    assert category_codes(pd.Series(column), ("1", "2")).tolist() == [0, 1, -1]


def test_leading_zeros_make_another_code() -> None:
    assert category_codes(pd.Series(["01", "1"]), ("01", "2")).tolist() == [0, -1]
    assert spelling("007") == "007"
