"""Imagined patients from a protocol's public constants alone: what a released model is explained on.

Each feature is drawn by itself, as if no two were related: a number from the normal distribution of its public mean and
spread, cut to its plausible range and the clamp; a yes or no with its public mean as prevalence, where that lies
between 0 and 1, else one half; a category with equal chances. Nobody lacks a value or a modality.

No patient's data go in, so nothing that is computed from them costs privacy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from wardround.common.learning.features import FeaturePath
from wardround.common.study.schema import Feature

GRID: Final = 400
"""Equally likely values that stand for a normal distribution."""

ASSUMPTIONS: Final = (
    "Inputs are taken as unrelated to each other. Where they are related, as genes are, the share of one input "
    "cannot be told from that of its relatives.",
    "Numbers vary as the protocol's public mean and spread say, cut to the plausible range; hospitals may differ.",
    "A yes-or-no input without a public prevalence is taken as yes in one half of patients, which overstates rare "
    "ones.",
    "Every category of an input is taken as equally frequent, and no value or modality is missing.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFeature:
    """The values of one feature and how likely each is.

    Attributes:
        name, modality: Of the feature.
        columns: Places of its columns in `FeaturePath.columns`.
        values: Shape (values, columns), standardised.
        weights: Shape (values,), adding up to 1.
        ordered: Whether higher values mean more of something.
    """

    name: str
    modality: str
    columns: NDArray[np.int64]
    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    ordered: bool

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean of its columns."""
        result: NDArray[np.float64] = self.weights @ self.values
        return result

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Independent draws, shape (count, columns)."""
        return self.values[rng.choice(len(self.weights), count, p=self.weights)]


def reference_features(path: FeaturePath) -> tuple[ReferenceFeature, ...]:
    """Every feature of a study, in its order."""
    places: dict[str, list[int]] = {}
    for place, column in enumerate(path.columns):
        places.setdefault(column.feature, []).append(place)
    return tuple(_reference(feature, places[feature.name], path.inputs.clamp) for feature in path.features)


def _reference(feature: Feature, places: list[int], clamp: float) -> ReferenceFeature:
    if feature.kind == "categorical":
        count = len(feature.categories)
        values, weights = np.eye(count), np.full(count, 1 / count)
    elif feature.kind == "binary":
        share = feature.mean if 0 < feature.mean < 1 else 0.5
        values = (np.array([[0.0], [1.0]]) - feature.mean) / feature.sd
        weights = np.array([1 - share, share])
    else:
        values, weights = _normal(feature), np.full(GRID, 1 / GRID)
    extra = len(places) - values.shape[1]  # the indicator of a missing value stays 0
    values = np.clip(np.pad(values, ((0, 0), (0, extra))), -clamp, clamp)
    return ReferenceFeature(
        name=feature.name,
        modality=feature.modality,
        columns=np.array(places, np.int64),
        values=values,
        weights=weights,
        ordered=feature.kind != "categorical",
    )


def _normal(feature: Feature) -> NDArray[np.float64]:
    """Quantiles of a standard normal, cut to the plausible range in standard deviations."""
    ends = np.array([feature.low, feature.high])
    if feature.transform == "log1p":
        ends = np.log1p(ends)
    low, high = (ends - feature.mean) / feature.sd
    quantiles: NDArray[np.float64] = ndtri((np.arange(GRID) + 0.5) / GRID)
    return np.clip(quantiles, low, high)[:, None]
