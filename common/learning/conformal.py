"""Prediction sets that hold the truth with a declared frequency, from a noised table of held-out patients.

A score says how badly an outcome conforms to a prediction: 1 - p of a class, or a distance between numbers. The
threshold is the score that a declared share of calibration patients does not exceed; a set holds every outcome up to
it. If a new patient and the calibration patients are exchangeable, the set misses the truth in at most 1 - coverage of
the cases, whatever the model. The promise is about patients on average: not for a group of them, not for a hospital
whose patients differ, and not given a prediction.

Predictions are put into the public bins of the table first, and the score is that of the bin, for calibration patients
and new ones alike: the table of a private evaluation then says all that is needed, and no further release is charged.
Coarse bins widen sets, they never break the promise.

Only noised counts are known. Thresholds are tried from the highest down, and one is taken while the noise allows it:
the exact table satisfies

    (above + 1) / (patients + 1) <= 1 - coverage

with the given confidence, because only one hypothesis can be the first false one (fixed-sequence testing). With
`confidence` .9, in at most 10 of 100 draws of the noise the set is smaller than it would be without privacy.

Sources: Vovk, Gammerman and Shafer (2005), "Algorithmic Learning in a Random World"; Sadinle, Lei and Wasserman (2019)
for the score 1 - p; Lu et al. (2023), "Federated conformal predictors for distributed uncertainty quantification";
Angelopoulos et al. (2022), "Private prediction sets"; Angelopoulos et al. (2021), "Learn then test", for the sequence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from wardround.common.checks import in_range
from wardround.common.errors import UsageError
from wardround.common.learning import enough
from wardround.common.learning.histograms import Bins
from wardround.common.learning.noisytables import NoisedTable

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]

COVERAGE: Final = 0.9
CONFIDENCE: Final = 0.9
"""Of the correction for noise: how sure it is that privacy alone made no set too small."""
_ROUNDING: Final = 1e-9

DISTANCES: Final = Bins(
    edges=tuple(number / 8 for number in range(1, 32)),
    low=0.0,
    high=4.0,
    source="eighths of the outcome's public standard deviation",
)
"""Public bins of the distance of a number from its prediction, in public standard deviations; the last has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTable:
    """Noised counts, and how badly the patients of each cell conform.

    Attributes:
        table: Cells of any shape.
        scores: The score of each cell, the same shape; infinite where nothing bounds it.
    """

    table: NoisedTable
    scores: Numbers = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse scores that are not one per cell."""
        if self.scores.shape != self.table.cells.shape or np.isnan(self.scores).any():
            raise UsageError(
                f"expected one score for each of {self.table.cells.shape} cells, found {self.scores.shape}"
            )


def of_forecasts(table: NoisedTable, bins: Bins) -> ScoredTable:
    """The scores of what happened, from a yes-or-no table of shape (bins, 2); see `forecast_scores`."""
    return ScoredTable(table=table, scores=np.stack([bins.middles, 1 - bins.middles], axis=1))


def of_classes(table: NoisedTable, bins: Sequence[Bins]) -> ScoredTable:
    """The scores of the true classes, from one yes-or-no table for each class: shape (classes, bins, 2).

    Every patient is in the second column of exactly one class, the true one.
    """
    true = NoisedTable(cells=table.cells[:, :, 1], deviation=table.deviation)
    return ScoredTable(table=true, scores=1 - np.stack([own.middles for own in bins]))


def of_distances(table: NoisedTable, bins: Bins) -> ScoredTable:
    """A histogram of distances, shape (bins,): each the end of its bin, and the last bin has none."""
    return ScoredTable(table=table, scores=np.append(bins.ends[1:-1], math.inf))


def forecast_scores(probability: Numbers, bins: Bins) -> Numbers:
    """The score of "no" and of "yes" for each probability: shape (n, 2).

    Example:
        >>> from wardround.common.learning.histograms import PROBABILITY
        >>> forecast_scores(np.array([0.6]), PROBABILITY).tolist()
        [[0.6, 0.4]]
    """
    middle = bins.middles[bins.place(probability)]
    return np.stack([middle, 1 - middle], axis=1)


def class_scores(probabilities: Numbers, bins: Sequence[Bins]) -> Numbers:
    """The score of each class for each patient, from probabilities of shape (n, classes): the same shape."""
    classes = zip(probabilities.T, bins, strict=True)
    return 1 - np.stack([own.middles[own.place(column)] for column, own in classes], axis=1)


def threshold(scored: ScoredTable, *, coverage: float = COVERAGE, confidence: float = CONFIDENCE) -> float:
    """The highest score that a set of this coverage admits.

    Args:
        scored: The calibration patients.
        coverage: Share of patients whose set must hold the truth, in [.5, .995].
        confidence: Of the correction for noise, in [.5, .9999].

    Returns:
        A score; infinite where the patients are too few for the coverage and the noise, so that a set holds everything.

    Guarantees:
        With at least `confidence` over the noise, the result is no lower than the split-conformal threshold of the
        exact table, which covers at least `coverage` of exchangeable patients on average.

    Example:
        >>> cells, scores = np.full(10, 100.0), np.arange(10) / 10
        >>> table = NoisedTable(cells=cells, deviation=0.01)
        >>> threshold(ScoredTable(table=table, scores=scores), coverage=0.75)
        0.7
    """
    in_range(0.5, 0.995, coverage=coverage)
    in_range(0.5, 0.9999, confidence=confidence)
    cells, scores = scored.table.cells.ravel(), scored.scores.ravel()
    found, share = math.inf, 1 - coverage
    for candidate in np.unique(scores.round(9))[::-1]:
        above = scores > candidate + _ROUNDING
        # Linear in the cells: (1 - share) * (above + 1) - share * (others) <= 0.
        weights = np.where(above, 1 - share, -share)
        noise = scored.table.deviation * float(np.linalg.norm(weights))
        if weights @ cells + (1 - share) + float(ndtri(confidence)) * noise > 0:
            break
        found = float(candidate)
    return found


def admitted(scores: Numbers, limit: float) -> Flags:
    """Which outcomes a set holds: those whose score is at most the threshold."""
    return np.asarray(scores <= limit + _ROUNDING)


Verdict = Literal["as declared", "below", "above", "too few patients to tell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageFound:
    """How often sets held the truth among patients whose outcome is known. Exact, therefore private to a hospital.

    Attributes:
        covered: Sets that held it.
        patients: All sets.
        declared: The coverage that was asked for.
        low, high: The 95% interval of the share (Clopper and Pearson 1934).
    """

    covered: int
    patients: int
    declared: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """`below` where even the upper end misses the declared coverage: these patients are unlike the calibration."""
        if self.patients < FEWEST:
            return "too few patients to tell"
        if self.high < self.declared:
            return "below"
        return "above" if self.low > self.declared else "as declared"


FEWEST: Final = 2 * enough.FEWEST


def coverage_found(held: Flags, declared: float) -> CoverageFound:
    """The share of sets that held the truth, with an exact interval.

    Args:
        held: One per patient.
        declared: The coverage that was asked for.

    Example:
        >>> found = coverage_found(np.array([True] * 150 + [False] * 50), 0.9)
        >>> found.verdict, round(found.low, 3), round(found.high, 3)
        ('below', 0.684, 0.808)
    """
    n, k = len(held), int(held.sum())
    return CoverageFound(
        covered=k,
        patients=n,
        declared=declared,
        low=float(betaincinv(k, n - k + 1, 0.025)) if k else 0.0,
        high=float(betaincinv(k + 1, n - k, 0.975)) if k < n else 1.0,
    )
