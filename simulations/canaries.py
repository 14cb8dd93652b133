"""Bounds on epsilon from canaries in one run, each with the largest value that it could have at all.

- `one_run`: guesses about which canaries were in (Steinke, Nasr and Jagielski 2023, theorem 5.2 with its delta).
- `one_run_gaussian`: the same guesses against a hypothesised Gaussian trade-off (Mahloujifar, Melis and Chaudhuri
  2024, algorithm 3 with a cap on guesses), turned into epsilon by that Gaussian's exact formula.
- `per_step`: what was seen step by step, composed (Nasr et al. 2023); assumes a Poisson-subsampled Gaussian.
- `composed`: epsilon of a Poisson-subsampled Gaussian, for what was measured of its noise, sensitivity and rate.

A lower bound below the claim is no proof of privacy. Guesses are taken at fixed numbers of the most extreme scores
(`GUESSES`) and each at its share of the level (Bonferroni); a threshold chosen on the same scores would be invalid.

Sources: as above; Balle and Wang (2018) for the Gaussian; Clopper and Pearson (1934); Koskela et al. (2020) and
dp_accounting (Google) for the composition.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.special import ndtr, ndtri

from wardround.common.checks import in_range, positive
from wardround.common.privacy.accounting import gaussian_epsilon, second_opinion
from wardround.common.privacy.events import GaussianSteps

Floats = NDArray[np.float64]

GUESSES: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
"""Shares of the canaries that are guessed, the most extreme first: fixed in advance."""

QUANTILES: Final = (1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7)
"""Promised false-positive rates at which single steps are looked at: fixed in advance."""

LARGEST: Final = 100.0
"""Epsilon beyond which nothing is stated."""

_NEXT_TO_NOTHING: Final = (
    0.05  # noise multiplier; epsilon is then beyond any claim, and its distribution too large
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A lower bound on epsilon.

    Attributes:
        value: The bound; 0 where nothing is refuted.
        ceiling: What it would be if every guess were right, or every step seen without error.
    """

    value: float
    ceiling: float


def one_run(*, canaries: int, guesses: int, correct: int, level: float, delta: float) -> float:
    """The largest epsilon that the guesses refute.

    Args:
        canaries: m, each in with probability 1/2.
        guesses: r, of which the others are abstentions.
        correct: v <= r.
        level: Probability with which the bound may be wrong.
        delta: Of the claim.

    Returns:
        At least 0.

    Example:
        >>> round(one_run(canaries=1000, guesses=1000, correct=1000, level=0.05, delta=0.0), 3)
        5.809
    """
    in_range(0, guesses, correct=correct)
    return _refuted(lambda epsilon: _guess_p(canaries, guesses, correct, epsilon, delta), level)


def _guess_p(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """P(at least `correct` right guesses) is at most this under (epsilon, delta), by theorem 5.2.

    With W ~ Binomial(r, e^eps / (1 + e^eps)): P(W >= v) + 2 m delta max_i P(v > W >= v - i) / i.
    """
    law = stats.binom(guesses, 1 / (1 + math.exp(-epsilon)))
    tail = float(law.sf(correct - 1))
    if not (delta and correct):
        return tail
    i = np.arange(1, correct + 1)
    between = np.cumsum(law.pmf(correct - i))
    return min(1.0, tail + 2 * canaries * delta * float((between / i).max()))


def one_run_gaussian(*, canaries: int, guesses: int, correct: int, level: float, delta: float) -> float:
    """The largest epsilon of a Gaussian mechanism that the guesses refute, at `delta` > 0; arguments as `one_run`."""
    positive(delta=delta)
    in_range(0, guesses, correct=correct)

    def refuted(mu: float) -> bool:
        return _surplus(canaries, guesses, correct, mu, level) > 0

    if not refuted(1e-6):
        return 0.0
    high = 1.0
    while refuted(high):
        high *= 2
    mu = optimize.brentq(lambda mu: _surplus(canaries, guesses, correct, mu, level), 1e-6, high, xtol=1e-7)
    return gaussian_epsilon(float(mu), delta)


def _surplus(canaries: int, guesses: int, correct: int, mu: float, level: float) -> float:
    """How far what would have to hold exceeds the share of guesses; above 0, a mu-Gaussian mechanism is refuted.

    Walks from v right guesses down to none. `right` and `wrong` bound how often, over canaries, the adversary is right
    or wrong with at least that many right; the trade-off turns one into the other: Phi(Phi^-1(x) - mu).
    """
    right = level * correct / canaries
    wrong = level * (guesses - correct) / canaries
    for below in range(correct - 1, -1, -1):
        needed = float(ndtr(ndtri(right) - mu))
        if needed <= wrong:
            break  # neither can change any more
        right = min(1.0, right + below / (guesses - below) * (needed - wrong))
        wrong = needed
    return right + wrong - guesses / canaries


def guessed(members: Floats, strangers: Floats, share: float) -> tuple[int, int]:
    """Guesses and right ones among all canaries, the highest scores as in and the lowest as out.

    Args:
        members: Scores of canaries that were in.
        strangers: Of those that were not.
        share: Of all canaries that are guessed.
    """
    total = len(members) + len(strangers)
    half = max(1, round(share * total / 2))
    scores = np.concatenate([members, strangers])
    inside = np.arange(total) < len(members)
    order = np.argsort(scores, kind="stable")
    right = int(inside[order[-half:]].sum()) + int((~inside[order[:half]]).sum())
    return 2 * half, right


OneRun = Callable[[int, int, int, float], float]


def best_of_grid(members: Floats, strangers: Floats, *, bound: OneRun, level: float) -> Bound:
    """The best of the bounds over `GUESSES`, each at its share of the level.

    Args:
        members: Scores of canaries that were in.
        strangers: Of those that were not.
        bound: Canaries, guesses, right ones, level -> epsilon.
        level: Of all bounds together.
    """
    total = len(members) + len(strangers)
    found, most = [], []
    for share in GUESSES:
        guesses, right = guessed(members, strangers, share)
        found.append(bound(total, guesses, right, level / len(GUESSES)))
        most.append(bound(total, guesses, guesses, level / len(GUESSES)))
    return Bound(value=max(found), ceiling=max(most))


def step_noise(members: Floats, strangers: Floats, *, rate: float, level: float) -> float:
    """The largest noise multiplier that single steps allow, at confidence 1 - level; infinity where they show nothing.

    A step's test accepts what exceeds a threshold. For a Poisson-subsampled Gaussian of multiplier z its rate of true
    positives at false positives a is at most (1 - q) a + q Phi(Phi^-1(a) + 1 / z).

    Args:
        members: Sums of canaries that were in, per step, in promised standard deviations; any shape.
        strangers: Of those that were not.
        rate: q.
        level: Split over thresholds and both rates.
    """
    share = level / (2 * len(QUANTILES))
    found = [_noise_at(-float(ndtri(quantile)), members, strangers, rate, share) for quantile in QUANTILES]
    return min(found)


def _noise_at(threshold: float, members: Floats, strangers: Floats, rate: float, level: float) -> float:
    true = _clopper_pearson_low(int((members > threshold).sum()), members.size, level)
    false = 1 - _clopper_pearson_low(int((strangers <= threshold).sum()), strangers.size, level)
    needed = (true - (1 - rate) * false) / rate
    if needed >= 1:
        return 0.0
    if needed <= false or false >= 1:
        return math.inf
    return float(1 / (ndtri(needed) - ndtri(false)))


def _clopper_pearson_low(successes: int, trials: int, level: float) -> float:
    return float(stats.beta.ppf(level, successes, trials - successes + 1)) if successes else 0.0


def _refuted(p_value: Callable[[float], float], level: float) -> float:
    """Where a p-value that grows with epsilon crosses the level."""
    if p_value(0.0) >= level:
        return 0.0
    high = 1.0
    while p_value(high) < level and high < LARGEST:
        high *= 2
    if high >= LARGEST:
        return LARGEST
    return float(optimize.brentq(lambda epsilon: p_value(epsilon) - level, 0.0, high, xtol=1e-7))


def composed(noise: float, rate: float, steps: int, delta: float) -> float:
    """Epsilon of Poisson-subsampled Gaussians by privacy loss distributions (dp-accounting).

    Args:
        noise: Noise multiplier; infinity gives 0, next to nothing gives infinity.
        rate: q.
        steps: T.
        delta: In (0, 1).
    """
    if noise < _NEXT_TO_NOTHING:
        return math.inf
    if math.isinf(noise):
        return 0.0
    event = GaussianSteps(noise_multiplier=noise, sample_rate=min(1.0, rate), steps=steps)
    return second_opinion([event], delta)


def scores(sums: Floats, *, noise: float, rate: float) -> Floats:
    """Log-likelihood ratio of each canary, in against out, over all steps.

    Args:
        sums: (steps, canaries), each canary's part of the noisy sum in units of its own clipped contribution.
        noise: Promised multiplier z.
        rate: q.

    Returns:
        (canaries,); sum over steps of log(1 - q + q exp((2 s - 1) / (2 z^2))).
    """
    inside = (2 * sums - 1) / (2 * noise**2)
    if rate == 1:
        return np.asarray(inside.sum(axis=0))
    return np.asarray(np.logaddexp(math.log1p(-rate), math.log(rate) + inside).sum(axis=0))
