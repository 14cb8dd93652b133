"""Numbers of a draft, rounded until they look like public ones.

Rounding is not privacy: a drafted protocol stays marked as drafted.
"""

import math

import numpy as np
from numpy.typing import NDArray


def significant(value: float, digits: int = 3) -> float:
    """A number with so many significant digits.

    Example:
        >>> significant(0.0123456), significant(98765.4), significant(0.0)
        (0.0123, 98800.0, 0.0)
    """
    return float(f"{value:.{digits}g}")


def outwards(values: NDArray[np.float64]) -> tuple[float, float]:
    """A round range that leaves room around what was seen; never below zero unless a value was.

    The ends are whole multiples of a power of ten, between 5 and 50 of which span the values, and one more
    multiple lies beyond each end. Whole numbers get whole ends.

    Args:
        values: Shape (n,), n >= 1, finite.

    Example:
        >>> outwards(np.array([23.5, 88.0]))
        (10.0, 100.0)
        >>> outwards(np.array([0.0, 0.021]))
        (0.0, 0.022)
        >>> outwards(np.array([1.0, 4.0]))
        (0.0, 5.0)
    """
    smallest, largest = float(values.min()), float(values.max())
    span = (largest - smallest) or abs(largest) or 1.0
    exponent = math.floor(math.log10(span / 5))
    if bool((values == np.round(values)).all()):
        exponent = max(exponent, 0)
    low = _multiple(math.floor(_units(smallest, exponent)) - 1, exponent)
    high = _multiple(math.ceil(_units(largest, exponent)) + 1, exponent)
    return (max(low, 0.0) if smallest >= 0 else low, high)


def _units(value: float, exponent: int) -> float:
    return round(value / 10.0**exponent, 6)


def _multiple(count: int, exponent: int) -> float:
    return float(f"{count}e{exponent}")
