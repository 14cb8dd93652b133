"""How far a released model spreads patients, from the model and public constants alone: imagined patients.

Their model inputs follow what the protocol says of each feature. Features of one assay hang together, and what a model
learned points along that: so continuous inputs share a little of one common factor, in the direction in which the model
pushes. With few inputs that changes nothing; a sum over a thousand genes spreads ten times as far as one of independent
genes would. Inputs made by loadings are taken for independent components of variance 1.

Nothing here was computed from a patient, and whoever has the model finds the same, without torch: `tablebins` puts the
edges of an evaluation where these answers lie. They say where bins are useful, never what patients are like.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri

from wardround.common.learning.parameters import Parameters
from wardround.common.study.outcomes import ClassOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature

Numbers = NDArray[np.float64]

IMAGINED: Final = 1024
_BLOCK: Final = 128
"""Patients at once: bounds the memory of wide panels."""
_SHARED: Final = 0.05
"""Share of an input's variance that the common factor makes: with it, log-odds of real cohorts spread .8 to 2.2 times
as far as those of imagined patients, most of them 1 to 1.7 times; without it, up to 16 times."""
_RARE: Final = 0.1
"""Share of patients with a flag of unknown frequency, as a mutation."""
_NORM_EPSILON: Final = 1e-5  # of torch's LayerNorm


class _Inputs(NamedTuple):
    """What is public of each model input; shapes (width,).

    Attributes:
        low, high: Of a standardised continuous input; an input that is always the same has both there.
        flag: Whether it is one of two values.
        rate: How often it is the higher one.
        shared: Share of the variance that the common factor makes.
        kinds: First input and number of categories of each categorical feature.
    """

    low: Numbers
    high: Numbers
    flag: NDArray[np.bool_]
    rate: Numbers
    shared: Numbers
    kinds: tuple[tuple[int, int], ...]


def imagined_scores(protocol: StudyProtocol, model: Parameters) -> Numbers:
    """What a model says of imagined patients.

    Args:
        protocol: The study.
        model: Of its shapes; what is not finite stays so.

    Returns:
        Shape (n, subjects): the log-odds of the positive outcome or of each class, or the risk score.
    """
    rng = np.random.Generator(np.random.PCG64(0))  # of imagined patients only
    width = next(iter(model.values())).shape[-1]
    described, blocks = _described(protocol, width), range(IMAGINED // _BLOCK)
    with np.errstate(all="ignore"):
        directions = _directions(protocol, model)
        found = [_block(protocol, model, described, directions, rng) for _ in blocks]
    return np.concatenate(found)


def _block(
    protocol: StudyProtocol,
    model: Parameters,
    described: _Inputs,
    directions: Numbers,
    rng: np.random.Generator,
) -> Numbers:
    own, common = _normal(rng, len(described.low)), _normal(rng, 1)
    fixed = np.where(described.flag, own > -ndtri(described.rate), 0.0)
    fixed = described.low + fixed * (described.high - described.low)
    for first, categories in described.kinds:
        chosen = (rng.random(_BLOCK) * categories).astype(np.int64)
        fixed[:, first : first + categories] = np.eye(categories)[chosen]
    drawn = described.flag | (described.low == described.high)
    columns = []
    for subject, direction in enumerate(directions):
        continuous = np.sqrt(1 - described.shared) * own + np.sqrt(described.shared) * direction * common
        inputs = np.where(drawn, fixed, continuous.clip(described.low, described.high))
        columns.append(answers(protocol, model, _prepared(protocol, inputs))[:, subject])
    return np.stack(columns, axis=1)


def _normal(rng: np.random.Generator, width: int) -> Numbers:
    """Normal numbers by inversion: NumPy keeps the stream of its uniform ones, and may change that of normal ones."""
    return np.asarray(ndtri(rng.random((_BLOCK, width)) + np.finfo(np.float64).tiny))


def _prepared(protocol: StudyProtocol, inputs: Numbers) -> Numbers:
    inputs = inputs.clip(-protocol.inputs.clamp, protocol.inputs.clamp)
    if protocol.inputs.norm == "unit":
        lengths = np.linalg.norm(inputs, axis=1, keepdims=True)
        inputs /= np.where(lengths > 0, lengths, 1.0)
    return inputs


def answers(protocol: StudyProtocol, model: Parameters, inputs: Numbers) -> Numbers:
    """What a model says of patients, with numpy alone.

    Args:
        protocol: The study.
        model: Its parameters.
        inputs: Shape (n, width), as the feature path gives them.

    Returns:
        As `imagined_scores`.
    """
    for number in range(1, len(protocol.model.hidden) + 1):
        inputs = inputs @ model[f"hidden{number}.weight"].T.astype(np.float64) + model[f"hidden{number}.bias"]
        inputs -= inputs.mean(axis=1, keepdims=True)
        inputs /= np.sqrt(inputs.var(axis=1, keepdims=True) + _NORM_EPSILON)
        inputs = np.maximum(inputs, 0.0)
    if isinstance(protocol.outcome, SurvivalOutcome):
        return np.asarray(inputs @ model["risk.weight"].T.astype(np.float64))
    made = inputs @ model["output.weight"].T.astype(np.float64) + model["output.bias"]
    if not isinstance(protocol.outcome, ClassOutcome):
        return np.asarray(made)
    others = [logsumexp(np.delete(made, place, axis=1), axis=1) for place in range(made.shape[1])]
    return np.asarray(made - np.stack(others, axis=1))


def _directions(protocol: StudyProtocol, model: Parameters) -> Numbers:
    """The sign with which each input moves each subject, to first order: shape (subjects, width)."""
    last = "risk.weight" if isinstance(protocol.outcome, SurvivalOutcome) else "output.weight"
    moved = model[last].astype(np.float64)
    if isinstance(protocol.outcome, ClassOutcome):
        moved = moved - moved.mean(axis=0)
    for number in range(len(protocol.model.hidden), 0, -1):
        moved = moved @ model[f"hidden{number}.weight"].astype(np.float64)
    return np.sign(moved)


def _described(protocol: StudyProtocol, width: int) -> _Inputs:
    present = len(protocol.cohort.optional_modalities)
    columns: list[tuple[float, float, float, float]] = []
    kinds: list[tuple[int, int]] = []
    if protocol.inputs.loadings:  # which features they replace stands in their file
        columns = [(-np.inf, np.inf, 0.0, 0.0)] * (width - present)
    for feature in () if columns else protocol.features:
        if feature.kind == "categorical":
            kinds.append((len(columns), len(feature.categories)))
        columns += _columns(feature)
    columns += [(1.0, 1.0, 0.0, 0.0)] * present
    low, high, rate, shared = np.array(columns, np.float64).T
    return _Inputs(low=low, high=high, flag=rate > 0, rate=rate, shared=shared, kinds=tuple(kinds))


def _columns(feature: Feature) -> list[tuple[float, float, float, float]]:
    """Low, high, rate of a flag, and shared variance of each input of a feature."""
    missing = [(0.0, 0.0, 0.0, 0.0)] if feature.missing == "indicator" else []
    if feature.kind == "categorical":
        return [(0.0, 0.0, 0.0, 0.0)] * len(feature.categories) + missing
    if feature.kind == "binary":
        usual = 0.5 if feature.categories else _RARE
        rate = feature.mean if 0.0 < feature.mean < 1.0 else usual
        return [((0 - feature.mean) / feature.sd, (1 - feature.mean) / feature.sd, rate, 0.0), *missing]
    ends = np.array([feature.low, feature.high])
    ends = np.log1p(ends) if feature.transform == "log1p" else ends
    low, high = ((ends - feature.mean) / feature.sd).tolist()
    return [(low, high, 0.0, _SHARED), *missing]
