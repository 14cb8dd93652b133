"""Which inputs carry a released model's prediction, from the model and public constants alone: no privacy is spent.

The variance of the model's score over imagined patients (`reference`) is divided among the inputs by Shapley effects
(Owen 2014; Song, Nelson and Staum 2016). Inputs are drawn independently, so for a linear model without scaling of rows
the share of an input is exactly the variance of its own term. Otherwise it is estimated: from one imagined patient to
another inputs are exchanged one by one in random order, and the change of the score at each is multiplied by the whole
change; half the mean of that is the input's Shapley effect. Shares add up to 1.

It explains the model, not nature: an input may matter to patients and not to the model, and the reverse.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning.parameters import parameters_digest
from wardround.common.learning.predictions import scorer
from wardround.common.learning.reference import ASSUMPTIONS, ReferenceFeature, reference_features
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, ContinuousOutcome, SurvivalOutcome

Numbers = NDArray[np.float64]

WALKS: Final = 64
WALKERS: Final = 64
"""Pairs of imagined patients in each walk; one order of exchange per walk."""

_EXACT: Final = (
    "Share of the variance of the score over imagined patients (Shapley effect), exact because the model is "
    "linear."
)
_ESTIMATED: Final = (
    "Share of the variance of the score over imagined patients (Shapley effect), estimated from {pairs} pairs of them; "
    "`error` is its standard error."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureShare:
    """One input.

    Attributes:
        name, modality: Of the feature.
        share: Of the score's variance, 0 to 1 up to `error`.
        error: Standard error of the share; 0 where it is exact.
        direction: What higher values do, in words; empty where there is no one direction.
    """

    name: str
    modality: str
    share: float
    error: float
    direction: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityShare:
    """The inputs of one modality together."""

    modality: str
    features: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Largest share first; `variance` is that of the score over imagined patients."""

    variance: float
    method: str
    assumptions: tuple[str, ...]
    features: tuple[FeatureShare, ...]
    modalities: tuple[ModalityShare, ...]

    def as_json(self) -> dict[str, Any]:
        """The JSON value."""
        return asdict(self)


def explain(model: ReleasedModel, *, walks: int = WALKS) -> Explanation:
    """Divide the variance of a model's score among its inputs.

    Args:
        model: The released model; chance is drawn from its digest, so that everybody gets the same numbers.
        walks: How many orders of exchange, where the shares are estimated; >= 2.

    Example: see `tests/common/test_explaining.py`, which has models whose shares are known.
    """
    features = reference_features(model.path)
    linear = model.protocol.model.kind == "linear" and model.path.inputs.norm == "none"
    effects, errors, slopes = _exact(model, features) if linear else _walked(model, features, walks)
    total = float(effects.sum())
    scale = total if total > 0 else 1.0
    rows = [
        FeatureShare(
            name=feature.name,
            modality=feature.modality,
            share=float(effect / scale),
            error=float(error / scale),
            direction=_direction(model, feature, float(slope)),
        )
        for feature, effect, error, slope in zip(features, effects, errors, slopes, strict=True)
    ]
    return Explanation(
        variance=total,
        method=_EXACT if linear else _ESTIMATED.format(pairs=walks * WALKERS),
        assumptions=ASSUMPTIONS,
        features=tuple(sorted(rows, key=lambda row: -row.share)),
        modalities=tuple(_modalities(rows)),
    )


def _modalities(rows: list[FeatureShare]) -> Iterator[ModalityShare]:
    for name in dict.fromkeys(row.modality for row in rows):
        own = [row.share for row in rows if row.modality == name]
        yield ModalityShare(modality=name, features=len(own), share=sum(own))


def _scorer(model: ReleasedModel) -> Callable[[Numbers], Numbers]:
    """What the model gives for columns of the feature path."""
    scored = scorer(model.protocol, model.parameters, model.path.width)
    return lambda columns: scored(model.path.combined(columns.astype(np.float32)))


def _exact(model: ReleasedModel, features: tuple[ReferenceFeature, ...]) -> tuple[Numbers, Numbers, Numbers]:
    """Effects, errors and slopes of a model that adds up its columns."""
    unit = np.concatenate([np.zeros((1, len(model.path.columns))), np.eye(len(model.path.columns))])
    found = _scorer(model)(unit)
    weights = found[1:] - found[0]
    effects, slopes = [], []
    for feature in features:
        terms = feature.values @ weights[feature.columns]
        terms -= feature.weights @ terms
        effects.append(float(feature.weights @ np.square(terms).sum(axis=1)))
        slopes.append(float(weights[feature.columns[0], 0]))
    return np.array(effects), np.zeros(len(features)), np.array(slopes)


def _walked(
    model: ReleasedModel, features: tuple[ReferenceFeature, ...], walks: int
) -> tuple[Numbers, Numbers, Numbers]:
    """The same for any model, by exchanging the inputs of one imagined patient for another's one by one."""
    seed = int(parameters_digest(model.parameters), 16)
    rng = np.random.Generator(np.random.PCG64(seed))
    found = np.zeros((walks, len(features)))
    slopes = np.zeros(len(features))
    score = _scorer(model)
    for walk in range(walks):
        start, end = (_patients(model, features, rng) for _ in range(2))
        at, before = start.copy(), score(start)
        whole = score(end) - before
        for place in rng.permutation(len(features)):
            columns = features[place].columns
            at[:, columns] = end[:, columns]
            after = score(at)
            found[walk, place] = 0.5 * np.mean(((after - before) * whole).sum(axis=1))
            moved = end[:, columns[0]] - start[:, columns[0]]
            slopes[place] += float(np.sum(moved * (after - before)[:, 0]))
            before = after
    return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(walks), slopes


def _patients(
    model: ReleasedModel, features: tuple[ReferenceFeature, ...], rng: np.random.Generator
) -> Numbers:
    columns = np.zeros((WALKERS, len(model.path.columns)))
    for feature in features:
        columns[:, feature.columns] = feature.draw(WALKERS, rng)
    return columns


def _direction(model: ReleasedModel, feature: ReferenceFeature, slope: float) -> str:
    if not feature.ordered or slope == 0:
        return ""
    match model.protocol.outcome:
        case BinaryOutcome(positive=positive):
            return f"{'more' if slope > 0 else 'less'} likely {positive[0]}"
        case SurvivalOutcome():
            return "worse prognosis" if slope > 0 else "better prognosis"
        case ContinuousOutcome(column=column):
            return f"{'higher' if slope > 0 else 'lower'} {column}"
        case ClassOutcome():
            return ""
