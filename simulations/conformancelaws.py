"""What releases must look like, study by study: arrays in, checks out.

Everything is in units of the gradient and compared with public terms alone. `conformancestats` has the p-values.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wardround.simulations.conformancepatients import CLIP, PATIENTS, RATE, Asked, contributions
from wardround.simulations.conformancestats import (
    Check,
    Floats,
    between_p,
    bound_p,
    certain,
    dispersion_p,
    mean_p,
    overlap_p,
    rate_p,
    repeats_p,
    scale_p,
    shape_p,
    tail_threshold,
    tails_p,
)

_SLACK = 1 + 2.0**-10
"""What rounding may add to one patient's influence; proven bounds are far below it (`client.clipping`)."""

Layers = Mapping[str, NDArray[np.float64]]


def scale(study: str, noise: Floats, name: str = "noise scale") -> Check:
    """Noise in units of its promised standard deviation, any shape."""
    found = math.sqrt(float((noise**2).mean()))
    return Check(
        study=study,
        name=name,
        claim="noise where no patient has anything has the promised standard deviation",
        expected="1 (ratio)",
        found=f"{found:.4f}",
        p=scale_p(float((noise**2).sum()), noise.size),
    )


def noise(study: str, pure: Floats) -> Iterator[Check]:
    """Independent standard normals: shape (releases, n), each row in the order of release."""
    yield scale(study, pure)
    yield Check(
        study=study,
        name="noise mean",
        claim="noise has mean 0",
        expected="0",
        found=f"{pure.mean():+.5f} standard deviations",
        p=mean_p(pure),
    )
    yield Check(
        study=study,
        name="noise shape",
        claim="noise is Gaussian",
        expected="Kolmogorov distance near 0",
        found=f"{stats.kstest(pure.ravel(), 'norm').statistic:.5f}",
        p=shape_p(pure),
    )
    far = tail_threshold(pure.size)
    yield Check(
        study=study,
        name="noise tails",
        claim="noise is not cut off",
        expected=f"15 values beyond {far:.2f} deviations",
        found=f"{int((np.abs(pure) > far).sum())}",
        p=tails_p(pure),
    )
    yield Check(
        study=study,
        name="noise repeats",
        claim="noise does not begin again within a release",
        expected="no correlation at any distance",
        found=f"{pure.shape[1]} values in {len(pure)} releases",
        p=min(1.0, len(pure) * min(repeats_p(row) for row in pure)),
    )
    together = np.abs(np.triu(pure @ pure.T / pure.shape[1], 1)).max()
    yield Check(
        study=study,
        name="fresh noise",
        claim="releases of two rounds, forked children, hospitals and of a restored machine share no noise",
        expected="no correlation between any two",
        found=f"largest {together:.4f} of {len(pure)} releases",
        p=between_p(pure),
    )


def every_layer(study: str, releases: Sequence[Layers]) -> Iterator[Check]:
    """Noise of every layer, from the spread between releases of one sum; in promised standard deviations."""
    for layer in releases[0]:
        values = np.stack([release[layer].ravel() for release in releases])
        squares = float(((values - values.mean(axis=0)) ** 2).sum())
        degrees = (len(values) - 1) * values.shape[1]
        yield Check(
            study=study,
            name=f"noise of {layer}",
            claim="every value that leaves carries the promised noise",
            expected="1 (ratio)",
            found=f"{math.sqrt(squares / degrees):.4f}",
            p=scale_p(squares, degrees),
        )


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
    yield Check(
        study=asked.name,
        name="contributions",
        claim="the released sum is that of the clipped gradients, divided by public constants, plus noise",
        expected="1 (spread around the expected sum, in promised deviations)",
        found=f"{math.sqrt(float((residual**2).mean())):.4f}",
        p=scale_p(float((residual**2).sum()), residual.size),
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
    yield Check(
        study=asked.name,
        name="public constants",
        claim="one patient more changes nothing of the others' part: no constant follows the number of patients",
        expected="1 (spread, in promised deviations)",
        found=f"{math.sqrt(float((others**2).mean())):.4f}",
        p=scale_p(float((others**2).sum()), others.size),
    )


def sampled(asked: Asked, own: Floats, deviation: float) -> Iterator[Check]:
    """Poisson sampling: own columns (releases, PATIENTS) of sums over `asked.steps` steps each."""
    expected, _ = contributions()
    counts = np.rint(own / expected).astype(np.int64)
    counts = np.clip(counts, 0, None)
    residual = (own - counts * expected) / deviation
    yield scale(asked.name, residual, "noise of sampled sums")
    yield Check(
        study=asked.name,
        name="sampling rate",
        claim="every patient is included with the promised probability in every step",
        expected=f"{RATE:g}",
        found=f"{counts.sum() / (counts.size * asked.steps):.4f}",
        p=rate_p(int(counts.sum()), counts.size * asked.steps, RATE),
    )
    for axis, who, trials in ((1, "batch sizes", PATIENTS), (0, "patients' counts", len(counts))):
        totals, law = counts.sum(axis=axis), trials * asked.steps
        yield Check(
            study=asked.name,
            name=f"dispersion of {who}",
            claim="inclusions are independent: a shuffled or fixed batch varies too little",
            expected="1 (of a binomial's variance)",
            found=f"{float(((totals - law * RATE) ** 2).mean()) / (law * RATE * (1 - RATE)):.3f}",
            p=dispersion_p(totals, law, RATE),
        )
    if asked.steps == 1:
        yield Check(
            study=asked.name,
            name="independence of rounds",
            claim="no two rounds sample the same patients more or less often than chance",
            expected="overlaps as of independent choices",
            found=f"{len(counts)} rounds",
            p=overlap_p(counts > 0, RATE),
        )
