"""Epsilon once more, by other people's code: Google's dp-accounting, and nothing of `common.privacy.accounting`.

Full-batch Gaussian releases have a closed form (Balle and Wang 2018): together they are one Gaussian mechanism with
mu = sqrt(sum of 1 / z^2). Every list of releases also goes through privacy loss distributions (Doroshenko et al.
2022). Where both are there they must agree, or nothing is stated.

Equal releases are counted first: composing them one by one takes a minute, composing groups less than a second.
Joint noise is the Gaussian that a coalition leaves; what the integer noise costs beyond that is below 1e-9 and is not
counted here (`common.privacy.excess`).

Assumes that the events describe what was released: that noise was added is the word of the site.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps, NonPrivate

Relation = Literal["add-or-remove", "replace-one"]
Groups = tuple[tuple[float, float, int], ...]  # (noise multiplier, sample rate, steps), each pair once

BELOW: Final = 1e-5
"""A claim may lie below the recomputed epsilon by rounding only."""

ABOVE: Final = 0.02
"""A claim further above is not the claim of these releases."""

_HOPELESS: Final = 40.0
"""mu above which epsilon passes 800: no loss distribution is computed, which would take gigabytes."""

_MOST_SAMPLED: Final = 1_000_000
"""Releases of sampled batches beyond which a hostile file could keep an auditor waiting for ever."""

_AGREE: Final = 1e-2  # closed form and privacy loss distribution, relative or absolute
_INTERVALS: Final = ((1e-2, 100.0), (1e-3, 20.0), (1e-4, 0.0))  # grid, and the epsilon up to which to refine


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """Epsilon of some releases at one delta.

    Attributes:
        pld: By privacy loss distributions, from above.
        closed: The closed form; None where a release is sampled.
    """

    pld: float
    closed: float | None

    @property
    def epsilon(self) -> float:
        """The exact value where there is one, else the numerical one."""
        return self.pld if self.closed is None else self.closed


def recompute(
    events: Iterable[DpEvent], delta: float, relation: Relation = "add-or-remove", *, left: int | None = None
) -> Recomputed:
    """Epsilon of everything that was released from one patient pool.

    Args:
        events: The releases.
        delta: In (0, 1).
        relation: Neighbouring relation.
        left: Honest sites that the coalition leaves, for joint noise; None for as many as each event counts on.

    Returns:
        Infinity in both fields if a release has no guarantee; 0 for no release.

    Raises:
        UsageError: delta is out of range.
        PrivacyError: The two ways of computing it disagree, there is hardly any noise on sampled batches, or the
            numbers are beyond what can be computed.

    Example:
        >>> found = recompute([GaussianSteps(noise_multiplier=10.0, sample_rate=1.0, steps=30)], 1e-5)
        >>> round(found.epsilon, 4)
        2.2071
    """
    if not 0 < delta < 1:
        raise UsageError(f"expected 0 < delta < 1, found {delta}")
    listed = list(events)
    if any(isinstance(event, NonPrivate) for event in listed):
        return Recomputed(pld=math.inf, closed=math.inf)
    try:
        return _recompute(_grouped(listed, left), float(delta), relation)
    except (ArithmeticError, ValueError, MemoryError):
        raise PrivacyError(
            "the noise or the number of releases is beyond what can be computed",
            advice="treat what was released as not private",
        ) from None


def fits(claimed: float, least: float, most: float) -> bool:
    """Whether a claim is that of releases that cost between `least` and `most`: not below, and not far above.

    >>> fits(2.2071, 2.20703, 2.20703), fits(2.2, 2.20703, 2.20703), fits(2.3, 2.20703, 2.20703)
    (True, False, False)
    """
    return least - BELOW <= claimed <= most + ABOVE


def _grouped(events: list[DpEvent], left: int | None) -> Groups:
    groups = Counter[tuple[float, float]]()
    for event in events:
        match event:
            case GaussianSteps():
                groups[event.noise_multiplier, event.sample_rate] += event.steps
            case JointGaussianSteps():
                shares = event.honest if left is None else left
                noise = event.noise_multiplier * math.sqrt(shares / event.honest)
                groups[noise, 1.0] += event.steps
    return tuple((z, q, steps) for (z, q), steps in sorted(groups.items()))


@lru_cache(maxsize=256)
def _recompute(groups: Groups, delta: float, relation: Relation) -> Recomputed:
    if not groups:
        return Recomputed(pld=0.0, closed=0.0)
    if sum(steps for _, q, steps in groups if q != 1) > _MOST_SAMPLED:
        raise PrivacyError(f"more than {_MOST_SAMPLED} releases of sampled batches are not composed")
    closed = _closed(groups, delta, relation) if all(q == 1 for _, q, _ in groups) else None
    if math.sqrt(math.fsum(steps / z**2 for z, _, steps in groups)) > _HOPELESS:
        return _hopeless(closed)
    pld = _pld(_as_one(groups), delta, relation)
    if closed is not None and not math.isclose(closed, pld, rel_tol=_AGREE, abs_tol=_AGREE):
        raise PrivacyError(
            f"the closed form gives epsilon {closed:.4f} and the privacy loss distribution {pld:.4f}",
            advice="neither can be trusted for these numbers; report them to the authors",
        )
    return Recomputed(pld=pld, closed=closed)


def _hopeless(closed: float | None) -> Recomputed:
    if closed is None:
        raise PrivacyError(
            "so little noise on sampled batches that no epsilon worth stating is left",
            advice="treat what was released as not private",
        )
    return Recomputed(pld=closed, closed=closed)


def _as_one(groups: Groups) -> Groups:
    """All full-batch Gaussians as the one that they are."""
    mu = _mu(groups)
    sampled = tuple(group for group in groups if group[1] != 1)
    return (*sampled, (1 / mu, 1.0, 1)) if mu else sampled


def _mu(groups: Groups) -> float:
    return math.sqrt(math.fsum(steps / z**2 for z, q, steps in groups if q == 1))


def _closed(groups: Groups, delta: float, relation: Relation) -> float:
    from dp_accounting.pld.privacy_loss_mechanism import GaussianPrivacyLoss

    mu = _mu(groups) * (2 if relation == "replace-one" else 1)
    delta_of: Callable[[float], float] = GaussianPrivacyLoss(1 / mu, sensitivity=1).get_delta_for_epsilon
    low, high = 0.0, 1.0
    if delta_of(0.0) <= delta:
        return 0.0
    while delta_of(high) > delta:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if delta_of(middle) <= delta else (middle, high)
    return high


def _pld(groups: Groups, delta: float, relation: Relation) -> float:
    found = math.inf
    for interval, refine_below in _INTERVALS:
        found = _pld_at(groups, delta, relation, interval)
        if found > refine_below:
            break
    return found


def _pld_at(groups: Groups, delta: float, relation: Relation, interval: float) -> float:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    neighbours = dp_accounting.NeighboringRelation
    kinds = {"add-or-remove": neighbours.ADD_OR_REMOVE_ONE, "replace-one": neighbours.REPLACE_ONE}
    accountant = PLDAccountant(kinds[relation], value_discretization_interval=interval)
    for z, q, steps in groups:
        event: Any = dp_accounting.GaussianDpEvent(z)
        accountant.compose(event if q == 1 else dp_accounting.PoissonSampledDpEvent(q, event), steps)
    return float(accountant.get_epsilon(delta))
