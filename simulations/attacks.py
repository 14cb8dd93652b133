"""What a curious or malicious server can do with one hospital's update: arrays in, guesses out.

- Span: the first layer's update is a sum of (gradient) x (patient's inputs), so its row space is spanned by the
  patients who trained. With more hidden units and inputs than patients, the distance of a record to that space is an
  exact test of membership, whatever the number of steps.
- Inversion: with one patient, weight update / bias update is the record.
- Traps: weights under which few patients pass each hidden unit give that unit's one patient away as above.
- Weak generator: noise from a generator with few seeds is found by trying them on values whose gradient is zero.

Sources: Pasquini et al. (2022) for the span of a sum; Zhu et al. (2019), "Deep leakage from gradients"; Fowl et al.
(2022), "Robbing the Fed", and Boenisch et al. (2023), "When the curious abandon honesty", for traps; Haney et al.
(2025) for testing noise generators.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from wardround.common.learning.parameters import Parameters

Floats = NDArray[np.float64]

WEIGHT: Final = "hidden1.weight"
BIAS: Final = "hidden1.bias"
_TINY: Final = 1e-30
RECOVERED: Final = 0.999
"""Cosine of a guess and a record from which on the record counts as recovered."""


def residuals(update: Parameters, records: NDArray[np.float32], rank: int = 0) -> Floats:
    """How far each record is from the row space of the first layer's update, relative to its length: (n,) in [0, 1].

    Args:
        update: What left the hospital, with a hidden layer.
        records: Candidates, (n, d).
        rank: Dimensions of the row space; 0 for where singular values fall most.
    """
    _, singular, rows = np.linalg.svd(update[WEIGHT].astype(np.float64), full_matrices=False)
    kept = rows[: rank or _gap(singular)]
    candidates = records.astype(np.float64)
    outside = candidates - candidates @ kept.T @ kept
    lengths = np.linalg.norm(candidates, axis=1)
    return np.asarray(np.linalg.norm(outside, axis=1) / np.maximum(lengths, _TINY))


def _gap(singular: Floats) -> int:
    """After how many values the next one is smallest in comparison."""
    return 1 + int(np.argmax(singular[:-1] / np.maximum(singular[1:], singular[0] * 1e-12)))


def inverted(update: Parameters) -> Floats:
    """The record of the one patient who trained, (d,): least squares over hidden units."""
    weight, bias = update[WEIGHT].astype(np.float64), update[BIAS].astype(np.float64)
    return weight.T @ bias / max(float(bias @ bias), _TINY)


def trap(
    base: Parameters, public: NDArray[np.float32], patients: int, rng: np.random.Generator
) -> Parameters:
    """Weights under which each unit of the first hidden layer is passed by about one of `patients`.

    LayerNorm would take a common threshold out again. So half of the units are anchors with a large bias and no way
    to the output: they fix mean and spread, and with them the threshold of the other half, which are random directions.

    Args:
        base: An honest model, one hidden layer.
        public: Records like the patients', from which the threshold is taken.
        patients: How many train.
        rng: Draws the directions.

    Returns:
        Weights of ordinary size that a hospital accepts.
    """
    crafted = {name: np.zeros_like(array) for name, array in base.items()}
    units, width = base[WEIGHT].shape
    traps = units // 2
    directions = rng.normal(size=(traps, width)) / np.sqrt(width)
    centred = public.astype(np.float64) @ directions.T
    threshold = float(np.quantile(centred, 1 - 1 / patients))
    crafted[WEIGHT][:traps] = directions
    crafted[BIAS][traps:] = 2 * threshold
    out = rng.normal(size=base["output.weight"].shape)
    out[:, traps:] = 0.0
    crafted["output.weight"][:] = out
    return crafted


def guesses(update: Parameters) -> Floats:
    """Two guessed records per hidden unit, (2 units, d), whatever its length and sign.

    Its weight update as it is, and less the median unit's: LayerNorm spreads a little of every patient over all.
    """
    rows = update[WEIGHT].astype(np.float64)
    return np.concatenate([rows, rows - np.median(rows, axis=0)])


def recovered(candidates: Floats, records: NDArray[np.float32]) -> tuple[int, float]:
    """How many records a guess matches, and the largest cosine of any guess and record, sign not counted."""
    cosines = np.abs(_unit(candidates) @ _unit(records.astype(np.float64)).T)
    best = cosines.max(axis=0)
    return int((best > RECOVERED).sum()), float(best.max())


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY))


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakNoise:
    """Gaussian noise from torch's generator, as DP-SGD libraries add it: one array after the other.

    Attributes:
        seed: Secret.
        deviation: Standard deviation.
    """

    seed: int
    deviation: float

    def added(self, values: Parameters) -> Parameters:
        """The arrays plus noise."""
        generator = torch.Generator().manual_seed(self.seed)
        return {
            name: (array + self.deviation * torch.randn(array.shape, generator=generator).numpy()).astype(
                np.float32
            )
            for name, array in values.items()
        }


def seed_of(noisy: Parameters, deviation: float, seeds: int, known: int) -> int | None:
    """The seed behind noise, tried on the first values of the first array, whose true values are zero.

    Args:
        noisy: What was released.
        deviation: Of the noise; public.
        seeds: How many to try, from 0.
        known: Leading values that are zero without noise, 2 to 16: inputs that no patient has.

    Returns:
        The first seed that explains them; None where no seed does.
    """
    seen = next(iter(noisy.values())).ravel()[:known] / deviation
    generator = torch.Generator()
    for seed in range(seeds):
        generator.manual_seed(seed)
        # 16 values are the block in which torch fills large arrays: the first of them do not depend on the size.
        if np.allclose(torch.randn(16, generator=generator).numpy()[:known], seen, rtol=1e-4, atol=1e-5):
            return seed
    return None
