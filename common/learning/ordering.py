"""Counting ordered pairs of patients in O(n log n), without looking at every pair.

Comparable pairs of survival times (Harrell): an observed event at time t is compared with everybody followed
beyond t and with those censored at exactly t. Two events at the same time are not compared. A pair is
concordant if the patient with the event has the higher risk score; equal scores count one half.

Source: Harrell et al. (1996), "Multivariable prognostic models".
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


class PairCounts(NamedTuple):
    """For each of n patients: comparable pairs, and the concordant ones among them. Shapes (n,)."""

    comparable: Numbers
    concordant: Numbers


def pairs_of_events(time: Numbers, event: Flags, risk: Numbers) -> PairCounts:
    """Pairs in which the patient is the one with the event: summed over patients, each pair counts once.

    Args:
        time: Shape (n,), follow-up, > 0.
        event: Shape (n,), True where observed.
        risk: Shape (n,), higher = worse.

    Example:
        >>> time, event = np.array([1.0, 2.0, 3.0]), np.array([True, True, False])
        >>> pairs_of_events(time, event, np.array([0.9, 0.1, 0.1])).concordant.tolist()
        [2.0, 0.5, 0.0]
    """
    ends = np.sort(time)
    longer = len(time) - np.searchsorted(ends, time, side="right")
    comparable = np.where(event, longer + _at(time, time[~event]), 0.0)
    wins = _wins_of_events(time, event, risk) - _wins_of_events(time, event, -risk)
    return PairCounts(comparable, 0.5 * (comparable + wins))


def pairs_of_patients(time: Numbers, event: Flags, risk: Numbers) -> PairCounts:
    """Pairs in which the patient takes part on either side: summed over patients, each pair counts twice."""
    ends = np.sort(time[event])
    shorter = np.searchsorted(ends, time, side="left") + np.where(event, 0, _at(time, time[event]))
    wins = _wins_of_survivors(time, event, risk) - _wins_of_survivors(time, event, -risk)
    first = pairs_of_events(time, event, risk)
    return PairCounts(first.comparable + shorter, first.concordant + 0.5 * (shorter + wins))


def _at(time: Numbers, others: Numbers) -> NDArray[np.int64]:
    """How many of the others ended at each time."""
    ends = np.sort(others)
    return np.searchsorted(ends, time, side="right") - np.searchsorted(ends, time, side="left")


def _order(time: Numbers, event: Flags, risk: Numbers) -> NDArray[np.int64]:
    """Descending time; at one time the censored first, then events by descending risk.

    So everybody before an event is comparable with it, except events at the same time, and those never have a
    strictly lower risk.
    """
    return np.lexsort((-risk, event, -time))


def _wins_of_events(time: Numbers, event: Flags, risk: Numbers) -> Numbers:
    """For each event, the comparable patients of strictly lower risk; 0 for the censored."""
    order = _order(time, event, risk)
    wins = np.empty(len(order))
    wins[order] = smaller_before(_ranks(risk)[order], np.ones(len(order), np.bool_))
    return np.where(event, wins, 0.0)


def _wins_of_survivors(time: Numbers, event: Flags, risk: Numbers) -> Numbers:
    """For each patient, the comparable earlier events of strictly higher risk."""
    order = _order(time, event, risk)[::-1]
    wins = np.empty(len(order))
    wins[order] = smaller_before(_ranks(-risk)[order], event[order])
    return wins


def _ranks(values: Numbers) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def smaller_before(ranks: NDArray[np.int64], counted: Flags) -> NDArray[np.int64]:
    """How many counted entries stand before each entry and have a smaller rank.

    Reads the ranks bit by bit from the highest: among entries that agree in the bits so far, those with a 1 have
    seen every earlier 0.

    Args:
        ranks: Shape (n,), integers >= 0.
        counted: Shape (n,), which entries count for others.

    Returns:
        Shape (n,).

    Example:
        >>> smaller_before(np.array([2, 0, 1, 2]), np.ones(4, bool)).tolist()
        [0, 0, 1, 2]
    """
    smaller = np.zeros(len(ranks), np.int64)
    order = np.arange(len(ranks))
    for bit in reversed(range(int(ranks.max(initial=0)).bit_length())):
        prefix, one = ranks[order] >> (bit + 1), (ranks[order] >> bit) & 1
        zeros = np.concatenate([[0], np.cumsum((1 - one) * counted[order])[:-1]])
        starts = np.searchsorted(prefix, prefix, side="left")
        smaller[order] += one * (zeros - zeros[starts])
        order = order[np.argsort(2 * prefix + one, kind="stable")]
    return smaller
