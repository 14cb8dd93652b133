"""Imagined patients whose truth is known, and public bins, for the tests of private evaluation."""

import numpy as np
from scipy.special import expit

from wardround.common.learning.histograms import Bins, Courses, Forecasts
from wardround.common.learning.tablesurvival import SurvivalBins

RISKS = Bins(edges=(-0.84, -0.25, 0.25, 0.84), low=-2.0, high=2.0, source="s")
TIMES = Bins(edges=(6.0, 12.0, 24.0, 48.0), low=0.0, high=120.0, source="s")
BINS = SurvivalBins(
    risks=RISKS, times=TIMES, survival=np.exp(-np.exp(RISKS.middles)[:, None] * TIMES.ends[1:] / 40)
)


def forecasts(n: int, seed: int = 0, level: float = -0.5) -> Forecasts:
    """Patients of a model that is right: logits N(level, 1.5)."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(level, 1.5, n)
    return Forecasts(expit(odds), (rng.random(n) < expit(odds)).astype(float))


def courses(n: int, seed: int = 0) -> Courses:
    """Proportional hazards with a standard normal risk; follow-up in half months, a third lost."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(0, 1, n)
    dies, lost = rng.exponential(40 * np.exp(-risk)), rng.uniform(6, 120, n)
    return Courses(risk, np.clip(np.ceil(np.minimum(dies, lost) * 2) / 2, 0.5, None), dies <= lost)
