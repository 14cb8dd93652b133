"""The price of privacy: how well the joint model does at each epsilon, beside no privacy and beside every own model.

Made from results files alone. One number per run: the mean over hospitals of the metric on the hospital's own held-out
patients. Each hospital counts the same, because each asks for itself; one where the metric could not be measured in
every run counts in none. Runs are compared on the same patients.

Source: Zou and Donner (2008), "Construction of confidence limits about effect measures: a general approach", for the
interval of a mean of independent estimates from their own intervals.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from wardround.simulations.resultrows import EvaluationRow
from wardround.simulations.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One private run: its mechanism, the epsilon that it claims, and the joint model's metric."""

    mechanism: str
    epsilon: float
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Tradeoff:
    """One study under several mechanisms.

    Attributes:
        study: Its name.
        metric: What is compared.
        points: Private runs, by mechanism and then by epsilon.
        own: Every hospital's own model, trained alone without privacy.
        unprotected: The joint model without privacy.
        honest: (h, K) that the claims of joint noise count on; (0, 0) without joint noise.
    """

    study: str
    metric: str
    points: tuple[Point, ...]
    own: Estimate
    unprotected: Estimate
    honest: tuple[int, int]


def tradeoff(runs: Sequence[Results]) -> Tradeoff | None:
    """What the runs of one study say together; nothing where there is no private run or none without privacy.

    Args:
        runs: Of one study, with the same hospitals and held-out patients.
    """
    open_ = next((run for run in runs if run.mechanism == "none"), None)
    private = [run for run in runs if run.training_private]
    if open_ is None or not private:
        return None
    metric = open_.primary
    sites = _measured([open_, *private], metric)
    if not sites:
        return None
    points = [
        Point(
            mechanism=run.mechanism,
            epsilon=run.largest(),
            estimate=mean(run, _federated, metric, sites),
        )
        for run in private
    ]
    joint = next((run for run in private if run.honest_sites), None)
    return Tradeoff(
        study=open_.study,
        metric=metric,
        points=tuple(sorted(points, key=lambda point: (point.mechanism, point.epsilon))),
        own=mean(open_, _own, metric, sites),
        unprotected=mean(open_, _federated, metric, sites),
        honest=(joint.honest_sites, len(joint.sites)) if joint else (0, 0),
    )


def mean(run: Results, model: Callable[[str], str], metric: str, sites: Sequence[str]) -> Estimate:
    """The mean over hospitals of a metric on their own held-out patients, with its interval.

    Args:
        run: The run.
        model: Hospital -> the name of the model that it would use.
        metric: The metric.
        sites: Hospitals, at least one, where it was measured.
    """
    rows = _rows(run, metric)
    found = [rows[model(site), site] for site in sites]
    value = math.fsum(row.value for row in found) / len(found)
    below = math.hypot(*(row.value - row.low for row in found)) / len(found)
    above = math.hypot(*(row.high - row.value for row in found)) / len(found)
    return Estimate(value=value, low=value - below, high=value + above)


def _federated(_: str) -> str:
    return "federated"


def _own(site: str) -> str:
    return f"local:{site}"


def _rows(run: Results, metric: str) -> Mapping[tuple[str, str], EvaluationRow]:
    return {(row.model, row.on): row for row in run.evaluation if row.metric == metric}


def _measured(runs: Sequence[Results], metric: str) -> tuple[str, ...]:
    """Hospitals where the joint and the own model could be measured in every run."""
    tables = [_rows(run, metric) for run in runs]
    return tuple(
        site
        for site in runs[0].sites
        if all(_whole(rows.get((name, site))) for rows in tables for name in ("federated", _own(site)))
    )


def _whole(row: EvaluationRow | None) -> bool:
    return row is not None and all(map(math.isfinite, (row.value, row.low, row.high)))
