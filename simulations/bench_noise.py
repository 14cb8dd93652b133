"""How fast integer noise for a secure sum is, beside rounded normals of a generator that is not secret.

Both take turns in one process, so that a busy machine slows both. The floor is what a simulation would do: numpy's
generator, scaled and rounded. Ours adds the keystream, exact integer arithmetic and two draws for one share.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from wardround.common.checks import positive
from wardround.common.privacy.integernoise import integer_gaussian, share_variance, table
from wardround.common.privacy.randomness import SecureRandom

FEWEST_PER_SECOND: Final = 5e6
"""Shares a second that a site needs: 500,000 values then take a tenth of a second."""

_WIDENING: Final = 512


def measure(*, shares: int = 2_000_000, repeats: int = 5) -> dict[str, float]:
    """Time shares of noise of both kinds in turn.

    Args:
        shares: Shares per timed run.
        repeats: Timed runs of each kind; the median counts.

    Returns:
        `noise_ms` and `plain_ms` per million shares, `ratio` of the two, and `per_second`, shares of ours.
    """
    positive(shares=shares, repeats=repeats)
    generator = np.random.Generator(np.random.PCG64(1))
    deviation = share_variance(_WIDENING) ** 0.5

    def ours() -> None:
        with SecureRandom() as random:
            integer_gaussian(shares, _WIDENING, random)

    def plain() -> None:
        np.rint(generator.standard_normal(shares) * deviation).astype(np.int64)

    table()
    pairs = [(_seconds(ours), _seconds(plain)) for _ in range(repeats + 1)][1:]
    noise, floor = (float(np.median(column)) for column in zip(*pairs, strict=True))
    return {
        "noise_ms": 1e9 * noise / shares,
        "plain_ms": 1e9 * floor / shares,
        "ratio": float(np.median([a / b for a, b in pairs])),
        "per_second": shares / noise,
    }


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
