"""The public grid on which sites round their sums before they add integer noise, and the ring in which they add up.

Everything here follows from public constants, so that every site and the server find the same grid; only
additions, products, quotients and square roots are used, which IEEE 754 rounds alike everywhere.

Sensitivity. Adding or removing one patient moves one site's sum S by a vector of norm at most C. What is released
is round(S / gamma) plus noise. C' = C (1 + 2^-10) + gamma sqrt(d) bounds gamma times the change of the rounded
vector:
- rounding to nearest is off by at most 1/2 on either side: at most 1 in each of d coordinates, gamma sqrt(d) in all;
- clipping in float64 keeps each patient's vector c_i below C (1 + 2^-20) (`client.clipping`);
- float64 accumulation of n products, in any order, is off by at most (n + 2) u sum_i |c_ij| in coordinate j, with
  u = 2^-53 (Higham 2002, section 3.1); over all coordinates, and on either side, by 2 (n + 2) u n C (1 + 2^-19).
  With n <= 2^20 patients this is below C 2^-11.9. Dividing by gamma adds less than 2 n u C <= C 2^-32;
  With several rows per patient and R in all it is 8 (R + 2) in place of (n + 2): n R <= 2^37 keeps the bound;
- the others' gradients do not move at all: each is computed as if its patient stood alone (`client.rowwise`); their
  clipping factors are rounded anew, by 64 n C (d + 2^10) u at most in all with d inputs (`client.clipping`). For that
  and for the rounding of gamma itself C 2^-11.2 is left.
The sum must therefore reach `to_grid` in float64: rounded to float32 it could move by n C 2^-23.

Replacing a patient moves S by at most 2 C and the rounded vector by at most 2 C' / gamma.

Wrapping. Sums are taken modulo 2^32. The grid is chosen so that the true sum stays within (-2^31, 2^31) except
with probability below 2 d exp(-72) < 2^-62 per release, for d <= 2^40: the sum of K shares is sub-Gaussian with
variance K s^2 (Canonne, Kamath and Steinke 2020), and 12 of its standard deviations fit. A wrapped sum would be
useless, not less private: reduction modulo 2^32 is post-processing.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import in_range, positive
from wardround.common.errors import PrivacyError
from wardround.common.privacy.excess import gaussian_variance
from wardround.common.privacy.integernoise import WIDENINGS, share_variance

MOST_PATIENTS: Final = 32_768
"""Default of the public bound on the patients of all sites of a roster together."""

_FLOAT_SLACK: Final = 1 + 2.0**-10
_COARSEST: Final = 0.1  # largest accepted gamma sqrt(d) / C
_TAIL: Final = 12.0  # standard deviations of the summed noise that must not wrap
_HALF_RING: Final = 2.0**31


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseGrid:
    """A grid and the noise that goes with it.

    Attributes:
        step: gamma, the distance of two neighbouring values, in units of the gradient, > 0.
        widening: k of `integernoise`: fixes the noise in grid steps.
        sensitivity: C', in units of the gradient.
        largest: No honest sum has a coordinate beyond this, in units of the gradient.
        honest: h, the sites whose shares together carry the noise.
        sites: K, the most sites in a roster.
    """

    step: float
    widening: int
    sensitivity: float
    largest: float
    honest: int
    sites: int

    @property
    def share_deviation(self) -> float:
        """Standard deviation of one site's noise in each coordinate, in units of the gradient."""
        return self.step * math.sqrt(share_variance(self.widening))


def noise_grid(
    *,
    clipping_norm: float,
    noise_multiplier: float,
    honest: int,
    sites: int,
    coordinates: int,
    most_patients: int = MOST_PATIENTS,
) -> NoiseGrid:
    """The finest grid on which sums do not wrap.

    Guarantees:
        noise_multiplier * sensitivity / step <= sqrt(h s^2 - 9): what `JointGaussianSteps` needs.

    Args:
        clipping_norm: C, > 0.
        noise_multiplier: z: noise of `honest` shares together, divided by C'.
        honest: h, at least 1 and below `sites`: one participant at least may be curious.
        sites: K, the most sites in a roster.
        coordinates: d, values in a sum.
        most_patients: Public bound on the patients of all sites together, at most 2^20.

    Raises:
        UsageError: A number is out of range.
        PrivacyError: No grid is both fine enough and free of wrapping.

    Example:
        >>> grid = noise_grid(clipping_norm=1.0, noise_multiplier=6.0, honest=4, sites=5, coordinates=153)
        >>> grid.widening, round(grid.share_deviation, 4)
        (128, 3.0038)
    """
    positive(clipping_norm=clipping_norm, noise_multiplier=noise_multiplier, honest=honest)
    in_range(2, 2**16, sites=sites)
    in_range(1, 2**40, coordinates=coordinates)
    in_range(1, 2**20, most_patients=most_patients)
    if honest >= sites:
        raise PrivacyError(
            f"expected noise carried by fewer than all {sites} sites, found honest = {honest}",
            advice="every participant knows its own share: set honest to at most sites - 1",
        )
    for widening in reversed(WIDENINGS):
        grid = _grid(widening, clipping_norm, noise_multiplier, honest, sites, coordinates, most_patients)
        if grid and _holds(grid):
            return _fine_enough(grid, clipping_norm, coordinates)
    raise PrivacyError(
        f"no grid holds noise multiplier {noise_multiplier:g} and sums over {most_patients} patients in 32 bits",
        advice="declare fewer patients in most_patients, more noise, or fewer coordinates",
    )


def _grid(
    widening: int, clipping_norm: float, z: float, honest: int, sites: int, coordinates: int, patients: int
) -> NoiseGrid | None:
    """Solve z C' = gamma sqrt(h s^2 - 9) with C' = C (1 + 2^-10) + gamma sqrt(d); None without a solution."""
    left = math.sqrt(gaussian_variance(honest, widening)) - z * math.sqrt(coordinates)
    if left <= 0:
        return None
    norm = clipping_norm * _FLOAT_SLACK
    step = z * norm / left
    return NoiseGrid(
        step=step,
        widening=widening,
        sensitivity=norm + step * math.sqrt(coordinates),
        largest=patients * norm,
        honest=honest,
        sites=sites,
    )


def _holds(grid: NoiseGrid) -> bool:
    noise = _TAIL * math.sqrt(grid.sites * share_variance(grid.widening))
    return grid.largest / grid.step + grid.sites / 2 + noise < _HALF_RING


def _fine_enough(grid: NoiseGrid, clipping_norm: float, coordinates: int) -> NoiseGrid:
    lost = grid.step * math.sqrt(coordinates) / clipping_norm
    if lost > _COARSEST:
        raise PrivacyError(
            f"rounding {coordinates} coordinates to the grid would raise the sensitivity by {lost:.0%}, "
            f"at most {_COARSEST:.0%} is accepted",
            advice="use a smaller model or fewer features, less noise, or declare fewer patients",
        )
    return grid


def to_grid(total: NDArray[np.float64], grid: NoiseGrid) -> NDArray[np.int64]:
    """A site's sum in whole grid steps, rounded to nearest: before noise, never sent as it is.

    Values beyond `grid.largest` are cut to it. Only a site with more patients than `most_patients` can have them; to
    refuse would tell something about its patients, while cutting never moves two sums further apart.

    Args:
        total: Sum of clipped per-patient vectors, any shape, float64.
        grid: The study's grid.

    Returns:
        The same shape.

    Raises:
        PrivacyError: Another type, or a value that is not finite: clipping failed.
    """
    if total.dtype != np.float64:
        raise PrivacyError(
            f"expected a sum accumulated in float64, found {total.dtype}",
            advice="a sum that was rounded to fewer bits is more sensitive to one patient than the grid allows for",
        )
    if not np.all(np.isfinite(total)):
        raise PrivacyError(
            "a coordinate of the sum is not finite, which clipped patients cannot add up to",
            advice="this is a fault of the program; nothing was sent",
        )
    return np.rint(np.clip(total, -grid.largest, grid.largest) / grid.step).astype(np.int64)


def to_ring(values: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Integers modulo 2^32, after noise. Never refuses: the outcome of a check would depend on patients.

    >>> to_ring(np.array([-1, 2**32 + 5])).tolist()
    [4294967295, 5]
    """
    return values.astype(np.uint32)


def from_ring(total: NDArray[np.uint32], grid: NoiseGrid) -> NDArray[np.float64]:
    """The opened sum over the roster, noise included, in units of the gradient.

    Args:
        total: Sum of all sites' values modulo 2^32.
        grid: The study's grid.

    Returns:
        The same shape; each value is the sum's representative in [-2^31, 2^31), times gamma.
    """
    return total.view(np.int32) * np.float64(grid.step)
