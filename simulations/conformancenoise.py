"""What released noise must look like: arrays in, checks out.

Noise is one of four things too little: too small somewhere (in a layer, a release, a direction), of another law, not on
its public grid, or not independent (of other coordinates, releases, children, hospitals, attempts). Everything here is
in promised standard deviations; `conformancestats` has the p-values.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from scipy import stats

from wardround.simulations.conformancestats import (
    Check,
    Floats,
    between_p,
    directions_p,
    each_scale_p,
    magnitudes,
    mean_p,
    repeats_p,
    residues_p,
    scale_p,
    shape_p,
    tail_threshold,
    tails_p,
    twins_p,
)

MODULUS: Final = 256
"""Remainders of the grid's steps that are counted; noise is many times wider."""

Layers = Mapping[str, Floats]


def whole(
    study: str, others: Sequence[Layers], pure: Floats, *, deviation: float, step: float
) -> Iterator[Check]:
    """All there is to say of noise.

    Args:
        study: Its name.
        others: Several releases of one sum, by layer, without the silent columns.
        pure: Shape (releases, n): the silent columns of the same and then of further releases, as standard normals.
        deviation: What a standard deviation is, in units of the gradient.
        step: Of the public grid, in the same unit.
    """
    yield scale(study, pure)
    yield each_scale(study, pure)
    yield from law(study, pure, deviation=deviation, step=step)
    yield from independent(study, pure, len(others[0]["hidden1.weight"]))
    yield every_layer(study, others)
    narrow = [name for name in others[0] if name != "hidden1.weight"]
    parts = (
        [row, *(layers[name].ravel() for name in narrow)] for row, layers in zip(pure, others, strict=False)
    )
    yield no_twins(study, [np.concatenate(found) for found in parts])


def scale(
    study: str,
    noise: Floats,
    name: str = "noise scale",
    *,
    claim: str = "noise where no patient has anything has the promised standard deviation",
    expected: str = "1 (ratio)",
) -> Check:
    """Noise of any shape has its promised size; or what is left of sums, once what they should be is taken off."""
    return Check(
        study=study,
        name=name,
        claim=claim,
        expected=expected,
        found=f"{math.sqrt(float((noise**2).mean())):.4f}",
        p=scale_p(float((noise**2).sum()), noise.size),
    )


def each_scale(study: str, noise: Floats) -> Check:
    """Every release has noise of its promised size, whoever is in its sample: shape (releases, n)."""
    each = np.sqrt((noise**2).mean(axis=1))
    return Check(
        study=study,
        name="noise of each release",
        claim="no release carries less noise, also of an empty sample or of a hospital with two patients",
        expected="1 (ratio)",
        found=f"{each.min():.4f} to {each.max():.4f}",
        p=each_scale_p(noise),
    )


def every_layer(study: str, releases: Sequence[Layers]) -> Check:
    """Noise of every layer, from the spread between releases of one sum, whatever it is."""
    found, each = [], []
    for layer in releases[0]:
        values = np.stack([release[layer].ravel() for release in releases])
        squares = float(((values - values.mean(axis=0)) ** 2).sum())
        degrees = (len(values) - 1) * values.shape[1]
        found.append(f"{layer} {math.sqrt(squares / degrees):.3f}")
        each.append(scale_p(squares, degrees))
    return Check(
        study=study,
        name="noise of each layer",
        claim="every value that leaves carries the promised noise",
        expected="1 (ratio)",
        found=", ".join(found),
        p=min(1.0, len(each) * min(each)),
    )


def law(study: str, pure: Floats, *, deviation: float, step: float) -> Iterator[Check]:
    """Standard normals, on a grid that is far finer.

    Args:
        study: Its name.
        pure: Shape (releases, n).
        deviation: What a standard deviation is, in units of the gradient.
        step: Of the public grid, in the same unit.
    """
    far = tail_threshold(pure.size)
    steps = np.rint(pure * (deviation / step)).astype(np.int64)
    used = np.count_nonzero(np.bincount((steps % MODULUS).ravel(), minlength=MODULUS))
    distance = stats.kstest(pure.ravel(), "norm").statistic
    beyond = int((np.abs(pure) > far).sum())
    for name, claim, expected, found, p in (
        ("mean", "noise has mean 0", "0", f"{pure.mean():+.5f} standard deviations", mean_p(pure)),
        ("shape", "noise is Gaussian", "Kolmogorov distance near 0", f"{distance:.5f}", shape_p(pure)),
        ("tails", "noise is not cut off", f"15 values beyond {far:.2f}", f"{beyond}", tails_p(pure)),
        (
            "fills the grid",
            "noise is as fine as the public grid: between coarser steps the sum would show",
            f"{MODULUS} remainders of whole steps, equally often",
            f"{used} remainders",
            residues_p(steps, MODULUS),
        ),
    ):
        yield Check(study=study, name=f"noise {name}", claim=claim, expected=expected, found=found, p=p)


def independent(study: str, pure: Floats, units: int) -> Iterator[Check]:
    """Standard normals that have nothing in common.

    Args:
        study: Its name.
        pure: Shape (releases, units * columns), each row in the order of release.
        units: Rows of the layer that the noise is of.
    """
    for name, values in (("noise", pure), ("sizes of noise", magnitudes(pure))):
        yield Check(
            study=study,
            name=f"{name} repeats",
            claim="noise does not begin again within a release, not backwards, and not with other signs",
            expected="no correlation at any distance",
            found=f"{values.shape[1]} values in {len(values)} releases",
            p=min(1.0, len(values) * min(repeats_p(row) for row in values)),
        )
        together = np.abs(np.triu(values @ values.T / values.shape[1], 1)).max()
        yield Check(
            study=study,
            name=f"fresh {name}",
            claim="releases of two rounds, attempts, children, hospitals and of a restored machine share no noise",
            expected="no correlation between any two",
            found=f"largest {together:.4f} of {len(values)} releases",
            p=between_p(values),
        )
    layers = pure.reshape(len(pure), units, -1)
    for name, matrix in (
        ("inputs", layers.reshape(-1, layers.shape[2])),
        ("units", layers.transpose(0, 2, 1).reshape(-1, units)),
    ):
        yield Check(
            study=study,
            name=f"noise over {name}",
            claim="noise is as large in every direction: no part of it is common to several values",
            expected="singular values like those of independent normals",
            found=f"{matrix.shape[0]} x {matrix.shape[1]} values",
            p=directions_p(matrix),
        )


def no_twins(study: str, releases: Sequence[Floats]) -> Check:
    """No two coordinates carry one noise: several releases of one sum, whatever it is."""
    values = np.stack(releases)
    return Check(
        study=study,
        name="noise of any two values",
        claim="no two of the values that leave carry the same noise, in no layers, whatever the sign",
        expected="no two coordinates that move together",
        found=f"{values.shape[1]} values in {len(values)} releases",
        p=twins_p(values),
    )
