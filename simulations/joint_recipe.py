"""How to set a linear study with joint noise: rounds, step size and clipping norm from public numbers alone.

One rule instead of a search, because a search on patients would cost privacy. A patient of input length R (the root
mean square L2 length of an input row, public) has at most the gradient length R sqrt(2) or so; C = R / 2 clips nearly
everybody a little, which costs less than the noise that a larger C brings. Inputs longer than the intercept's 1 keep
the intercept from taking a share of C: R near 3 is worth a hundredth of accuracy over R = 1.

How far descent may go is the learning rate times the rounds, in units of 1 / R^2: the reach. Along it the signal
saturates while noise adds up, whatever the number of rounds: in a patient's score, noise of standard deviation
reach C / (mu N R), where mu = sqrt(rounds) / z is the budget and N the declared training patients. The rule
lets that be STRENGTH. Momentum, averaging of iterates and more rounds were measured and do not pay.

Constants were chosen on synthetic worlds (`simulations.worlds`) with seeds 101 to 106, never on the worlds that are
reported and on no patient.

Measured on worlds 7, 23, 31, 47 and 59, five draws of the noise each, mean accuracy over five hospitals of 60 to 200
patients, delta 1e-5. Without privacy: alone .777 (ridge over all genes) or .823 (ridge over the public components,
its strength chosen on the test patients), pooled .887.

    epsilon                  1      3      8
    joint noise, h = 5     .833   .869   .893
    joint noise, h = 4     .826   .866   .892
    site noise             .748   .838   .880

Assumes a linear model, `norm = "none"`, one full-batch step per round (q = 1), and plain descent at the server.

Source: De et al. (2022), "Unlocking high-accuracy differentially private image classification through scale", for
few large steps; Bu et al. (2023), "Automatic clipping", for clipping nearly everybody.
"""

import math
from dataclasses import dataclass
from typing import Final

from wardround.common.checks import positive
from wardround.common.privacy.calibration import noise_multiplier_for

STRENGTH: Final = 0.6
"""Standard deviation that the noise of all rounds may add to a patient's score (log odds)."""

CLIPPING: Final = 0.5
"""C divided by the length of the inputs."""

LENGTH: Final = math.sqrt(10)
"""To which loadings scale the inputs' root mean square length."""

COMPONENTS: Final = 24
"""Public principal components of a thousand genes; 20 to 30 do as well."""

WHITENING: Final = 0.75
"""How far their spreads are made equal (`simulations.worlds.public_path`); .5 costs .02 of accuracy at epsilon 1."""

FEWEST_ROUNDS: Final = 15
MOST_ROUNDS: Final = 60
REACH_PER_ROUND: Final = 20.0
LONGEST_REACH: Final = 1200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JointRecipe:
    """Settings of a study.

    Attributes:
        rounds: T, each one noisy sum.
        learning_rate: Of the step w += learning_rate * (noisy sum of clipped descent directions) / N.
        clipping_norm: C.
    """

    rounds: int
    learning_rate: float
    clipping_norm: float


def joint_recipe(*, epsilon: float, delta: float, patients: int, length: float = LENGTH) -> JointRecipe:
    """The settings for a budget.

    Args:
        epsilon: Over all rounds, add or remove one patient, > 0.
        delta: In (0, 1).
        patients: N, the declared training patients of all sites together.
        length: R, root mean square L2 length of an input row, from public reference samples; for d standardised
            inputs without loadings, sqrt(d).

    Raises:
        UsageError: A number is out of range.

    Example:
        >>> joint_recipe(epsilon=1.0, delta=1e-5, patients=590)
        JointRecipe(rounds=15, learning_rate=1.27, clipping_norm=1.58)
    """
    positive(patients=patients, length=length)
    budget = 1 / noise_multiplier_for(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=1)
    reach = min(LONGEST_REACH, STRENGTH * budget * patients / CLIPPING)
    rounds = min(MOST_ROUNDS, max(FEWEST_ROUNDS, math.ceil(reach / REACH_PER_ROUND)))
    return JointRecipe(
        rounds=rounds,
        learning_rate=_rounded(reach / rounds / length**2),
        clipping_norm=_rounded(CLIPPING * length),
    )


def _rounded(value: float) -> float:
    """Three digits: a protocol is read by people."""
    return float(f"{value:.3g}")
