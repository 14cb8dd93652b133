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


def positive(**named: float) -> None:
    """Each value is finite and above zero."""
    for name, value in named.items():
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"expected {name} > 0, found {value}")


def not_negative(**named: float) -> None:
    """Each value is finite and at least zero."""
    for name, value in named.items():
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"expected {name} >= 0, found {value}")


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
