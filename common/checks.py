"""Argument checks with one wording.

Each takes exactly one keyword argument, so that the message names it without being told:

    >>> positive(noise_multiplier=-1.0)
    Traceback (most recent call last):
    ...
    wardround.common.errors.UsageError: expected noise_multiplier > 0, found -1.0

Source: the named validators of `jax_privacy`.
"""

import math
from collections.abc import Hashable, Iterable

from wardround.common.errors import UsageError


def _finite(value: float) -> bool:
    """Whether a value is an ordinary number; a whole number beyond all floats is none."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def positive(**named: float) -> None:
    """Each value is finite and above zero."""
    for name, value in named.items():
        if not (_finite(value) and value > 0):
            raise UsageError(f"expected {name} > 0, found {_shown(value)}")


def not_negative(**named: float) -> None:
    """Each value is finite and at least zero."""
    for name, value in named.items():
        if not (_finite(value) and value >= 0):
            raise UsageError(f"expected {name} >= 0, found {_shown(value)}")


def _shown(value: float) -> str:
    """A value for a message; of a number with thousands of digits the beginning."""
    return "a number beyond 1e300" if isinstance(value, int) and abs(value) > 10**300 else str(value)


def in_range(low: float, high: float, **named: float) -> None:
    """Each value lies in [low, high], both included."""
    for name, value in named.items():
        if not low <= value <= high:
            raise UsageError(f"expected {low} <= {name} <= {high}, found {value}")


def one_of(allowed: Iterable[str], **named: str) -> None:
    """Each value is one of the allowed words."""
    words = tuple(allowed)
    for name, value in named.items():
        if value not in words:
            raise UsageError(f"expected {name} to be one of {', '.join(words)}; found {value!r}")


def unique(**named: Iterable[Hashable]) -> None:
    """No value appears twice. The message gives the count, not the values: they may be patients."""
    for name, values in named.items():
        items = list(values)
        repeated = len(items) - len(set(items))
        if repeated:
            raise UsageError(f"expected {name} to be unique, found {repeated} repeated")
