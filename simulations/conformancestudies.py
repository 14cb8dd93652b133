"""The studies of a conformance run: what is asked of the hospitals, and the checks that follow."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from wardround.common.learning.parameters import Parameters
from wardround.simulations import conformancejoint as joints
from wardround.simulations import conformancelaws as laws
from wardround.simulations import conformancenoise as noises
from wardround.simulations.conformanceexam import Examination, flat, others, silent
from wardround.simulations.conformanceoracle import clipped_sum
from wardround.simulations.conformancepatients import (
    CALM,
    CLIP,
    FEW,
    FIRST_SILENT,
    GRADE,
    OVERFLOWING,
    PATIENTS,
    RATE,
    SUBTYPE,
    WIDTH,
    WITH,
    WITHOUT,
    Asked,
    inputs,
    subtype,
)
from wardround.simulations.conformancesite import rounds
from wardround.simulations.conformancestats import Check, Floats

NOISY: Final = Asked(name="noise", hidden=(128,), outcome=GRADE, rounds=12, attempts=2)
STEPS: Final = Asked(name="steps", hidden=(64,), steps=3, rounds=8, slowness=2.0**16)
CALMED: Final = Asked(name="clipping", noise=CALM, rounds=4)
LAYERS: Final = Asked(name="layers", noise=CALM, rounds=4, hidden=(32,), outcome=SUBTYPE, l2=2.0**-10)
CRAFTED: Final = Asked(name="crafted", noise=CALM, rounds=2, outcome=SUBTYPE, clamp=1e36)
SAMPLED: Final = Asked(name="sampling", noise=CALM, rate=RATE, rounds=24)
EPOCHS: Final = Asked(name="epochs", noise=CALM, rate=RATE, rounds=40, steps=16, slowness=2.0**20)
RARE: Final = Asked(name="rare", noise=CALM, rate=2.0**-8, rounds=48)
OFFERED: Final = Asked(name="declined", noise=CALM, rounds=2)


def noise(exam: Examination) -> Iterator[Check]:
    """Noise like a real study's: its size everywhere, its law, and whether any of it comes twice.

    Three rounds have a child of their own each, as in a deployment; the others share one, as in a simulation. Some
    attempts are second ones; one is made twice, by a hospital whose disk was restored in between.
    """
    first = rounds(NOISY.rounds)
    apart = [release for moment in first[:3] for release in exam.sums(NOISY, WITHOUT, [moment])]
    second = [first[3], replace(first[3], attempt=2), *first[4:6], replace(first[5], attempt=2), *first[6:-1]]
    ordinary = [*apart, *exam.sums(NOISY, WITHOUT, second)]
    image = exam.grounds.restored(WITHOUT, lambda: exam.sums(NOISY, WITHOUT, first[-1:]))
    del exam.seen[-1]  # the restored hospital knows nothing of it
    same = [*ordinary, *image, *exam.sums(NOISY, WITHOUT, first[-1:])]
    elsewhere = [*exam.sums(NOISY, WITH, first[:2]), *exam.sums(NOISY, FEW, first[:2])]
    pure = np.stack([silent(release) for release in (*same, *elsewhere)]) / NOISY.deviation
    layers = [others(release, NOISY.deviation) for release in same]
    yield from noises.whole(NOISY.name, layers, pure, deviation=NOISY.deviation, step=NOISY.step)


def steps(exam: Examination) -> Iterator[Check]:
    """Several local steps: each draws its own noise."""
    found = exam.sums(STEPS, WITHOUT, rounds(STEPS.rounds), _bent(exam.first(STEPS)))
    spread = STEPS.deviation * math.sqrt(STEPS.steps)
    yield noises.scale(
        STEPS.name, np.stack([silent(release) for release in found]) / spread, "noise of several steps"
    )
    yield noises.every_layer(STEPS.name, [others(release, spread) for release in found])


def clipping(exam: Examination) -> Iterator[Check]:
    """A linear model at zero, where each patient's part is known: bound, divisor, grid, one patient more."""
    moments = rounds(CALMED.rounds)
    fewer, more = (_linear(exam.sums(CALMED, site, moments)) for site in (WITHOUT, WITH))
    yield from laws.clipped(CALMED, fewer[:, :PATIENTS], fewer[:, -1], CALMED.deviation)
    yield noises.scale(CALMED.name, fewer[:, FIRST_SILENT:-1] / CALMED.deviation)
    yield laws.grid(CALMED, fewer)
    own = (PATIENTS, OVERFLOWING, WIDTH)
    yield from laws.one_patient_more(CALMED, fewer, more, own, CALMED.deviation)


def layers(exam: Examination) -> Iterator[Check]:
    """The same bound where a gradient spreads over layers: as of a first model, and of one that learns in the last."""
    base = _bent(exam.first(LAYERS))
    last = {**base, "output.weight": np.zeros_like(base["output.weight"])}
    moments = rounds(LAYERS.rounds)
    half = len(moments) // 2
    found = {site: exam.sums(LAYERS, site, moments[:half], base) for site in (WITHOUT, WITH)}
    yield laws.each_layer(LAYERS, found[WITHOUT], _expected(LAYERS, base), "clipped sum")
    others = exam.sums(LAYERS, WITHOUT, moments[half:], last)
    yield laws.each_layer(LAYERS, others, _expected(LAYERS, last), "clipped sum of the last layer")
    fewer, more = (np.stack([flat(release) for release in releases]) for releases in found.values())
    influence, _ = laws.one_patient_more(LAYERS, fewer, more, (), LAYERS.deviation)
    yield influence
    pure = np.stack([silent(release) for releases in found.values() for release in releases])
    weights = LAYERS.learning_rate * LAYERS.l2 * base["hidden1.weight"][:, FIRST_SILENT:].ravel()
    yield noises.scale(LAYERS.name, (pure - weights) / LAYERS.deviation)


def _bent(base: Parameters) -> Parameters:
    """Biases of a hidden layer that are not 0, where a `ReLU` bends: a step would switch units of empty rows."""
    bias = base["hidden1.bias"]
    return {**base, "hidden1.bias": bias + np.linspace(-1, 1, bias.size, dtype=np.float32)}


def _expected(asked: Asked, base: Parameters) -> dict[str, Floats]:
    """The clipped sum of the hospital `without`, computed a second time, and weight decay, which no patient moves."""
    patients = range(PATIENTS)
    found = clipped_sum(
        base, [inputs(one) for one in patients], [subtype(one) for one in patients], clip=CLIP
    )
    decay = asked.learning_rate * asked.l2
    return {name: part + (decay if part.ndim > 1 else 0.0) * base[name] for name, part in found.items()}


def crafted(exam: Examination) -> Iterator[Check]:
    """Weights under which the last patient's gradient is not a number: its part is nothing, the others' unharmed."""
    base = exam.first(CRAFTED)
    base["output.weight"][:, OVERFLOWING] = (1e4, 1e4, -1e4)
    moments = rounds(CRAFTED.rounds)
    releases = {site: exam.sums(CRAFTED, site, moments, base) for site in (WITHOUT, WITH)}
    fewer, more = (np.stack([flat(release) for release in found]) for found in releases.values())
    influence, _ = laws.one_patient_more(CRAFTED, fewer, more, (), CRAFTED.deviation)
    yield replace(influence, claim="a gradient that overflows moves the sum by at most the clipping norm")
    pure = np.stack([one["output.weight"][:, FIRST_SILENT:] for found in releases.values() for one in found])
    yield noises.scale(CRAFTED.name, pure / CRAFTED.deviation)


def sampling(exam: Examination) -> Iterator[Check]:
    """Poisson sampling step by step, where each patient is seen."""
    yield from _sampled(exam, SAMPLED)


def epochs(exam: Examination) -> Iterator[Check]:
    """Poisson sampling over as many local steps as several epochs of shuffled batches would have."""
    yield from _sampled(exam, EPOCHS)


def _sampled(exam: Examination, asked: Asked) -> Iterator[Check]:
    found = _linear(exam.sums(asked, WITHOUT, rounds(asked.rounds)))
    spread = asked.deviation * math.sqrt(asked.steps)
    counts, left = laws.included(asked, found[:, :PATIENTS], spread)
    yield left
    yield from laws.rates(asked, counts)
    yield from laws.independent(asked, counts)
    yield noises.scale(asked.name, found[:, FIRST_SILENT:-1] / spread)


def rare(exam: Examination) -> Iterator[Check]:
    """A rate at which most samples are empty: an empty sample is a step like any other."""
    found = _linear(exam.sums(RARE, WITHOUT, rounds(RARE.rounds)))
    counts, left = laws.included(RARE, found[:, :PATIENTS], RARE.deviation)
    yield left
    yield from laws.rates(RARE, counts)
    yield noises.each_scale(RARE.name, found[:, FIRST_SILENT:-1] / RARE.deviation)


def _linear(releases: Sequence[Mapping[str, Floats]]) -> Floats:
    """Weights, then the intercept: (releases, WIDTH + 1)."""
    return np.stack([np.append(release["output.weight"], release["output.bias"]) for release in releases])


STUDIES: Final[Mapping[str, Callable[[Examination], Iterator[Check]]]] = {
    NOISY.name: noise,
    STEPS.name: steps,
    CALMED.name: clipping,
    LAYERS.name: layers,
    CRAFTED.name: crafted,
    SAMPLED.name: sampling,
    EPOCHS.name: epochs,
    RARE.name: rare,
    joints.JOINT.name: joints.noise,
    joints.JOINT_CALM.name: joints.clipping,
    joints.STATISTICS.name: joints.statistics,
}
"""Name -> what is asked and checked."""
