"""`wardround audit canary`: how much epsilon the installed mechanism really has, seen from canaries in one run.

What a value means: with confidence 1 - level, this mechanism has at least that epsilon. A value below the claim is no
proof of privacy; a value above it refutes the claim. The interval of the mechanism assumes the subsampled Gaussian,
which `conform` tests; the one-run bounds assume nothing, and can never exceed their ceilings.

Source: `canaries` has the bounds.
"""

import math
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from scipy import stats

from wardround.simulations.canaries import (
    Bound,
    best_of_grid,
    composed,
    one_run,
    one_run_gaussian,
    scores,
    step_noise,
)
from wardround.simulations.canarysite import FULL, Claim, Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number and its confidence limits."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryReport:
    """What was found.

    Attributes:
        claim: What is audited.
        noise: Measured noise multiplier, relative to the promised one.
        sensitivity: A canary's contribution, relative to the clipping norm.
        rate: Measured inclusion probability.
        mechanism: Epsilon of the mechanism with these: an interval.
        per_step: Lower bound from single steps.
        one_run: Lower bound by Steinke et al.
        one_run_gaussian: Lower bound by Mahloujifar et al.
    """

    claim: Claim
    noise: Measured
    sensitivity: Measured
    rate: Measured
    mechanism: Measured
    per_step: Bound
    one_run: Bound
    one_run_gaussian: Bound

    @property
    def refuted(self) -> bool:
        """Whether any lower bound is above the claim."""
        bounds = (self.per_step.value, self.one_run.value, self.one_run_gaussian.value)
        return max(self.mechanism.low, *bounds) > self.claim.epsilon

    def as_dict(self) -> dict[str, object]:
        """For JSON; infinities are text."""
        return {"refuted": "yes" if self.refuted else "no", **_finite(asdict(self))}


def _finite(found: dict[str, object]) -> dict[str, object]:
    changed: dict[str, object] = {}
    for name, value in found.items():
        if isinstance(value, dict):
            changed[name] = _finite(value)
        else:
            changed[name] = "infinite" if isinstance(value, float) and math.isinf(value) else value
    return changed


def audit(claim: Claim, observed: Observed) -> CanaryReport:
    """All bounds from what was seen. The interval of the mechanism splits its level over its three measurements."""
    level = claim.level / 3
    noise = _noise(claim, observed, level)
    sensitivity, rate = _entries(observed, level)
    relative = [
        claim.noise * n / s for n, s in ((noise.high, sensitivity.low), (noise.low, sensitivity.high))
    ]
    middle = claim.noise * noise.value / sensitivity.value if sensitivity.value else math.inf
    points = [(middle, rate.value), (relative[0], rate.low), (relative[1], rate.high)]
    epsilons = [composed(z, q, claim.steps, claim.delta) for z, q in points]
    stepwise = step_noise(
        observed.members / claim.noise, observed.strangers / claim.noise, rate=claim.rate, level=claim.level
    )
    seen = [
        scores(part, noise=claim.noise, rate=claim.rate) for part in (observed.members, observed.strangers)
    ]
    return CanaryReport(
        claim=claim,
        noise=noise,
        sensitivity=sensitivity,
        rate=rate,
        mechanism=Measured(value=epsilons[0], low=epsilons[1], high=epsilons[2]),
        per_step=Bound(
            value=composed(stepwise, claim.rate, claim.steps, claim.delta),
            ceiling=_step_ceiling(claim, observed),
        ),
        one_run=best_of_grid(*seen, bound=partial(_classic, claim), level=claim.level),
        one_run_gaussian=best_of_grid(*seen, bound=partial(_gaussian, claim), level=claim.level),
    )


def _classic(claim: Claim, canaries: int, guesses: int, correct: int, level: float) -> float:
    return one_run(canaries=canaries, guesses=guesses, correct=correct, level=level, delta=claim.delta)


def _gaussian(claim: Claim, canaries: int, guesses: int, correct: int, level: float) -> float:
    return one_run_gaussian(
        canaries=canaries, guesses=guesses, correct=correct, level=level, delta=claim.delta
    )


def _noise(claim: Claim, observed: Observed, level: float) -> Measured:
    """Chi-square limits of the noise where no patient is, relative to what was promised."""
    pure = np.concatenate([observed.strangers.ravel(), observed.silent.ravel()]) * FULL / claim.noise
    squares, law = float((pure**2).sum()), stats.chi2(pure.size)
    low, high = (math.sqrt(squares / float(law.ppf(at))) for at in (1 - level / 2, level / 2))
    return Measured(value=math.sqrt(squares / pure.size), low=low, high=high)


def _entries(observed: Observed, level: float) -> tuple[Measured, Measured]:
    """Contribution and inclusion probability, from the study in which both are seen."""
    entered = observed.calm > 0.5
    count, trials = int(entered.sum()), entered.size
    limit = float(stats.norm.isf(level / 2))
    values = observed.calm[entered] * FULL
    mean = float(values.mean()) if count else 0.0
    spread = limit * float(values.std()) / math.sqrt(count) if count else 0.0
    low = float(stats.beta.ppf(level / 2, count, trials - count + 1)) if count else 0.0
    high = float(stats.beta.isf(level / 2, count + 1, trials - count)) if count < trials else 1.0
    contribution = Measured(value=mean, low=max(mean - spread, 1e-9), high=mean + spread)
    return contribution, Measured(value=count / trials, low=low, high=high)


def _step_ceiling(claim: Claim, observed: Observed) -> float:
    """The per-step bound if every step told members and strangers apart without error."""
    perfect = step_noise(
        np.full(observed.members.size, np.inf),
        np.full(observed.strangers.size, -np.inf),
        rate=claim.rate,
        level=claim.level,
    )
    return composed(perfect, claim.rate, claim.steps, claim.delta)


def in_words(report: CanaryReport) -> str:
    """For a terminal."""
    claim = report.claim
    rows = [
        f"Claim: epsilon {claim.epsilon:g} at delta {claim.delta:g}, add or remove one patient; q = {claim.rate:g}, "
        f"{claim.steps} steps, noise multiplier {claim.noise:g}; {claim.canaries} canaries.",
        "",
        f"{'':36}{'lower bound':>12}{'ceiling':>10}",
    ]
    for name, bound in (
        ("per step (Nasr et al. 2023)", report.per_step),
        ("one run, f-DP (Mahloujifar et al.)", report.one_run_gaussian),
        ("one run (Steinke et al. 2023)", report.one_run),
    ):
        rows.append(f"{name:36}{bound.value:12.2f}{bound.ceiling:10.2f}")
    rows.append(f"{'mechanism, as measured':36}{report.mechanism.low:12.2f}{'none':>10}")
    for name, part in (("noise", report.noise), ("sensitivity", report.sensitivity), ("rate", report.rate)):
        rows.append(f"  {name}: {part.value:.4f} [{part.low:.4f} to {part.high:.4f}]")
    rows += [
        f"  epsilon: {report.mechanism.value:.3f} [{report.mechanism.low:.3f} to {report.mechanism.high:.3f}]",
        "",
        f"The claim is {'REFUTED' if report.refuted else 'not refuted'}; confidence {1 - claim.level:.0%} per bound.",
        "A lower bound below the claim is no proof of privacy: a bound can never exceed its ceiling.",
    ]
    return "\n".join(rows)
