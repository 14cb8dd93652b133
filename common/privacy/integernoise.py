"""Integer Gaussian noise: exact arithmetic, no float in the sampler, several million draws a second.

One share of noise is x1 + k x2, where x1 and x2 come from one table of the discrete Gaussian of width 1024, and
k, a public power of two, widens it. The law of that sum is, within a factor of 1 +- 2^-111, the discrete Gaussian
of variance s^2 = 1024^2 (1 + k^2); `common.privacy.excess` has the proof and what is left over.

The table holds the integers below 16 widths. Its probabilities are computed with Python's integers, rounded to
multiples of 2^-208, and drawn exactly by Walker's alias method: 15 bits choose a column, 193 bits choose between
the column and its alias. 49 of those come from the same 64-bit word; the other 144 are fetched only where these do
not decide, once in 2^49 draws. Against the ideal, untruncated law one draw is off by a total variation of at most
2^-183 (`TOTAL_VARIATION`): 2 exp(-128) < 2^-183.6 for the tail, by its sub-Gaussian bound, and 2^-193 for rounding.

Sources: Walker (1977) and Vose (1991) for the alias method; Peikert (2010), "An efficient and parallel Gaussian
sampler for lattices", and Micciancio and Walter (2017), "Gaussian sampling over the integers", for x1 + k x2;
Canonne, Kamath and Steinke (2020), "The discrete Gaussian for differential privacy", for the tail.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import not_negative
from wardround.common.errors import UsageError
from wardround.common.privacy.randomness import SecureRandom

WIDTH: Final = 1024
"""Standard deviation of the discrete Gaussian in the table."""

WIDENINGS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""The allowed k. Above 512 the sum x1 + k x2 begins to show its steps, and the bound of `excess` would fail."""

TOTAL_VARIATION: Final = 2.0**-183
"""Of one draw from the table, against the untruncated discrete Gaussian."""

_INDEX_BITS: Final = 15
_LOW_BITS: Final = 144
_LOW_BYTES: Final = _LOW_BITS // 8
_FIXED: Final = 320  # bits behind the point while the table is computed
_BLOCK: Final = 1 << 15  # draws at a time: they and the table stay in the processor's cache


def share_variance(widening: int) -> int:
    """s^2 of one share, in squared grid steps: 1024^2 (1 + k^2).

    >>> share_variance(1)
    2097152
    """
    if widening not in WIDENINGS:
        raise UsageError(f"expected a widening of {', '.join(map(str, WIDENINGS))}; found {widening}")
    return WIDTH**2 * (1 + widening**2)


def integer_gaussian(n: int, widening: int, random: SecureRandom) -> NDArray[np.int64]:
    """`n` independent shares of noise.

    Guarantees:
        Every share uses its own bytes of `random`. Its law is the one that `excess` accounts for.

    Args:
        n: How many, >= 0.
        widening: k, one of `WIDENINGS`.
        random: A fresh source for this release.

    Returns:
        Shape (n,); absolute values below 16384 (1 + k).

    Raises:
        UsageError: n or k is out of range.
        PrivacyError: The source was closed, or belongs to another process.

    Example:
        >>> with SecureRandom() as random:
        ...     integer_gaussian(3, 512, random).shape
        (3,)
    """
    not_negative(n=n)
    share_variance(widening)
    chosen = table()
    result = np.empty(n, np.int64)
    for begin in range(0, n, _BLOCK):
        part = result[begin : begin + _BLOCK]
        np.multiply(chosen.draw(len(part), random), widening, out=part)
        part += chosen.draw(len(part), random)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasTable:
    """A law on the integers from -n/2 to n/2 - 1, n = 2^`index_bits`, ready to be drawn from.

    Column i stands for the value i - n/2. It is kept with probability threshold / 2^(64 - index_bits + 144),
    otherwise its alias is taken; `high` and `low` are the two parts of the threshold.

    Attributes:
        index_bits: Logarithm of the number of columns.
        high: Shape (n,); the part that is compared with the bits left in the first word.
        low: The other 144 bits of each threshold.
        alias: Shape (n,), int64.
    """

    index_bits: int
    high: NDArray[np.uint64] = field(repr=False)
    low: tuple[int, ...] = field(repr=False)
    alias: NDArray[np.int64] = field(repr=False)

    def draw(self, n: int, random: SecureRandom) -> NDArray[np.int64]:
        """`n` independent values, shape (n,)."""
        return self.look_up(random.words(n), random)

    def look_up(self, words: NDArray[np.uint64], random: SecureRandom) -> NDArray[np.int64]:
        """The values that uniform words stand for; the words are overwritten.

        Args:
            words: Shape (n,).
            random: Asked for more bits where a word does not decide.
        """
        columns = (words & np.uint64((1 << self.index_bits) - 1)).view(np.int64)
        words >>= np.uint64(self.index_bits)
        thresholds = self.high.take(columns)
        other = words >= thresholds
        for at in np.flatnonzero(words == thresholds):
            other[at] = int.from_bytes(random.bytes(_LOW_BYTES)) >= self.low[columns[at]]
        values = np.where(other, self.alias.take(columns), columns)
        values -= 1 << (self.index_bits - 1)
        return values

    def weights(self) -> tuple[int, ...]:
        """The exact probability of every value from -n/2 on, in units of 2^-(64 + 144)."""
        full = 1 << (64 - self.index_bits + _LOW_BITS)
        found = [0] * len(self.low)
        for column, (high, low, alias) in enumerate(
            zip(self.high.tolist(), self.low, self.alias.tolist(), strict=True)
        ):
            threshold = (high << _LOW_BITS) + low
            found[column] += threshold
            found[alias] += full - threshold
        return tuple(found)


@cache
def table(width: int = WIDTH, index_bits: int = _INDEX_BITS) -> AliasTable:
    """The table of the discrete Gaussian, made at first use and kept: P(x) proportional to exp(-x^2 / (2 width^2)).

    Args:
        width: Standard deviation, >= 1.
        index_bits: The law is cut to |x| < 2^(index_bits - 1).
    """
    right = _gaussian_weights(width, 1 << (index_bits - 1))
    total = right[0] + 2 * sum(right[1:])
    units = [(weight << (64 + _LOW_BITS)) // total for weight in right]
    units[0] = (1 << (64 + _LOW_BITS)) - 2 * sum(units[1:])  # what rounding down left over goes to zero
    return _alias(index_bits, [0, *reversed(units[1:]), *units])


def _gaussian_weights(width: int, n: int) -> list[int]:
    """exp(-x^2 / (2 width^2)) for x = 0 .. n-1, times 2^320, each off by less than x^2 + 1.

    With q = exp(-1 / (2 width^2)), by its alternating series: q^((x+1)^2) = q^(x^2) q^(2x+1).
    """
    term = q = 1 << _FIXED
    order = 0
    while term:
        order += 1
        term //= 2 * width**2 * order
        q += -term if order % 2 else term
    weight, ratio, square = 1 << _FIXED, q, (q * q) >> _FIXED
    weights = []
    for _ in range(n):
        weights.append(weight)
        weight = (weight * ratio) >> _FIXED
        ratio = (ratio * square) >> _FIXED
    return weights


def _alias(index_bits: int, weights: list[int]) -> AliasTable:
    """Vose's construction in integers: columns that need more are filled up by those that have too much."""
    full = 1 << (64 - index_bits + _LOW_BITS)
    thresholds, alias = list(weights), list(range(len(weights)))
    short = [i for i, weight in enumerate(weights) if weight < full]
    long = [i for i, weight in enumerate(weights) if weight >= full]
    while short:
        column, giver = short.pop(), long[-1]
        alias[column] = giver
        thresholds[giver] -= full - thresholds[column]
        if thresholds[giver] < full:
            short.append(long.pop())
    return AliasTable(
        index_bits=index_bits,
        high=np.array([threshold >> _LOW_BITS for threshold in thresholds], np.uint64),
        low=tuple(threshold & ((1 << _LOW_BITS) - 1) for threshold in thresholds),
        alias=np.array(alias, np.int64),
    )
