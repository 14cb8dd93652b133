"""Exact Newton steps of stratified Cox against lifelines and scikit-survival."""

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from numpy.typing import NDArray
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.util import Surv

from wardround.common.errors import StudyError, UsageError
from wardround.common.learning.cox import newton_step, stratified_newton_terms

Numbers = NDArray[np.float64]
Site = tuple[Numbers, Numbers, NDArray[np.bool_]]


def site(n: int, seed: int, scale: float = 5.0) -> Site:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    time = rng.exponential(scale * np.exp(-x @ np.array([0.8, -0.5, 0.0, 0.2])))
    return x, time + 0.01, rng.random(n) < 0.6


def fit(sites: list[Site], ridge: float, rounds: int = 10) -> Numbers:
    beta = np.zeros(4)
    for _ in range(rounds):
        beta = newton_step(beta, [stratified_newton_terms(beta, *one) for one in sites], ridge=ridge)
    return beta


def test_the_fit_of_several_sites_is_the_stratified_cox_model() -> None:
    sites = [site(60, 1), site(90, 2, scale=50.0), site(40, 3, scale=1.0)]
    frame = pd.concat(
        [
            pd.DataFrame(x, columns=list("abcd")).assign(t=time, e=event, site=number)
            for number, (x, time, event) in enumerate(sites)
        ]
    )
    expected = CoxPHFitter().fit(frame, "t", "e", strata=["site"], fit_options={"precision": 1e-10})
    beta = fit(sites, ridge=0.0)
    assert np.allclose(beta, expected.params_.to_numpy(), atol=1e-6)
    loglik = sum(stratified_newton_terms(beta, *one).loglik for one in sites)
    assert loglik == pytest.approx(expected.log_likelihood_, abs=1e-6)


def test_a_ridge_fit_with_tied_times_is_that_of_scikit_survival() -> None:
    x, time, event = site(150, 4)
    time = np.ceil(time)
    expected = CoxPHSurvivalAnalysis(alpha=3.0, ties="breslow", tol=1e-12).fit(
        x, Surv.from_arrays(event, time)
    )
    assert np.allclose(fit([(x, time, event)], ridge=3.0), expected.coef_, atol=1e-6)


def test_gradient_and_hessian_are_the_derivatives_of_the_log_likelihood() -> None:
    x, time, event = site(50, 5)
    time = np.ceil(time)
    beta, step = np.array([0.3, -0.2, 0.1, 0.0]), 1e-5
    terms = stratified_newton_terms(beta, x, time, event)
    for place in range(4):
        shift = step * np.eye(4)[place]
        ahead = stratified_newton_terms(beta + shift, x, time, event)
        behind = stratified_newton_terms(beta - shift, x, time, event)
        assert terms.gradient[place] == pytest.approx((ahead.loglik - behind.loglik) / (2 * step), abs=1e-6)
        assert np.allclose(terms.hessian[place], (ahead.gradient - behind.gradient) / (2 * step), atol=1e-5)
    assert np.linalg.eigvalsh(terms.hessian).max() <= 0


def test_a_site_without_events_adds_nothing() -> None:
    x, time, _ = site(10, 6)
    terms = stratified_newton_terms(np.ones(4), x, time, np.zeros(10, np.bool_))
    assert not terms.gradient.any()
    assert not terms.hessian.any()
    assert terms.loglik == 0.0


def test_the_order_of_patients_does_not_matter() -> None:
    x, time, event = site(30, 7)
    time = np.ceil(time)
    back = slice(None, None, -1)
    first = stratified_newton_terms(np.ones(4), x, time, event)
    second = stratified_newton_terms(np.ones(4), x[back], time[back], event[back])
    assert np.allclose(first.hessian, second.hessian)
    assert first.loglik == pytest.approx(second.loglik)


def test_a_step_without_sites_or_without_information_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one site"):
        newton_step(np.zeros(4), [], ridge=1.0)
    x, time, _ = site(10, 8)
    nothing = stratified_newton_terms(np.zeros(4), x, time, np.zeros(10, np.bool_))
    with pytest.raises(StudyError, match="undefined"):
        newton_step(np.zeros(4), [nothing], ridge=0.0)
