"""A study's privacy before it begins: what it costs against whom, and how its noise compares with its patients.

Pure arithmetic on public numbers; no patient is needed for it, and none may be counted for it. Expected cohort sizes
are what hospitals are willing to say in public.

Noise against signal. Each round opens a sum of per-patient gradients of norm at most C: at most n C long if all n
patients pulled in one direction. The noise on it, of standard deviation s in each of d coordinates, is about
s sqrt(d) long. Over T rounds the pull adds up to at most T n C, the noise to s sqrt(d T). That ratio,
s sqrt(d) / (n C sqrt(T)), is the one to look at: at a given epsilon s grows with sqrt(T), so more rounds do not
change it. Below about a tenth the noise is hardly felt; above one it is longer than anything the patients can say,
and a model learns only what stands out in few directions. It is a guide, no bound on accuracy.

Source: Bassily, Smith and Thakurta (2014), "Private empirical risk minimization", for error growing as sqrt(d) / n.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from wardround.common.checks import in_range, one_of, positive
from wardround.common.errors import UsageError
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps, times
from wardround.common.privacy.grid import noise_grid
from wardround.common.privacy.terms import LARGEST_SUM

CONSORTIUM: Final = "all sites together"
"""Name of the row for everybody's patients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTerms:
    """Public numbers of a study.

    Attributes:
        mechanism: Whose noise protects a patient: the site's own, or that of `honest` sites in a secure sum.
        delta: Lifetime delta.
        rounds: Completed rounds, T.
        attempts: Largest number of attempts per round; all are reserved.
        steps: Noisy steps per round; 1 under joint noise.
        clipping_norm: C.
        coordinates: d, trainable parameters, or values of a sum.
        patients: Expected patients of each site, by its name: public, rough.
        honest: h, only under joint noise.
        most_patients: Public bound on all patients together, only under joint noise.
    """

    mechanism: Literal["site-noise", "joint-noise"]
    delta: float
    rounds: int
    attempts: int = 1
    steps: int = 1
    clipping_norm: float = 1.0
    coordinates: int
    patients: Mapping[str, int]
    honest: int = 1
    most_patients: int = 32_768

    def __post_init__(self) -> None:
        """Refuse numbers that describe no study."""
        one_of(("site-noise", "joint-noise"), mechanism=self.mechanism)
        in_range(0, 0.1, delta=self.delta)
        positive(rounds=self.rounds, attempts=self.attempts, steps=self.steps, delta=self.delta)
        positive(clipping_norm=self.clipping_norm, coordinates=self.coordinates)
        positive(**{f"patients of {name}": n for name, n in self.patients.items()})
        if not self.patients:
            raise UsageError("expected patients of at least one site, found none")
        if self.joint:
            in_range(1, 1, steps=self.steps)
            in_range(1, len(self.patients) - 1, honest=self.honest)
            in_range(sum(self.patients.values()), 2**20, most_patients=self.most_patients)

    @property
    def joint(self) -> bool:
        """Whether the mechanism is joint noise."""
        return self.mechanism == "joint-noise"

    def event(self, noise_multiplier: float) -> DpEvent:
        """One release."""
        if self.joint:
            return JointGaussianSteps(
                noise_multiplier=noise_multiplier, honest=self.honest, coordinates=LARGEST_SUM, steps=1
            )
        return GaussianSteps(noise_multiplier=noise_multiplier, sample_rate=1.0, steps=self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """Epsilon per patient against one observer.

    Attributes:
        against: Who is curious, in words.
        shares: Sites whose noise the observer does not know.
        spent: If every round succeeds at its first attempt; add or remove one patient.
        reserved: If every round uses all its attempts: what a site compares with its cap.
        replaced: As `reserved`, for replacing one patient by another.
    """

    against: str
    shares: int
    spent: float
    reserved: float
    replaced: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRow:
    """Noise against signal, for one site's patients or everybody's.

    Attributes:
        name: The site, or `CONSORTIUM`.
        patients: n.
        signal: n C: the longest that one step's sum can be.
        noise: Expected length of the noise on what is opened.
        per_step: Noise over signal in one step.
        per_study: Noise over signal over all steps; see the module's text.
    """

    name: str
    patients: int
    signal: float
    noise: float
    per_step: float
    per_study: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is known of a study's privacy before it begins.

    Attributes:
        terms: The public numbers.
        noise_multiplier: z.
        costs: One row per observer, from the fewest curious parties to the most.
        noise: One row per site, then everybody.
        rounding: How much of the sensitivity is rounding to the integer grid: gamma sqrt(d) / C.
        warnings: Plain sentences; empty where nothing stands out.
    """

    terms: PlanTerms
    noise_multiplier: float
    costs: tuple[CostRow, ...]
    noise: tuple[NoiseRow, ...]
    rounding: float
    warnings: tuple[str, ...]


def noise_for(terms: PlanTerms, *, target: float) -> float:
    """The least noise multiplier, rounded up to three decimals, at which the whole reservation costs at most `target`.

    Args:
        terms: Public numbers.
        target: Epsilon of the stated guarantee with all attempts used, add or remove one patient.

    Raises:
        UsageError: A number is out of range.
        PrivacyError: No noise reaches it.
    """
    steps = terms.rounds * terms.attempts * terms.steps
    if terms.joint:
        return joint_noise_multiplier_for(
            epsilon=target, delta=terms.delta, steps=steps, honest=terms.honest, coordinates=LARGEST_SUM
        )
    return noise_multiplier_for(epsilon=target, delta=terms.delta, sample_rate=1.0, steps=steps)


def plan(terms: PlanTerms, *, noise_multiplier: float) -> Plan:
    """Work out costs and noise.

    Args:
        terms: Public numbers.
        noise_multiplier: z.

    Raises:
        UsageError: A number is out of range.
        PrivacyError: The study's numbers fit no integer grid.

    Example:
        >>> terms = PlanTerms(mechanism="joint-noise", delta=1e-5, rounds=30, coordinates=153, honest=2,
        ...                   patients={"north": 300, "south": 200, "west": 250})
        >>> found = plan(terms, noise_multiplier=noise_for(terms, target=1.0))
        >>> [(row.against, row.reserved) for row in found.costs][1]
        ('the server and one site', 1.0)
        >>> round(found.noise[-1].per_study, 3)
        0.075
    """
    positive(noise_multiplier=noise_multiplier)
    sensitivity = _sensitivity(terms, noise_multiplier)
    noise = _noise(terms, noise_multiplier * sensitivity)
    return Plan(
        terms=terms,
        noise_multiplier=noise_multiplier,
        costs=tuple(_cost(terms, noise_multiplier, *observer) for observer in _observers(terms)),
        noise=noise,
        rounding=max(0.0, sensitivity / terms.clipping_norm - (1 + 2.0**-10)) if terms.joint else 0.0,
        warnings=tuple(_warnings(noise)),
    )


def _sensitivity(terms: PlanTerms, noise_multiplier: float) -> float:
    if not terms.joint:
        return terms.clipping_norm
    return noise_grid(
        clipping_norm=terms.clipping_norm,
        noise_multiplier=noise_multiplier,
        honest=terms.honest,
        sites=len(terms.patients),
        coordinates=terms.coordinates,
        most_patients=terms.most_patients,
    ).sensitivity


def _observers(terms: PlanTerms) -> list[tuple[str, int]]:
    """Words and unknown shares, each number of shares once."""
    if not terms.joint:
        return [("the server and all other sites", 1)]
    sites, curious = len(terms.patients), len(terms.patients) - terms.honest
    found = {1: "the server and all other sites", terms.honest: f"the server and {curious} sites"}
    found |= {sites - 1: "the server and one site", sites: "the server"}
    return [(found[shares], shares) for shares in sorted(found, reverse=True)]


def _cost(terms: PlanTerms, noise_multiplier: float, against: str, shares: int) -> CostRow:
    event = terms.event(noise_multiplier)
    if isinstance(event, JointGaussianSteps):
        event = event.with_honest(shares)
    spent, reserved = times(event, terms.rounds), times(event, terms.rounds * terms.attempts)
    return CostRow(
        against=against,
        shares=shares,
        spent=epsilon(spent, terms.delta),
        reserved=epsilon(reserved, terms.delta),
        replaced=epsilon(reserved, terms.delta, "replace-one"),
    )


def _noise(terms: PlanTerms, deviation: float) -> tuple[NoiseRow, ...]:
    """`deviation`: of the noise that the guarantee counts on, in each coordinate.

    Under joint noise all K sites add their share to the one sum. Otherwise every site's update carries all of it,
    and adding K updates up adds K noises.
    """
    sites = len(terms.patients)
    summed = deviation * math.sqrt(sites / terms.honest if terms.joint else sites)
    alone = summed if terms.joint else deviation
    rows = [_noise_row(terms, name, n, alone) for name, n in terms.patients.items()]
    return (*rows, _noise_row(terms, CONSORTIUM, sum(terms.patients.values()), summed))


def _noise_row(terms: PlanTerms, name: str, patients: int, deviation: float) -> NoiseRow:
    signal, noise = patients * terms.clipping_norm, deviation * math.sqrt(terms.coordinates)
    return NoiseRow(
        name=name,
        patients=patients,
        signal=signal,
        noise=noise,
        per_step=noise / signal,
        per_study=noise / signal / math.sqrt(terms.rounds * terms.steps),
    )


def _warnings(rows: tuple[NoiseRow, ...]) -> list[str]:
    drowned = [row for row in rows if row.per_study > 1]
    if rows[-1] in drowned:
        return [
            f"Over the whole study the noise is {rows[-1].per_study:.1f} times as long as anything all "
            f"{rows[-1].patients} patients together can say. Ask for fewer features or narrower layers, more patients, "
            "or a larger epsilon; more rounds do not help."
        ]
    if drowned:
        names = ", ".join(row.name for row in drowned)
        return [f"On their own these sites' patients would be lost in the noise: {names}."]
    return []
