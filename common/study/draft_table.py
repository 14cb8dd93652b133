"""A patient table as a draft sees it: which columns are numbers, which are words, and what is missing.

Needs pandas, which is imported on use: the rest of `study` also runs where an auditor has no pandas.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

YES: Final = re.compile(
    r"1(\.0*)?|1:.*|true|t|yes|y|pos(itive)?|\+|dead|deceased|died.*|death|event|relapsed?|recurr(ed|ence)"
    r"|progress(ed|ion)|mutated|present|responder|response|case",
    re.IGNORECASE,
)
"""Spellings that mean yes, or that an event was observed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTable:
    """Private, and only ever a local value: cells of some columns of a table with n rows.

    Attributes:
        names: The k columns.
        codes: Shape (n, k). Numbers as they are; a word as its place among `words`; NaN where missing.
        words: For each column the sorted spellings of its words; empty for a column of numbers.
    """

    names: tuple[str, ...]
    codes: NDArray[np.float64]
    words: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> NDArray[np.float64]:
        """The codes of one column, shape (n,)."""
        return self.codes[:, self.names.index(name)]

    def known(self, place: int) -> NDArray[np.float64]:
        """The codes of one column without the missing ones."""
        values = self.codes[:, place]
        return values[np.isfinite(values)]

    def numeric(self, place: int) -> bool:
        """Whether a column holds numbers only."""
        return not self.words[place]


def read_columns(frame: "pd.DataFrame", names: Sequence[str]) -> DraftTable:
    """The cells of some columns.

    Args:
        frame: One row per sample; text or numbers.
        names: Columns of the frame.
    """
    from wardround.common.learning.values import numbers

    codes = numbers(frame[list(names)]) if names else np.empty((len(frame), 0))
    words: list[tuple[str, ...]] = [()] * len(names)
    for place in np.flatnonzero(np.isnan(codes).any(axis=0)).tolist():
        column: pd.Series = frame[names[place]]
        blank = is_blank(column)
        if not blank[np.isnan(codes[:, place])].all():
            codes[:, place], words[place] = _as_words(column, blank)
    return DraftTable(names=tuple(names), codes=codes, words=tuple(words))


def is_blank(column: "pd.Series") -> NDArray[np.bool_]:
    """Which cells are missing or empty; reading the table has already decided which words mean missing."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.isna().to_numpy(bool)
    return (column.isna() | (column.astype(str).str.strip() == "")).to_numpy(bool)


def spellings(column: "pd.Series") -> tuple[str, ...]:
    """The distinct spellings of a column that are not missing, sorted."""
    from wardround.common.learning.values import spelling

    return tuple(sorted({spelling(cell) for cell in column[~is_blank(column)].unique()}))


def _as_words(column: "pd.Series", blank: NDArray[np.bool_]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    from wardround.common.learning.values import category_codes

    words = spellings(column)
    codes = category_codes(column, words).astype(np.float64)
    codes[blank] = np.nan
    return codes, words
