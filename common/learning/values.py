"""Reading a table's cells strictly: numbers and spellings, and everything else is missing.

Whoever checks a table and whoever reads it must agree on what counts as a value; both use this module.
"""

import re
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_WHOLE: Final = re.compile(r"([+-]?[0-9]+)\.0+")


def numbers(frame: pd.DataFrame) -> NDArray[np.float64]:
    """The cells of a table as finite numbers.

    A decimal point, an exponent and surrounding spaces are read; a decimal comma, thousands separators,
    units, words, infinities and dates are not.

    Returns:
        Shape (rows, columns); NaN where a cell is empty or is not a finite number.

    Example:
        >>> numbers(pd.DataFrame({"x": [" 1.5", "1e3", "1,5", "", "12 months", "inf"]})).ravel().tolist()
        [1.5, 1000.0, nan, nan, nan, nan]
    """
    if all(isinstance(kind, np.dtype) and kind.kind in "iufb" for kind in frame.dtypes):
        values = frame.to_numpy(dtype=np.float64)
    else:
        values = _parsed(frame.to_numpy(dtype=object).ravel()).reshape(frame.shape)
    return np.where(np.isfinite(values), values, np.nan)


def _parsed(cells: NDArray[np.object_]) -> NDArray[np.float64]:
    found = np.asarray(pd.to_numeric(cells, errors="coerce"))
    if not np.iscomplexobj(found):
        return found.astype(np.float64)
    # One complex cell would make pandas return unset memory for its neighbours.
    return _parsed(np.array([None if isinstance(cell, complex) else cell for cell in cells], object))


def category_codes(column: pd.Series, categories: tuple[str, ...]) -> NDArray[np.int64]:
    """The index of each cell's spelling among the categories; -1 where it is missing or none of them.

    Spellings match exactly after surrounding spaces are removed; 1.0 is spelled `1`, as a number and as text.

    Example:
        >>> category_codes(pd.Series(["T2", " T1 ", "t1", ""]), ("T1", "T2")).tolist()
        [1, 0, -1, -1]
    """
    places = {spelling(category): place for place, category in enumerate(categories)}
    codes, distinct = pd.factorize(column)  # -1 where missing
    known = np.asarray([places.get(spelling(cell), -1) for cell in distinct] + [-1], np.int64)
    return known[codes]


def spelling(cell: object) -> str:
    """The form in which codes are compared: no surrounding spaces, whole numbers without a decimal point.

    Example:
        >>> spelling(" 1.0 "), spelling(2.0), spelling("007")
        ('1', '2', '007')
    """
    text = str(cell).strip()
    whole = _WHOLE.fullmatch(text)
    return whole.group(1) if whole else text
