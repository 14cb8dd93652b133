"""How much noise a wanted epsilon needs.

Search on the claim itself, so that what was asked for is what will be claimed.

Source: the safe rounding of `dp_accounting.calibrate_dp_mechanism` (Google).
"""

from collections.abc import Callable
from typing import Final

from wardround.common.checks import in_range, positive
from wardround.common.errors import PrivacyError
from wardround.common.privacy.accounting import Against
from wardround.common.privacy.accounting import epsilon as claim
from wardround.common.privacy.events import GaussianSteps, JointGaussianSteps

_PER_UNIT: Final = 1000  # noise multipliers have three decimals
_LARGEST: Final = 2**40


def noise_multiplier_for(*, epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """The smallest noise multiplier with three decimals whose claim is at most `epsilon`.

    Args:
        epsilon: Wanted bound, add or remove one patient, > 0.
        delta: In (0, 1).
        sample_rate: q, in (0, 1].
        steps: All noisy steps together: rounds times attempts to be paid for times local steps.

    Returns:
        z, dimensionless: noise standard deviation divided by the clipping norm.

    Raises:
        UsageError: A number is out of range.
        PrivacyError: No noise reaches it, because the accountant's own error is larger than `epsilon`.

    Example:
        >>> noise_multiplier_for(epsilon=3.0, delta=1e-5, sample_rate=1.0, steps=30)
        7.617
    """
    positive(epsilon=epsilon, delta=delta, sample_rate=sample_rate, steps=steps)
    in_range(0, 1, sample_rate=sample_rate)

    def enough(units: int, q: float) -> bool:
        event = GaussianSteps(noise_multiplier=units / _PER_UNIT, sample_rate=q, steps=steps)
        return claim([event], delta) <= epsilon

    high = _enough_units(lambda units: enough(units, 1.0))
    # Sampling never needs more noise than the full batch does.
    if not enough(high, sample_rate):
        raise PrivacyError(
            f"no noise multiplier reaches epsilon {epsilon:g} at delta {delta:g} and sample rate {sample_rate:g}",
            advice="ask for a larger epsilon, or use the full batch (sample rate 1), whose cost is exact",
        )
    return _least(high, lambda units: enough(units, sample_rate)) / _PER_UNIT


def joint_noise_multiplier_for(
    *,
    epsilon: float,
    delta: float,
    steps: int,
    honest: int,
    coordinates: int,
    against: Against = "tolerated",
) -> float:
    """The smallest noise multiplier with three decimals whose claim with joint noise is at most `epsilon`.

    Args:
        epsilon: Wanted bound, add or remove one patient, > 0.
        delta: In (0, 1).
        steps: All opened sums together: rounds times attempts to be paid for.
        honest: h, the sites whose shares together carry the noise.
        coordinates: d, values in a sum.
        against: The coalition that `epsilon` is to hold against.

    Returns:
        z, dimensionless: noise of `honest` shares together, divided by the clipping norm.

    Raises:
        UsageError: A number is out of range.
        PrivacyError: No noise reaches it: the sampler's own error is larger.

    Example:
        >>> joint_noise_multiplier_for(epsilon=1.0, delta=1e-5, steps=30, honest=4, coordinates=153)
        20.434
    """
    positive(epsilon=epsilon, delta=delta)

    def enough(units: int) -> bool:
        event = JointGaussianSteps(
            noise_multiplier=units / _PER_UNIT, honest=honest, coordinates=coordinates, steps=steps
        )
        return claim([event], delta, "add-or-remove", against) <= epsilon

    high = _enough_units(enough)
    if not enough(high):
        raise PrivacyError(
            f"no joint noise reaches epsilon {epsilon:g} at delta {delta:g}",
            advice="ask for a larger delta, fewer rounds or a smaller model",
        )
    return _least(high, enough) / _PER_UNIT


def _enough_units(enough: Callable[[int], bool]) -> int:
    """A power of two that is enough, or the largest that is tried."""
    high = 1
    while not enough(high) and high < _LARGEST:
        high *= 2
    return high


def _least(high: int, enough: Callable[[int], bool]) -> int:
    """The smallest number that is enough, if `high` is and more noise never costs more."""
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
