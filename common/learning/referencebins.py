"""Bins of a score where a released model's answers lie, from the model and public constants alone.

A timid model puts nearly everybody into one or two bins that were fixed before it was trained, a bold one into the
last; sets then hold everything. So edges stand at steps of the log-odds, and between them at quantiles of what the
model says of imagined patients, drawn from the study's public means and standard deviations, each feature on its own.
Real features hang together and spread further, hence the steps. Nothing here was computed from a patient, and whoever
has the model finds the same edges.

For simulations, which may have many bins and read raw features through loadings. A study's own evaluation has the eight
of `tablebins`, which an auditor finds without either.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from wardround.common.learning.data import PatientRows
from wardround.common.learning.histograms import Bins
from wardround.common.learning.predictions import predict, survival_of
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.outcomes import SurvivalOutcome, Targets
from wardround.common.study.schema import Feature

IMAGINED: Final = 4000
NEAREST: Final = 0.1
"""Log-odds between two edges at least."""
_DIGITS: Final = 4
_SEED: Final = 1
SOURCE: Final = (
    "steps of log-odds, and quantiles of the model's answers for patients imagined from public constants"
)


def reference_bins(model: ReleasedModel, steps: tuple[float, ...]) -> Bins:
    """Bins of the probability that a model gives; for survival of the event by the last horizon.

    Args:
        model: Released; not the Cox loss, and not of a number.
        steps: Log-odds at which edges stand, increasing; as many quantiles are put between them.
    """
    shares = (np.arange(len(steps)) + 0.5) / len(steps)
    between = logit(np.clip(np.quantile(_probabilities(model), shares), 1e-3, 1 - 1e-3))
    edges = list(steps)
    for one in between.tolist():
        if min(abs(one - edge) for edge in edges) >= NEAREST:
            edges.append(one)
    inner = expit(np.sort(edges)).round(_DIGITS)
    return Bins(edges=tuple(map(float, inner)), low=0.0, high=1.0, source=SOURCE)


def _probabilities(model: ReleasedModel) -> NDArray[np.float64]:
    inputs = model.path.transform(imagined(model.protocol.features))
    rows = PatientRows(inputs=inputs, patient=np.arange(IMAGINED), targets=Targets(value=np.zeros(IMAGINED)))
    made = predict(model.protocol, model.parameters, rows)
    if isinstance(model.protocol.outcome, SurvivalOutcome):
        curves = survival_of(model.protocol, model.parameters, made)
        return np.zeros(1) if curves is None else 1 - curves[:, -1]
    return made.ravel()


def imagined(features: tuple[Feature, ...]) -> pd.DataFrame:
    """`IMAGINED` patients whose features follow the public constants, each on its own."""
    rng = np.random.default_rng(_SEED)  # of nobody's data: everybody may draw the same
    return pd.DataFrame({feature.name: _column(feature, rng) for feature in features})


def _column(feature: Feature, rng: np.random.Generator) -> NDArray[np.generic]:
    if feature.kind == "continuous":
        values = rng.normal(feature.mean, feature.sd, IMAGINED)
        raw = np.expm1(np.clip(values, 0.0, 50.0)) if feature.transform == "log1p" else values
        return np.asarray(np.clip(raw, feature.low, feature.high))
    if feature.kind == "categorical":
        return np.array(feature.categories, object)[rng.integers(0, len(feature.categories), IMAGINED)]
    spellings = np.array(feature.categories or (0, 1), object)
    one = feature.mean if 0.0 < feature.mean < 1.0 else 0.5
    return spellings[(rng.random(IMAGINED) < one).astype(np.int64)]
