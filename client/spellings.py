"""From cells to numbers and codes, strictly.

A cell is a number only if all of it is one: no thousands separators, no decimal commas, no units, no infinity.
A code equals a declared spelling after surrounding spaces are removed and `3.0` is read as `3`; upper and lower
case differ. What cannot be read is marked, never guessed; callers count it and never show it.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from wardround.common.errors import CohortError
from wardround.common.learning.values import numbers as read_numbers
from wardround.common.learning.values import spelling


def identifier(cell: object) -> str:
    """A patient or hospital code as text: strings stay as they are, whole floats lose their `.0`."""
    return str(cell).strip() if isinstance(cell, str) else spelling(cell)


def parse_numbers(series: "pd.Series[Any]") -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read a column as numbers.

    Returns:
        The values, shape (rows,), NaN where missing or unreadable; and where a cell is there but is no finite
        number, shape (rows,).
    """
    values = _fast(series)
    if values is None:
        values = read_numbers(series.to_frame())[:, 0]
    finite = np.isfinite(values)
    if finite.all():
        return values, np.zeros(len(values), np.bool_)
    unreadable = ~finite & series.notna().to_numpy(dtype=np.bool_)
    unreadable[unreadable] = [str(cell).strip() != "" for cell in series[unreadable]]
    return np.where(finite, values, np.nan), unreadable


def _fast(series: "pd.Series[Any]") -> NDArray[np.float64] | None:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
        return series.to_numpy(np.float64)
    if not isinstance(series.dtype, pd.StringDtype):
        return None
    try:
        cells = pa.array(series.array, from_pandas=True).cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return np.array(cells.to_numpy(zero_copy_only=False), np.float64)


def numbers(series: "pd.Series[Any]") -> NDArray[np.float64]:
    """Read a column that must hold numbers, shape (rows,), NaN where missing.

    Raises:
        CohortError: With the column's name and how many cells are no number.
    """
    values, unreadable = parse_numbers(series)
    if unreadable.any():
        raise CohortError(
            f"column {series.name!r}: {int(unreadable.sum())} cells are not finite numbers",
            advice=number_advice(series, unreadable),
        )
    return values


def number_advice(series: "pd.Series[Any]", unreadable: NDArray[np.bool_]) -> str:
    """What most likely went wrong with cells that are no numbers."""
    cells = [str(cell) for cell in series[unreadable].head(1000)]
    if any(re.fullmatch(r"\s*[+-]?\d+,\d+\s*", cell) for cell in cells):
        return "some cells use a comma; export with decimal points and without thousands separators"
    if any(re.match(r"\s*[<>≤≥]", cell) for cell in cells):
        return "some cells start with < or >; replace them by the detection limit, or leave them empty"
    return "leave a missing value empty; write numbers without units"


def lookup(
    series: "pd.Series[Any]", codes: Mapping[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read a column of codes.

    Args:
        series: The cells, shape (rows,).
        codes: Number of each declared spelling.

    Returns:
        The numbers, NaN where missing or unknown, and where a cell holds an undeclared spelling.
    """
    declared = {spelling(name): number for name, number in codes.items()}
    place, found = pd.factorize(series)
    spelled = [spelling(cell) for cell in found]
    of_found = np.array([declared.get(text, np.nan) for text in spelled] + [np.nan])
    blank = np.array([text == "" for text in spelled] + [True])
    values = of_found[place]
    return values, np.isnan(values) & ~blank[place]


def compare(
    series: "pd.Series[Any]", sign: str, bound: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read a column of numbers as yes (1) where the comparison holds and no (0) where it does not.

    Returns:
        The answers, NaN where missing or unreadable, and where a cell is there but is no number.

    Example:
        >>> compare(pd.Series(["0.5", "0.4", ""]), ">", 0.4)[0].tolist()
        [1.0, 0.0, nan]
    """
    values, unreadable = parse_numbers(series)
    holds = {">": values > bound, ">=": values >= bound, "<": values < bound, "<=": values <= bound}[sign]
    return np.where(np.isfinite(values), holds, np.nan), unreadable


def differs_in_case(series: "pd.Series[Any]", codes: Mapping[str, float], unknown: NDArray[np.bool_]) -> int:
    """How many undeclared cells equal a declared spelling but for upper and lower case or inner spaces."""
    loose = {_loose(name) for name in codes}
    return sum(count for cell, count in series[unknown].value_counts().items() if _loose(cell) in loose)


def _loose(cell: object) -> str:
    return re.sub(r"[\s_-]+", "", spelling(cell)).casefold()


def identifiers(series: "pd.Series[Any]") -> NDArray[np.object_]:
    """Identifiers as text, shape (rows,), the empty string where missing."""
    place, found = pd.factorize(series)
    return np.array([identifier(cell) for cell in found] + [""], dtype=object)[place]
