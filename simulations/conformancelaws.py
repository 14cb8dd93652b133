"""What clipped and sampled sums must look like: arrays in, checks out; `conformancenoise` looks at the noise.

Everything is in units of the gradient and compared with public terms alone. `conformancestats` has the p-values.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from wardround.simulations.conformancenoise import Layers, scale
from wardround.simulations.conformancepatients import (
    CLIP,
    LOUD,
    MIDDLE,
    PATIENTS,
    SEVERAL,
    Asked,
    contributions,
)
from wardround.simulations.conformancestats import (
    Check,
    Counts,
    Floats,
    bound_p,
    certain,
    counts_p,
    dispersion_p,
    overlap_p,
    rate_p,
    scale_p,
    together_p,
)

_SLACK = 1 + 2.0**-10
"""What rounding may add to one patient's influence; proven bounds are far below it (`client.clipping`)."""


def clipped(asked: Asked, own: Floats, intercept: Floats, deviation: float) -> Iterator[Check]:
    """Sums of a linear model at zero over everybody: own columns (releases, PATIENTS), intercepts (releases,)."""
    expected, parts = contributions()
    count = len(own)
    largest = float(np.abs(own.mean(axis=0)).max())
    z = (largest - CLIP * _SLACK) * math.sqrt(count) / deviation
    yield Check(
        study=asked.name,
        name="clipping bound",
        claim="no patient, with one row or several, adds more than the clipping norm",
        expected="at most 1 (of the norm)",
        found=f"{largest / CLIP:.4f}",
        p=min(1.0, PATIENTS * float(stats.norm.sf(z))),
    )
    residual = np.concatenate([(own - expected).ravel(), intercept - parts.sum()]) / deviation
    yield scale(
        asked.name,
        residual,
        "contributions",
        claim="the released sum is that of the clipped gradients, divided by public constants, plus noise",
        expected="1 (spread around the expected sum, in promised deviations)",
    )


def grid(asked: Asked, values: Floats) -> Check:
    """Released sums stand on a public grid: the low bits of a float would carry the sum."""
    step = 2.0 ** (math.floor(math.log2(asked.deviation)) - 14)
    off = int((np.rint(values / step) * step != values).sum())
    return Check(
        study=asked.name,
        name="public grid",
        claim="released values are multiples of a public step of at least 2^-15 deviations",
        expected="0 values off the grid",
        found=f"{off} of {values.size}",
        p=certain(off == 0),
    )


def one_patient_more(
    asked: Asked, fewer: Floats, more: Floats, own: Sequence[int], deviation: float
) -> Iterator[Check]:
    """Mean sums of two hospitals that differ by one patient.

    Args:
        asked: The study.
        fewer: Releases of one, shape (releases, d).
        more: Releases of the other, from the same base.
        own: Coordinates in which the last patient has something.
        deviation: Noise per coordinate of one release.
    """
    difference = more.mean(axis=0) - fewer.mean(axis=0)
    spread = deviation * math.sqrt(1 / len(fewer) + 1 / len(more))
    norm = float(np.linalg.norm(difference))
    seen = math.sqrt(max(norm**2 - difference.size * spread**2, 0.0))
    yield Check(
        study=asked.name,
        name="one patient's influence",
        claim="one patient more moves the sum by at most the clipping norm",
        expected="at most 1 (of the norm)",
        found=f"{seen / CLIP:.4f}" if math.isfinite(norm) else "not finite",
        p=bound_p(norm, CLIP * _SLACK, spread, difference.size) if math.isfinite(norm) else 0.0,
    )
    others = np.delete(difference, own) / spread
    yield scale(
        asked.name,
        others,
        "public constants",
        claim="one patient more changes nothing of the others' part: no constant follows the number of patients",
        expected="1 (spread, in promised deviations)",
    )


def each_layer(asked: Asked, releases: Sequence[Layers], expected: Layers, name: str) -> Check:
    """The sum of clipped gradients, layer by layer, where a model's weights spread every gradient over layers."""
    found, each = [], []
    for layer, sums in expected.items():
        mean = np.mean([release[layer] for release in releases], axis=0)
        residual = (mean - sums) * math.sqrt(len(releases)) / asked.deviation
        squares = float((residual**2).sum())
        found.append(math.sqrt(squares / residual.size))
        each.append(scale_p(squares, residual.size))
    return Check(
        study=asked.name,
        name=name,
        claim="the released sum is that of gradients whose norm over all layers was clipped, plus noise",
        expected="1 (spread around the sum as computed anew, in promised deviations, of each layer)",
        found=", ".join(f"{one:.4f}" for one in found),
        p=min(1.0, len(each) * min(each)),
    )


def included(asked: Asked, own: Floats, deviation: float) -> tuple[Counts, Check]:
    """How often each patient is in each sum, from own columns (releases, PATIENTS), and what noise is left."""
    expected, _ = contributions()
    counts = np.clip(np.rint(own / expected), 0, None).astype(np.int64)
    return counts, scale(asked.name, (own - counts * expected) / deviation, "noise of sampled sums")


def rates(asked: Asked, counts: Counts) -> Iterator[Check]:
    """Everybody is in every step's sample with the promised probability: counts (releases, PATIENTS)."""
    releases = len(counts)
    yield Check(
        study=asked.name,
        name="sampling rate",
        claim="patients are included with the promised probability in every step",
        expected=f"{asked.rate:g}",
        found=f"{counts.sum() / (counts.size * asked.steps):.5f}",
        p=rate_p(int(counts.sum()), counts.size * asked.steps, asked.rate),
    )
    found = {
        "of a batch": counts_p(counts.sum(axis=1), PATIENTS * asked.steps, asked.rate),
        "of a patient": counts_p(counts.sum(axis=0), releases * asked.steps, asked.rate),
    }
    for name, numbers in _groups().items():
        group = counts[:, numbers]
        found[name] = rate_p(int(group.sum()), group.size * asked.steps, asked.rate)
    worst = min(found, key=lambda name: found[name])
    yield Check(
        study=asked.name,
        name="rates",
        claim="probabilities depend on no patient: gradient, rows, outcome, place; none is certain, or left out",
        expected="each as promised",
        found=f"{len(found)} rates, least likely {worst}",
        p=min(1.0, len(found) * found[worst]),
    )


def _groups() -> dict[str, Counts]:
    numbers = np.arange(PATIENTS)
    ends = np.cumsum([0, LOUD, MIDDLE, SEVERAL, PATIENTS - LOUD - MIDDLE - SEVERAL])
    kinds = zip(("loud", "middle", "several rows", "quiet"), ends[:-1], ends[1:], strict=True)
    return {
        **{name: numbers[begin:end] for name, begin, end in kinds},
        "one outcome": numbers[::3],
        "first half": numbers[: PATIENTS // 2],
    }


def independent(asked: Asked, counts: Counts) -> Iterator[Check]:
    """Inclusions are independent: counts (releases, PATIENTS) over `asked.steps` steps each."""
    spreads = [
        ("batch sizes", counts.sum(axis=1), PATIENTS * asked.steps),
        ("patients' counts", counts.sum(axis=0), len(counts) * asked.steps),
    ]
    if asked.steps > 1:
        spreads.append(("steps", counts.ravel(), asked.steps))
    for who, totals, law in spreads:
        variance = law * asked.rate * (1 - asked.rate)
        yield Check(
            study=asked.name,
            name=f"dispersion of {who}",
            claim="inclusions are independent: a shuffled or fixed batch varies too little, a sample kept too much",
            expected="1 (of a binomial's variance)",
            found=f"{float(((totals - law * asked.rate) ** 2).mean()) / variance:.3f}",
            p=dispersion_p(totals, law, asked.rate),
        )
    several = asked.steps > 1
    yield Check(
        study=asked.name,
        name="independence of patients" if several else "independence of rounds",
        claim="no two patients share a coin" if several else "no two rounds sample alike by more than chance",
        expected="overlaps as of independent choices",
        found=f"{len(counts)} rounds",
        p=together_p(counts, asked.steps, asked.rate) if several else overlap_p(counts > 0, asked.rate),
    )
