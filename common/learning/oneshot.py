"""A linear model from noisy sufficient statistics: no patients, no rounds, any penalty, at no privacy cost.

Everything here is post-processing of one released sum (`statistics.statistics_sum` plus noise). The noise can make
the Gram matrix indefinite, counts negative and a class disappear, so the matrix is projected onto the positive
semidefinite ones, counts are bounded below, and a ridge of the size of the noise is added.

- Binary and classes: linear discriminant analysis with shrunk covariance; its scores are log-probabilities up to a
  constant, therefore logits.
- Continuous: ridge regression.
- Survival: least squares of the event on person-intervals gives the slope of the hazard; divided by h (1 - h) it
  is that of its logit near the mean hazard h. The baselines follow from noisy counts of patients at risk. This
  assumes that the effect of the inputs is alike in all intervals, as the proportional-hazards head does.

Sources: Wang (2018), "Revisiting differentially private linear regression" (ridge from the noise); Friedman (1989)
for shrunk discriminants; Singer and Willett (1993) for person-interval regression of survival.
"""

import math
from typing import Final

import numpy as np

from wardround.common.checks import not_negative
from wardround.common.errors import StudyError
from wardround.common.learning.firstmodel import FIRST_HAZARD_LOGIT, initial
from wardround.common.learning.parameters import LARGEST, Parameters
from wardround.common.learning.statistics import INTERCEPT, Layout, Numbers, Statistics, target_unit
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, ContinuousOutcome
from wardround.common.study.protocol import StudyProtocol

RIDGE: Final = 0.75
"""The ridge as a share of the largest eigenvalue that noise alone is expected to give; chosen on synthetic data."""

FEWEST: Final = 0.5
"""Patients that a count is at least taken for: noise can make it negative."""

LARGEST_COUNT: Final = 1e12
"""More patients than there are people; a larger sum is an error, and its squares could overflow."""

RAREST_HAZARD: Final = 1e-3
"""Smallest hazard of an interval, and one minus the largest: keeps logits finite where nobody had an event."""

_NEGLIGIBLE: Final = 1e-12  # eigenvalues below this share of the largest one are rounding


def noise_ridge(protocol: StudyProtocol, n_inputs: int, noise_sd: float) -> float:
    """A ridge for `solve` from the public noise level: RIDGE times the expected largest eigenvalue of the noise.

    A symmetric p x p matrix whose off-diagonal entries have standard deviation t has, for large p, a largest
    eigenvalue of 2 t sqrt(p) (Wigner).

    Args:
        protocol: The study.
        n_inputs: Width of the feature path.
        noise_sd: Standard deviation of the noise in each coordinate of the whole sum, over all sites, >= 0.

    Returns:
        >= 0, in patients: the Gram matrix of n patients with unit rows has trace n.

    Raises:
        StudyError: As `statistics.size`.
    """
    not_negative(noise_sd=noise_sd)
    return RIDGE * math.sqrt(2 * n_inputs) * noise_sd / Layout.of(protocol, n_inputs).unit


def solve(protocol: StudyProtocol, noisy_sum: Numbers, n_inputs: int, *, ridge: float) -> Parameters:
    """The linear model that the statistics determine.

    Without noise, clipping and ridge this is exactly LDA or least squares over patients, where each of a patient's
    rows has weight 1 / rows. Sites without patients, and a class that nobody has, give finite models too.

    Args:
        protocol: The study.
        noisy_sum: Shape (size,): the sum over all sites, in the units of `statistics_sum`.
        n_inputs: Width of the feature path.
        ridge: Added to the scatter of the scaled inputs, in patients, >= 0; see `noise_ridge`.

    Returns:
        Names, order and shapes of `models.initial`; every |value| <= LARGEST.

    Raises:
        StudyError: As `statistics.size`, or the sum has another length or is not finite.
    """
    layout = Layout.of(protocol, n_inputs)
    not_negative(ridge=ridge)
    _check_sum(noisy_sum, layout)
    sums = layout.split(noisy_sum)
    sums = sums._replace(gram=_semidefinite(sums.gram))
    match protocol.outcome:
        case BinaryOutcome():
            weight, bias = _discriminant(sums, target_unit(protocol.outcome), ridge)
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        case ClassOutcome():
            weight, bias = _discriminant(sums, target_unit(protocol.outcome), ridge)
        case ContinuousOutcome():
            weight, bias = _regression(sums, target_unit(protocol.outcome), ridge)
        case _:
            weight, bias = _hazards(sums, ridge)
    return _ordinary(initial(protocol, n_inputs), weight / layout.length, bias)


def _discriminant(sums: Statistics, unit: float, ridge: float) -> tuple[Numbers, Numbers]:
    """Slopes (m, p) and intercepts (m,) of LDA: log prior plus the log density of a common normal law."""
    patients, mean, scatter = _centred(sums.gram)
    cross = (
        unit * (sums.cross - sums.cross.mean(axis=1, keepdims=True)).T
    )  # noise is not centred over classes
    excess = cross[:, -1] / INTERCEPT  # of each class over an equal share
    counts = np.maximum(excess + patients / len(cross), FEWEST)
    divisor = np.maximum(counts, ridge / 2)  # a class smaller than its noise keeps near the mean
    away = (cross[:, :-1] - np.outer(excess, mean)) / divisor[:, None]
    within = scatter - (away.T * counts) @ away
    slopes = patients * _ridge_solved(within, away.T, ridge).T
    middle = np.einsum("kp,kp->k", slopes, away / 2 + mean)
    return slopes, np.log(counts / counts.sum()) - middle


def _regression(sums: Statistics, unit: float, ridge: float) -> tuple[Numbers, Numbers]:
    """Slopes (1, p) and intercept (1,) of ridge regression; the intercept is not shrunk."""
    patients, mean, scatter = _centred(sums.gram)
    cross = unit * sums.cross[:, 0]
    average = cross[-1] / INTERCEPT / patients
    slopes = _ridge_solved(scatter, cross[:-1] - mean * patients * average, ridge)
    return slopes[None, :], np.array([average - mean @ slopes])


def _hazards(sums: Statistics, ridge: float) -> tuple[Numbers, Numbers]:
    """Risk slopes (1, p) and baseline logits (J,) of the proportional-hazards head."""
    died, left = np.split(sums.exits, 2)
    at_risk = np.maximum(np.cumsum((died + left)[::-1])[::-1], 0.0)
    first = 1 / (1 + math.exp(-FIRST_HAZARD_LOGIT))
    overall = _hazard(died.sum() / at_risk.sum()) if at_risk.sum() >= 1 else first
    slopes, _ = _regression(sums, 1.0, ridge)  # of J hazards
    slopes /= len(died) * overall * (1 - overall)
    prior = ridge + _NEGLIGIBLE  # patients at the overall hazard, where noise or nobody is at risk
    hazards = _hazard((np.maximum(died, 0.0) + prior * overall) / (at_risk + prior))
    return slopes, np.log(hazards / (1 - hazards)) - slopes[0] @ _centred(sums.gram)[1]


def _hazard(value: Numbers) -> Numbers:
    return np.clip(value, RAREST_HAZARD, 1 - RAREST_HAZARD)


def _centred(gram: Numbers) -> tuple[float, Numbers, Numbers]:
    """The number of patients (at least FEWEST), the mean of z (p,), and the scatter around it (p, p)."""
    patients = max(float(gram[-1, -1]) / INTERCEPT**2, FEWEST)
    mean = gram[:-1, -1] / INTERCEPT / patients
    return patients, mean, gram[:-1, :-1] - patients * np.outer(mean, mean)


def _semidefinite(matrix: Numbers) -> Numbers:
    """The nearest symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    nearest: Numbers = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return nearest


def _ridge_solved(matrix: Numbers, right: Numbers, ridge: float) -> Numbers:
    """(matrix + ridge I)^-1 right, with negative eigenvalues as 0; of least norm where that is singular."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    values = np.maximum(values, 0.0) + ridge
    usable = values > _NEGLIGIBLE * max(values.max(), FEWEST)
    inverse = np.where(usable, 1 / np.where(usable, values, 1.0), 0.0)
    solved: Numbers = (vectors * inverse) @ (vectors.T @ right)
    return solved


def _ordinary(like: Parameters, weight: Numbers, bias: Numbers) -> Parameters:
    """The values under the model's names, all scaled down together where one exceeds LARGEST."""
    names = list(like)
    largest = max(np.abs(weight).max(), np.abs(bias).max())
    scale = LARGEST / max(LARGEST, largest)
    return {
        name: (scale * value).astype(np.float32) for name, value in zip(names, (weight, bias), strict=True)
    }


def _check_sum(noisy_sum: Numbers, layout: Layout) -> None:
    if noisy_sum.shape != (layout.size,):
        raise StudyError(f"expected a sum of {layout.size} statistics, found shape {noisy_sum.shape}")
    if not np.all(np.abs(noisy_sum) <= LARGEST_COUNT * layout.unit):  # NaN fails
        raise StudyError(
            "expected finite one-shot statistics of a possible number of patients",
            advice="undo the fixed-point grid before solving",
        )
