"""Exact Newton steps of a stratified ridge Cox model from sums of sites. Not private.

Each site is a stratum with its own baseline hazard: its risk sets hold its own patients only, so the
log-likelihood of the consortium is the sum over sites, and so are gradient and Hessian. One round is one Newton
step. The sums are exact functions of patients: for mechanism `none` only.

Sources: Cox (1972); Breslow (1974) for tied times; Therneau and Grambsch (2000), chapter 3, for strata.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import not_negative
from wardround.common.errors import StudyError, UsageError

Numbers = NDArray[np.float64]


class NewtonTerms(NamedTuple):
    """What one site contributes at given coefficients.

    Attributes:
        gradient: Of the log partial likelihood, shape (d,).
        hessian: Of the same, shape (d, d), negative semi-definite.
        loglik: The log partial likelihood, <= 0.
    """

    gradient: Numbers
    hessian: Numbers
    loglik: float


def stratified_newton_terms(
    beta: Numbers, inputs: NDArray[np.floating], time: Numbers, event: NDArray[np.bool_]
) -> NewtonTerms:
    """The terms of one site, ties by Breslow.

    Args:
        beta: Shape (d,), log hazard ratios.
        inputs: Shape (n, d), one row per patient.
        time: Shape (n,), > 0.
        event: Shape (n,), True where observed.

    Example:
        >>> x, time = np.array([[1.0], [0.0]]), np.array([1.0, 2.0])
        >>> terms = stratified_newton_terms(np.zeros(1), x, time, np.array([True, False]))
        >>> terms.gradient.tolist(), terms.hessian.tolist(), round(terms.loglik, 4)
        ([0.5], [[-0.25]], -0.6931)
    """
    order = np.argsort(-time, kind="stable")
    x, time, event = np.asarray(inputs, np.float64)[order], time[order], event[order]
    score = x @ beta
    top = score.max(initial=-np.inf)
    weight = np.exp(score - top)
    last = np.searchsorted(-time, -time, side="right")[event] - 1  # the risk set of t is everybody until here
    total = np.cumsum(weight)[last]
    means = np.cumsum(weight[:, None] * x, axis=0)[last] / total[:, None]
    share = weight * _shares(last, total, len(x))
    return NewtonTerms(
        gradient=(x[event] - means).sum(axis=0),
        hessian=means.T @ means - x.T @ (share[:, None] * x),
        loglik=float((score[event] - top - np.log(total)).sum()),
    )


def _shares(last: NDArray[np.int64], total: Numbers, n: int) -> Numbers:
    """For each patient, the sum of 1 / total over the events whose risk set holds the patient."""
    ends = np.bincount(last, weights=1 / total, minlength=n)
    return np.cumsum(ends[::-1])[::-1].astype(np.float64)


def newton_step(beta: Numbers, sites: Sequence[NewtonTerms], *, ridge: float) -> Numbers:
    """The next coefficients: maximises the summed log-likelihood minus ridge / 2 |beta|^2, to second order.

    Args:
        beta: The coefficients at which the sites computed their terms, shape (d,).
        sites: One entry per site.
        ridge: Penalty, > 0 unless the summed Hessian is regular by itself.

    Raises:
        UsageError: No site, or a negative ridge.
        StudyError: The summed Hessian cannot be inverted.
    """
    not_negative(ridge=ridge)
    if not sites:
        raise UsageError("expected the terms of at least one site, found none")
    gradient = sum(site.gradient for site in sites) - ridge * beta
    information = ridge * np.eye(len(beta)) - sum(site.hessian for site in sites)
    try:
        return np.asarray(beta + np.linalg.solve(information, gradient))
    except np.linalg.LinAlgError as error:
        raise StudyError("the Newton step is undefined", advice="use a ridge penalty above zero") from error
