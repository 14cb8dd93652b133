"""What a model would answer if one value of a patient were another, and everything else stayed.

The value moves over the study's plausible range (a category over all categories). The range of answers says how far the
model leans on that one feature for this patient. It says nothing of what would happen to the patient: nobody knows
whether changing the value would change the outcome, and some settings may belong to no real patient.
"""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.common.learning.features import FeaturePath, Standardised
from wardround.common.study.schema import Feature
from wardround.common.study.terms import InputTerms

Answer = Callable[[NDArray[np.float32]], NDArray[np.float64]]

SETTINGS: Final = 9
"""Values at which a continuous feature is tried over its plausible range."""


class FeatureRange:
    """The standardised columns of one feature at each setting of its plausible range.

    Args:
        path: The study's feature path.
        place: Which of its features.
    """

    def __init__(self, path: FeaturePath, place: int) -> None:
        feature = path.features[place]
        alone = FeaturePath(
            features=(feature,),
            optional_modalities=(),
            inputs=InputTerms(clamp=path.inputs.clamp),
            loadings=None,
        )
        self.columns = [n for n, column in enumerate(path.columns) if column.feature == feature.name]
        self.settings = alone.standardised(pd.DataFrame({feature.name: settings_of(feature)})).values


def settings_of(feature: Feature) -> list[object]:
    """The values at which a feature is tried: its categories, 0 and 1, or steps from its lowest to its highest.

    Example:
        >>> settings_of(Feature(name="sex", kind="binary", source="s"))
        [0, 1]
    """
    if feature.categories:
        return list(feature.categories)
    if feature.kind == "binary":
        return [0, 1]
    return list(np.linspace(feature.low, feature.high, SETTINGS))


def reaches(
    path: FeaturePath, answer: Answer, rows: Standardised, ranges: Sequence[FeatureRange]
) -> list[tuple[float, float]]:
    """Lowest and highest answer for one patient over each range, everything else as it is.

    Args:
        path: The study's feature path.
        answer: The model's answer to each row of inputs.
        rows: All rows of the patient; their answers are averaged.
        ranges: The features that are moved, each alone.
    """
    values = [_set(rows.values, one) for one in ranges]
    present = [np.repeat(rows.present, len(one.settings), axis=0) for one in ranges]
    answers = answer(path.inputs_of(Standardised(np.concatenate(values), np.concatenate(present))))
    parts = np.split(answers, np.cumsum([len(each) for each in values])[:-1])
    means = [part.reshape(len(rows.values), -1).mean(axis=0) for part in parts]
    return [(float(each.min()), float(each.max())) for each in means]


def _set(values: NDArray[np.float32], one: FeatureRange) -> NDArray[np.float32]:
    """Each row once for every setting, with the feature's columns at it."""
    repeated = np.repeat(values, len(one.settings), axis=0)
    repeated[:, one.columns] = np.tile(one.settings, (len(values), 1))
    return repeated
