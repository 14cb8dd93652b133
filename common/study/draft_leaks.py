"""Columns that do not belong among the features: they tell the outcome, the site, or nothing.

A column that nearly determines the outcome is another spelling of it, or was written down after it. A column
that is constant within every site names the site, and a model would learn the hospital instead of the patient.
Both are judged on the table at hand; neither needs to know what the column means.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]

SEPARATES: Final = 0.98
"""An AUC above this, averaged over classes, in either direction."""
EXPLAINS: Final = 0.9
"""A share of classification errors removed above this, when the column is read as groups."""
FOLLOWS: Final = 0.95
"""An absolute rank correlation with a time or a measurement above this."""
FEWEST: Final = 5
"""Smallest class that is judged: with fewer patients, one of many genes separates them by chance."""
MOST_GROUPS: Final = 30
_GOLDEN: Final = 0.6180339887498949


def tells_classes(codes: Floats, classes: NDArray[np.int64]) -> bool:
    """Whether a column nearly determines a class, by its values, as groups, or by where it is missing.

    Args:
        codes: Shape (n,), NaN where missing.
        classes: Shape (n,), the class of each row, from 0.

    Example:
        >>> codes = np.arange(20.0)
        >>> tells_classes(codes, (codes > 9).astype(np.int64))
        True
        >>> tells_classes(codes % 7, (codes > 9).astype(np.int64))
        False
    """
    known = np.isfinite(codes)
    if not known.any():
        return False
    separated = _separation(codes[known], classes[known]) > SEPARATES
    if len(np.unique(codes[known])) <= MOST_GROUPS:
        told = _explained(np.where(known, codes, np.inf), classes)
    else:
        told = _sorted_apart(codes[known], classes[known])
    return separated or told > EXPLAINS or _explained(known.astype(np.float64), classes) > EXPLAINS


def tells_number(codes: Floats, numbers: Floats) -> bool:
    """Whether a column nearly orders the rows as a time or measurement does."""
    known = np.isfinite(codes) & np.isfinite(numbers)
    if known.sum() < 2 * FEWEST:
        return False
    a, b = rankdata(codes[known]), rankdata(numbers[known])
    if a.std() == 0 or b.std() == 0:
        return False
    return bool(abs(np.corrcoef(a, b)[0, 1]) > FOLLOWS)


def tells_site(codes: Floats, sites: NDArray[np.int64]) -> bool:
    """Whether a column is constant within every site, or is a finer naming of the sites.

    Args:
        codes: Shape (n,), NaN where missing.
        sites: Shape (n,), the site of each row, from 0.
    """
    known = np.isfinite(codes)
    values, owners = len(np.unique(codes[known])), len(np.unique(sites[known]))
    if values > max(owners, MOST_GROUPS):
        return False
    pairs = np.unique(np.column_stack([codes[known], sites[known]]), axis=0)
    constant = len(pairs) == owners > 1 and values > 1 and known.sum() >= 2 * owners
    finer = len(pairs) == values >= owners > 1 and values <= MOST_GROUPS and known.sum() >= 2 * values
    return bool(constant or finer)


def _sorted_apart(codes: Floats, classes: NDArray[np.int64]) -> float:
    """Share of class changes between neighbours, in the order of the column, that the order removes."""
    counts = np.bincount(classes)
    if len(codes) < 2 or len(codes) - counts.max() < FEWEST:
        return 0.0
    # Equal values are scattered, or the order of the table's own rows would count as the column's.
    scattered = np.arange(len(codes)) * _GOLDEN % 1.0
    ordered = classes[np.lexsort((scattered, codes))]
    expected = 1 - float(((counts / len(codes)) ** 2).sum())
    return 1 - float((ordered[1:] != ordered[:-1]).mean()) / expected


def _separation(codes: Floats, classes: NDArray[np.int64]) -> float:
    """Mean over classes of the AUC of the column against that class, whichever direction is better."""
    counts = np.bincount(classes)
    if len(counts) < 2 or (counts < FEWEST).any():
        return 0.0
    ranks = rankdata(codes)
    areas = [_area(ranks, classes == index) for index in range(len(counts))]
    return float(np.mean([max(area, 1 - area) for area in areas]))


def _area(ranks: Floats, positive: NDArray[np.bool_]) -> float:
    """The AUC by the rank sum (Mann and Whitney, 1947)."""
    yes = int(positive.sum())
    no = len(ranks) - yes
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def _explained(groups: Floats, classes: NDArray[np.int64]) -> float:
    """Share of errors removed by guessing each group's commonest class; one patient per group is not counted."""
    _, rows = np.unique(groups, return_inverse=True)
    counts = np.zeros((rows.max() + 1, classes.max() + 1))
    np.add.at(counts, (rows, classes), 1)
    total, commonest = counts.sum(), counts.sum(axis=0).max()
    if len(counts) < 2 or total - commonest < FEWEST:
        return 0.0
    hits = counts.max(axis=1).sum() - len(counts)
    return float((hits - commonest) / (total - commonest))
