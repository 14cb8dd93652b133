"""DpEvents: what was released, as frozen data. The docstring of each is its mathematics.

The meaning of a class never changes once a ledger holds it; a new mechanism gets a new class. An unknown kind
in a ledger is refused, and anything without a guarantee has infinite epsilon.

Source: `dp_accounting.dp_event` (Google), whose names we keep.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from wardround.common.checks import in_range, positive
from wardround.common.errors import TrustError
from wardround.common.privacy.excess import noise_ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianSteps:
    """`steps` releases of sum over a Poisson(q) sample of clipped rows, plus N(0, (z C)^2 I).

    Each patient is in each step's sample independently with probability `sample_rate` (q), contributes a vector
    of norm at most C, and the noise has standard deviation `noise_multiplier` (z) times C in each coordinate.
    At q = 1 this is exactly one Gaussian mechanism with mu = sqrt(steps) / z (add or remove one patient).
    """

    noise_multiplier: float
    sample_rate: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse numbers for which the mechanism is undefined."""
        positive(noise_multiplier=self.noise_multiplier, sample_rate=self.sample_rate, steps=self.steps)
        in_range(0, 1, sample_rate=self.sample_rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class JointGaussianSteps:
    """`steps` releases of a sum over sites whose noise is carried by any `honest` (h) of them together.

    Site k sends round(S_k / gamma) + Z_k, masked modulo 2^32, and only the sum over the roster is ever opened. S_k is
    the sum over all its patients (q = 1) of vectors of norm at most C, in `coordinates` (d) dimensions; Z_k is one
    share of integer noise for each coordinate (`common.privacy.integernoise`), of variance s^2. The grid
    (`common.privacy.grid`) has sensitivity D = C' / gamma in its steps, and z D <= sqrt(h s^2 - 9), where z is
    `noise_multiplier`. By the theorem of `common.privacy.excess` this costs what `GaussianSteps` with z and q = 1
    costs against everybody who leaves h sites honest, plus the excess stated there, which grows with d.

    A coalition that leaves m honest sites meets m shares: noise multiplier z sqrt(m / h), less about 2^-19 of it.
    For m = 1 it is everybody else together. How many sites take part is not here: it may differ between rounds,
    and no guarantee rests on it.
    """

    noise_multiplier: float
    honest: int
    coordinates: int
    steps: int

    def __post_init__(self) -> None:
        """Refuse numbers for which the mechanism is undefined."""
        positive(noise_multiplier=self.noise_multiplier)
        positive(honest=self.honest, coordinates=self.coordinates, steps=self.steps)

    def with_honest(self, sites: int) -> "JointGaussianSteps":
        """The same releases, seen by somebody who leaves this many sites honest.

        >>> event = JointGaussianSteps(noise_multiplier=6.0, honest=4, coordinates=100, steps=1)
        >>> round(event.with_honest(1).noise_multiplier, 4)
        3.0
        """
        positive(sites=sites)
        noise = self.noise_multiplier * noise_ratio(sites, self.honest)
        return replace(self, noise_multiplier=noise, honest=sites)


@dataclass(frozen=True, slots=True, kw_only=True)
class NonPrivate:
    """A release without any guarantee: epsilon is infinite from here on."""


DpEvent = GaussianSteps | JointGaussianSteps | NonPrivate


def times(event: DpEvent, releases: int) -> list[DpEvent]:
    """`releases` independent releases as one event; none for 0.

    >>> times(GaussianSteps(noise_multiplier=2.0, sample_rate=1.0, steps=3), 4)[0].steps
    12
    """
    if releases == 0:
        return []
    return [event] if isinstance(event, NonPrivate) else [replace(event, steps=event.steps * releases)]


def encode(event: DpEvent) -> dict[str, object]:
    """The ledger form: decimal strings and integers, so that signed bytes never depend on float printing."""
    match event:
        case GaussianSteps():
            return {
                "kind": "gaussian-steps",
                "noise_multiplier": repr(event.noise_multiplier),
                "sample_rate": repr(event.sample_rate),
                "steps": event.steps,
            }
        case JointGaussianSteps():
            return {
                "kind": "joint-gaussian-steps",
                "noise_multiplier": repr(event.noise_multiplier),
                "honest": event.honest,
                "coordinates": event.coordinates,
                "steps": event.steps,
            }
        case NonPrivate():
            return {"kind": "non-private"}


def decode(found: Mapping[str, Any]) -> DpEvent:
    """Read a ledger form back.

    Raises:
        TrustError: The kind is unknown, a field is missing, or one is there that should not be.
    """
    match dict(found):
        case {
            "kind": "gaussian-steps",
            "noise_multiplier": str(z),
            "sample_rate": str(q),
            "steps": int(steps),
            **rest,
        }:
            if not rest and not isinstance(steps, bool):
                return GaussianSteps(noise_multiplier=float(z), sample_rate=float(q), steps=steps)
        case {
            "kind": "joint-gaussian-steps",
            "noise_multiplier": str(z),
            "honest": int(honest),
            "coordinates": int(coordinates),
            "steps": int(steps),
            **rest,
        }:
            if not rest and not any(isinstance(count, bool) for count in (honest, coordinates, steps)):
                return JointGaussianSteps(
                    noise_multiplier=float(z), honest=honest, coordinates=coordinates, steps=steps
                )
        case {"kind": "non-private", **rest}:
            if not rest:
                return NonPrivate()
    raise TrustError(
        f"unknown DpEvent of kind {found.get('kind')!r}",
        advice="a newer release wrote it; without understanding it no epsilon can be stated",
    )
