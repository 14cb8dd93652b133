"""The public terms of a study's privacy: everything a site needs to charge itself, nothing computed from patients.

Source: rule 1 of the privacy design (public constants) and Abadi et al. (2016) for DP-SGD.
"""

from dataclasses import dataclass
from typing import Literal

from wardround.common.checks import in_range, positive
from wardround.common.errors import ProtocolError

Mechanism = Literal["none", "site-noise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacyTerms:
    """How one release of one site is made private.

    Attributes:
        mechanism: `none` (no privacy: only public or synthetic cohorts), or `site-noise` (each site trains with
            DP-SGD and its own full noise; every update is private on its own).
        clipping_norm: C, L2 bound on one patient's gradient.
        noise_multiplier: Noise standard deviation divided by C, dimensionless.
        sample_rate: q, the Poisson inclusion probability of a patient per step; 1 is full batch.
        delta: The lifetime delta at which epsilon is stated.
        reference_patients: Public stand-in for a site's cohort size: the clipped sum is divided by
            `sample_rate * reference_patients`. Declared, never counted.
        source: Where these constants come from.
    """

    mechanism: Mechanism
    clipping_norm: float = 1.0
    noise_multiplier: float = 0.0
    sample_rate: float = 1.0
    delta: float = 1e-5
    reference_patients: int = 200
    source: str = "framework default"

    def __post_init__(self) -> None:
        """Refuse terms under which no guarantee holds."""
        if self.mechanism not in ("none", "site-noise"):
            raise ProtocolError(
                f"privacy mechanism {self.mechanism!r} is unknown to this release",
                advice="use 'site-noise', or 'none' for public or synthetic cohorts",
            )
        positive(clipping_norm=self.clipping_norm, sample_rate=self.sample_rate, delta=self.delta)
        positive(reference_patients=self.reference_patients)
        in_range(0, 1, sample_rate=self.sample_rate)
        in_range(0, 0.1, delta=self.delta)
        if self.mechanism == "site-noise":
            positive(noise_multiplier=self.noise_multiplier)
        elif self.noise_multiplier:
            raise ProtocolError("noise_multiplier is set although the mechanism is 'none'")
