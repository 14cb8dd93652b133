"""Joint noise: what one site adds to a secure sum, and what the opened sum means.

Each site rounds its sum of clipped per-patient vectors to a public grid and adds one share of integer noise; any h
shares together carry the noise that the study's epsilon counts on. Sites and coordinator find the same grid from
public terms alone, so both sides use this module.

Source: Kairouz, Liu and Steinke (2021), "The distributed discrete Gaussian mechanism for federated learning with
secure aggregation"; `grid`, `integernoise` and `excess` hold the mathematics.
"""

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import PrivacyError
from wardround.common.privacy.grid import NoiseGrid, from_ring, noise_grid, to_grid, to_ring
from wardround.common.privacy.integernoise import integer_gaussian
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms


def grid_of(terms: PrivacyTerms, *, sites: int, coordinates: int) -> NoiseGrid:
    """The grid of one attempt, from public numbers.

    Args:
        terms: The study's privacy terms.
        sites: Members of the attempt's roster, K.
        coordinates: Values in the sum, d.

    Raises:
        PrivacyError: The terms are not those of joint noise, the sum is too long, the roster has no more members than
            honest sites are counted on, or no grid fits.
    """
    if terms.mechanism != "joint-noise":
        raise PrivacyError(f"expected mechanism 'joint-noise', found {terms.mechanism!r}")
    if coordinates > LARGEST_SUM:
        raise PrivacyError(
            f"expected at most {LARGEST_SUM} values in a sum, found {coordinates}",
            advice="use public loadings, fewer features or narrower layers: noise grows with every value",
        )
    return noise_grid(
        clipping_norm=terms.clipping_norm,
        noise_multiplier=terms.noise_multiplier,
        honest=terms.honest_sites,
        sites=sites,
        coordinates=coordinates,
        most_patients=terms.most_patients,
    )


def noisy_share(
    terms: PrivacyTerms, total: NDArray[np.float64], *, sites: int, random: SecureRandom
) -> NDArray[np.uint32]:
    """One site's summand of a secure sum.

    Guarantees:
        Inside a sum with at least `terms.honest_sites` honest members, one such release costs each patient
        `JointGaussianSteps` with one step. On its own it carries one share of the noise only: it must be masked.

    Args:
        terms: The study's privacy terms.
        total: (d,) sum of per-patient vectors of norm at most C, accumulated in float64.
        sites: Members of the attempt's roster.
        random: A fresh source for this release.

    Returns:
        (d,) modulo 2^32.
    """
    grid = grid_of(terms, sites=sites, coordinates=total.size)
    return to_ring(to_grid(total, grid) + integer_gaussian(total.size, grid.widening, random))


def opened_sum(terms: PrivacyTerms, total: NDArray[np.uint32], *, sites: int) -> NDArray[np.float64]:
    """The sum over the roster, noise included, in units of the gradient; (d,) modulo 2^32 to (d,) float64."""
    return from_ring(total, grid_of(terms, sites=sites, coordinates=total.size))
