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
class NonPrivate:
    """A release without any guarantee: epsilon is infinite from here on."""


DpEvent = GaussianSteps | NonPrivate


def times(event: DpEvent, releases: int) -> list[DpEvent]:
    """`releases` independent releases as one event; none for 0.

    >>> times(GaussianSteps(noise_multiplier=2.0, sample_rate=1.0, steps=3), 4)[0].steps
    12
    """
    if releases == 0:
        return []
    return [replace(event, steps=event.steps * releases)] if isinstance(event, GaussianSteps) else [event]


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
        case {"kind": "non-private", **rest}:
            if not rest:
                return NonPrivate()
    raise TrustError(
        f"unknown DpEvent of kind {found.get('kind')!r}",
        advice="a newer release wrote it; without understanding it no epsilon can be stated",
    )
