"""What the clipped sums of a conformance run are, computed a second time: per patient, in float64, with numpy alone.

Nothing of the installed trainer is used. For a linear model or one hidden layer (layer normalisation without affine,
then ReLU), binary or class outcome: the gradient of the mean loss over a patient's rows, scaled to norm C where it is
longer, summed over the patients.

Sources: Abadi et al. (2016) for the clipped sum; Ba et al. (2016) for the layer normalisation.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Layers = dict[str, Floats]

_NORM_EPSILON: Final = 1e-5
"""Added to a variance by layer normalisation, as documented by torch."""


def clipped_sum(
    base: Mapping[str, NDArray[np.float32]],
    rows: Sequence[Floats],
    targets: Sequence[int],
    *,
    clip: float,
) -> Layers:
    """The sum over patients of gradient * min(1, C / norm), by layer.

    Args:
        base: The model: `output.*`, and `hidden1.*` if it has a hidden layer.
        rows: Each patient's inputs, shape (K, d).
        targets: Each patient's class, 0 or 1 for a binary outcome.
        clip: C.
    """
    weights = {name: array.astype(np.float64) for name, array in base.items()}
    total = {name: np.zeros(array.shape) for name, array in weights.items()}
    for own, target in zip(rows, targets, strict=True):
        gradient = _gradient(weights, own, target)
        norm = np.sqrt(sum(float((part**2).sum()) for part in gradient.values()))
        for name, part in gradient.items():
            total[name] += part * min(1.0, clip / max(norm, 1e-300))
    return total


def _gradient(weights: Mapping[str, Floats], rows: Floats, target: int) -> Layers:
    """Of the mean loss over one patient's rows."""
    hidden = "hidden1.weight" in weights
    last, centred, spread = rows, rows, np.ones((len(rows), 1))
    if hidden:
        raw = rows @ weights["hidden1.weight"].T + weights["hidden1.bias"]
        spread = np.sqrt(raw.var(axis=1, keepdims=True) + _NORM_EPSILON)
        centred = (raw - raw.mean(axis=1, keepdims=True)) / spread
        last = np.maximum(centred, 0.0)
    error = _error(last @ weights["output.weight"].T + weights["output.bias"], target) / len(rows)
    found = {"output.weight": error.T @ last, "output.bias": error.sum(axis=0)}
    if hidden:
        back = (error @ weights["output.weight"]) * (centred > 0)
        back = (
            back - back.mean(axis=1, keepdims=True) - centred * (back * centred).mean(axis=1, keepdims=True)
        )
        back /= spread
        found |= {"hidden1.weight": back.T @ rows, "hidden1.bias": back.sum(axis=0)}
    return found


def _error(outputs: Floats, target: int) -> Floats:
    """Gradient of cross-entropy with respect to the logits, shape as they are."""
    if outputs.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-outputs)) - target)
    likely = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True) - np.eye(outputs.shape[1])[target])
