"""What releases cost: epsilon at a delta, claimed and checked a second time.

The claim is an upper bound, rounded up. At q = 1 it is the closed form of one Gaussian mechanism; for q < 1 it
is Opacus' PRV accountant (its upper bound), or Opacus' RDP accountant where PRV gives no finite number. The
second opinion is dp-accounting's PLD accountant: other code, other method. Opacus' `gdp` accountant reports too
little for q < 1 and is not used.

Relations: `add-or-remove` one patient, or `replace-one` patient by another. At q = 1 replacing doubles mu.

Releases with joint noise have two accounts: against everybody outside h honest sites (`tolerated`), and against all
the others together (`everyone-else`), where only the site's own share counts. Other releases cost the same in both.

Sources: Dong, Roth and Su (2022), "Gaussian differential privacy"; Gopi, Lee and Wutschitz (2021), "Numerical
composition of differential privacy"; Mironov, Talwar and Zhang (2019), "Rényi differential privacy of the
sampled Gaussian mechanism"; Doroshenko et al. (2022), "Connect the dots".
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, get_args

from wardround.common.checks import one_of
from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps, NonPrivate
from wardround.common.privacy.excess import Excess

Relation = Literal["add-or-remove", "replace-one"]
Against = Literal["tolerated", "everyone-else"]

DECIMALS: Final = 4
"""Claims are rounded up to this many decimals."""

_PRV_LARGEST: Final = 50.0  # above, PRV takes minutes or gives infinity, and no such epsilon protects anybody
_PRV_MECHANISMS: Final = 12  # PRV takes a quarter of a second per distinct (z, q)
_ORDERS: Final = (
    *(1 + x / 20 for x in range(1, 40)),
    *(3 + x / 2 for x in range(15)),
    *range(11, 64),
    *(64, 80, 96, 128, 160, 192, 256, 384, 512),
)
_INTERVALS: Final = (
    (1e-2, 1000.0),
    (1e-3, 100.0),
    (1e-4, 0.0),
)  # PLD grid, and the epsilon up to which to refine

_Groups = tuple[
    tuple[float, float, int], ...
]  # (noise multiplier, sample rate, steps), sorted, each pair once


def epsilon(
    events: Iterable[DpEvent],
    delta: float,
    relation: Relation = "add-or-remove",
    against: Against = "tolerated",
) -> float:
    """The claim: every patient's (epsilon, delta) guarantee against somebody who sees all these releases.

    Guarantees:
        Never below the true epsilon of the mechanisms, up to float64 rounding of the accountant; rounded up at
        `DECIMALS` decimals. Anything without a guarantee gives infinity.

    Args:
        events: All releases of one patient pool.
        delta: In (0, 1).
        relation: Neighbouring relation.
        against: Who is curious together: a coalition that leaves as many sites honest as each event with joint
            noise says, or everyone else. The other events cost the same in both.

    Returns:
        Epsilon >= 0; infinity if any event is `NonPrivate`.

    Raises:
        UsageError: delta, the relation or `against` is out of range.
        PrivacyError: q < 1, and Opacus is not installed here.

    Example:
        >>> from wardround.common.privacy.events import GaussianSteps
        >>> epsilon([GaussianSteps(noise_multiplier=10.0, sample_rate=1.0, steps=30)], 1e-5)
        2.2071
    """
    listed = _checked(events, delta, relation, against)
    if any(isinstance(event, NonPrivate) for event in listed):
        return math.inf
    excess = _excess(listed)
    cost = _claim(_grouped(listed), excess.gaussian_delta(float(delta)), relation)
    return _up(excess.claim(cost, float(delta)))


def second_opinion(
    events: Iterable[DpEvent],
    delta: float,
    relation: Relation = "add-or-remove",
    against: Against = "tolerated",
) -> float:
    """Epsilon by dp-accounting's privacy loss distributions, unrounded; independent of `epsilon`.

    Args and raises as in `epsilon`. Joint noise counts as the Gaussian that it amounts to, without its excess.

    Returns:
        An upper bound within about 1e-4 of the true epsilon (looser above 100).
    """
    listed = _checked(events, delta, relation, against)
    if any(isinstance(event, NonPrivate) for event in listed):
        return math.inf
    return _pld(_counted(listed), float(delta), relation)


def _checked(events: Iterable[DpEvent], delta: float, relation: str, against: str) -> list[DpEvent]:
    one_of(get_args(Relation), relation=relation)
    one_of(get_args(Against), against=against)
    if not 0 < delta < 1:
        raise UsageError(f"expected 0 < delta < 1, found {delta}")
    alone = against == "everyone-else"
    return [e.with_honest(1) if alone and isinstance(e, JointGaussianSteps) else e for e in events]


def _excess(events: list[DpEvent]) -> Excess:
    joint = [event for event in events if isinstance(event, JointGaussianSteps)]
    return Excess(
        values=sum(e.coordinates * e.steps for e in joint),
        draws=sum(2 * e.honest * e.coordinates * e.steps for e in joint),
    )


def _counted(events: list[DpEvent]) -> _Groups:
    """Equal mechanisms together, joint noise as the full-batch Gaussian that it amounts to."""
    groups = Counter[tuple[float, float]]()
    for event in events:
        match event:
            case GaussianSteps():
                groups[event.noise_multiplier, event.sample_rate] += event.steps
            case JointGaussianSteps():
                groups[event.noise_multiplier, 1.0] += event.steps
            case NonPrivate():
                raise PrivacyError("a release without a guarantee cannot be grouped")
    return tuple((z, q, steps) for (z, q), steps in sorted(groups.items()))


def _grouped(events: list[DpEvent]) -> _Groups:
    """As `_counted`, and all full-batch Gaussians as the one Gaussian that they are, last."""
    groups = _counted(events)
    squares = [steps / z**2 for z, q, steps in groups if q == 1]
    sampled = tuple(group for group in groups if group[1] != 1)
    return (*sampled, (1 / math.sqrt(math.fsum(squares)), 1.0, 1)) if squares else sampled


@lru_cache(maxsize=1024)
def _claim(groups: _Groups, delta: float, relation: Relation) -> float:
    if not groups:
        return 0.0
    z, q, _ = groups[0]
    if q == 1:
        return gaussian_epsilon((2 if relation == "replace-one" else 1) / z, delta)
    if relation == "replace-one":
        return _pld(groups, delta, relation)
    return _sampled(groups, delta)


def _up(value: float) -> float:
    """Round up at `DECIMALS` decimals, also where the decimal itself is not a float."""
    if not math.isfinite(value):
        return math.inf
    units = math.ceil(value * 10**DECIMALS)
    return (units if units / 10**DECIMALS >= value else units + 1) / 10**DECIMALS


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon of one Gaussian mechanism with sensitivity mu in units of its noise, from above.

    delta(epsilon) = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu), solved by bisection.

    Example:
        >>> round(gaussian_epsilon(0.2681, 1e-5), 3)
        1.0
    """
    low, high = 0.0, mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))  # high: the zCDP bound
    if _log_delta(0.0, mu) <= math.log(delta):
        return 0.0
    while high - low > 1e-9 * max(1.0, high):
        middle = (low + high) / 2
        if _log_delta(middle, mu) <= math.log(delta):
            high = middle
        else:
            low = middle
    return high


def _log_delta(epsilon: float, mu: float) -> float:
    from scipy.special import log_ndtr  # imported on use: a run without privacy needs none of it

    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    return first + math.log(-math.expm1(min(second - first, -1e-300)))


def _sampled(groups: _Groups, delta: float) -> float:
    """Opacus: PRV where it gives a finite number in reasonable time, else RDP. Both are upper bounds."""
    bound = _rdp(groups, delta)
    if bound > _PRV_LARGEST or len(groups) > _PRV_MECHANISMS:
        return bound
    claim = _prv(groups, delta)
    return claim if math.isfinite(claim) and claim > 0 else bound


def _rdp(groups: _Groups, delta: float) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from opacus.accountants.analysis import rdp
        except ImportError:
            raise PrivacyError(
                "the cost of Poisson sampling (q < 1) is computed by Opacus, which is not installed here",
                advice="pip install 'wardround[site]', or compare with second_opinion()",
            ) from None
        costs = [math.fsum(_order_cost(rdp, order, group) for group in groups) for order in _ORDERS]
        spent, _ = rdp.get_privacy_spent(orders=list(_ORDERS), rdp=costs, delta=delta)
    return float(spent)


def _order_cost(rdp: object, order: float, group: tuple[float, float, int]) -> float:
    z, q, steps = group
    try:
        cost = rdp.compute_rdp(q=q, noise_multiplier=z, steps=steps, orders=float(order))  # type: ignore[attr-defined]
    except (ValueError, OverflowError):  # a series that does not converge at this order: no bound from it
        return math.inf
    return float(cost)


def _prv(groups: _Groups, delta: float) -> float:
    """Infinity where the accountant gives up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import PRVAccountant

        accountant = PRVAccountant()
        accountant.history = list(groups)
        try:
            return float(accountant.get_epsilon(delta))
        except (RuntimeError, ValueError, MemoryError):
            return math.inf


@lru_cache(maxsize=256)
def _pld(groups: _Groups, delta: float, relation: Relation) -> float:
    found = math.inf if groups else 0.0
    for interval, refine_below in _INTERVALS if groups else ():
        found = _pld_at(groups, delta, relation, interval)
        if found > refine_below:
            break
    return found


def _pld_at(groups: _Groups, delta: float, relation: Relation, interval: float) -> float:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant

    neighbours = dp_accounting.NeighboringRelation
    kinds = {"add-or-remove": neighbours.ADD_OR_REMOVE_ONE, "replace-one": neighbours.REPLACE_ONE}
    accountant = PLDAccountant(kinds[relation], value_discretization_interval=interval)
    for z, q, steps in groups:
        event = dp_accounting.GaussianDpEvent(z)
        accountant.compose(event if q == 1 else dp_accounting.PoissonSampledDpEvent(q, event), steps)
    return float(accountant.get_epsilon(delta))
