"""The public terms of a study's privacy: everything a site needs to charge itself, nothing computed from patients.

Source: rule 1 of the privacy design (public constants) and Abadi et al. (2016) for DP-SGD.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from wardround.common.checks import in_range, not_negative, positive
from wardround.common.errors import PrivacyError, ProtocolError
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps, NonPrivate

Mechanism = Literal["none", "site-noise", "joint-noise"]
MECHANISMS: Final[tuple[Mechanism, ...]] = get_args(Mechanism)

FEWEST_HONEST: Final = 2
"""Honest sites below which joint noise is no sum worth its name: with one, every site carries its own full noise."""

LARGEST_SUM: Final = 2**24
"""Most values in one secure sum. Every charge is stated for this many, so that it does not depend on the model's size;
what integer noise costs beyond a Gaussian grows with it and stays far below any delta."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyTerms:
    """How one release of one site is made private.

    Attributes:
        mechanism: `none` (no privacy: only public or synthetic cohorts), `site-noise` (each site trains with
            DP-SGD and its own full noise; every update is private on its own), or `joint-noise` (each site adds a
            share of the noise inside a secure sum, of which only the total can be read).
        clipping_norm: C, L2 bound on one patient's gradient.
        noise_multiplier: z, noise standard deviation divided by C, dimensionless. Under `joint-noise` that of any
            `honest_sites` shares together.
        sample_rate: q, the Poisson inclusion probability of a patient per step; 1 is full batch.
        delta: The lifetime delta at which epsilon is stated.
        reference_patients: Public stand-in for a site's cohort size: the clipped sum is divided by
            `sample_rate * reference_patients`. Declared, never counted.
        honest_sites: h, only under `joint-noise`: how many sites of an attempt's roster neither collude nor drop out.
            The claim holds against everybody else together. At most the number of sites minus one, so that it
            holds against a curious member too.
        most_patients: Only under `joint-noise`: a public upper bound on the patients of all sites together, by which
            the grid of the integer noise is chosen. With more, sums could wrap: useless, but no less private.
        source: Where these constants come from.
    """

    mechanism: Mechanism
    clipping_norm: float = 1.0
    noise_multiplier: float = 0.0
    sample_rate: float = 1.0
    delta: float = 1e-5
    reference_patients: int = 200
    honest_sites: int = 0
    most_patients: int = 32768
    source: str = "framework default"

    def __post_init__(self) -> None:
        """Refuse terms under which no guarantee holds."""
        if self.mechanism not in MECHANISMS:
            raise ProtocolError(
                f"privacy mechanism {self.mechanism!r} is unknown to this release",
                advice="use 'joint-noise', 'site-noise', or 'none' for public or synthetic cohorts",
            )
        positive(clipping_norm=self.clipping_norm, sample_rate=self.sample_rate, delta=self.delta)
        positive(reference_patients=self.reference_patients)
        in_range(1, 2**20, most_patients=self.most_patients)
        not_negative(honest_sites=self.honest_sites)
        in_range(0, 1, sample_rate=self.sample_rate)
        in_range(0, 0.1, delta=self.delta)
        if self.mechanism != "none":
            positive(noise_multiplier=self.noise_multiplier)
        elif self.noise_multiplier:
            raise ProtocolError("noise_multiplier is set although the mechanism is 'none'")
        self._check_joint()

    def _check_joint(self) -> None:
        if self.mechanism != "joint-noise":
            if self.honest_sites:
                raise ProtocolError(f"honest_sites is set although the mechanism is {self.mechanism!r}")
            return
        if self.honest_sites < FEWEST_HONEST:
            raise ProtocolError(
                f"expected honest_sites of at least {FEWEST_HONEST} under joint-noise, found {self.honest_sites}",
                advice="set it to the number of sites minus one; with fewer than three sites use 'site-noise'",
            )
        if self.sample_rate != 1:
            raise PrivacyError(
                f"expected sample_rate 1 under joint-noise, found {self.sample_rate:g}",
                advice="no bound for a sampled integer noise is proven; the full batch costs nothing at these sizes",
            )


def event_under(privacy: PrivacyTerms, steps: int) -> DpEvent:
    """What `steps` noisy sums of one release cost."""
    match privacy.mechanism:
        case "none":
            return NonPrivate()
        case "joint-noise":
            return JointGaussianSteps(
                noise_multiplier=privacy.noise_multiplier,
                honest=privacy.honest_sites,
                coordinates=LARGEST_SUM,
                steps=1,
            )
        case "site-noise":
            return GaussianSteps(
                noise_multiplier=privacy.noise_multiplier, sample_rate=privacy.sample_rate, steps=steps
            )
