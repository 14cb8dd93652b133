"""A small synthetic world with known limits: five hospitals, 1,000 genes, three tumour types.

Recipes for private training need a place to be chosen that is no patient's. Genes follow hidden factors; the types
differ in the factors and, faintly, in some marker genes. The factors can be learnt by few; the markers need many
patients, which is what a hospital gains by training with others. Every laboratory shifts and stretches genes in its
own way, every hospital has its own mix of types, and other laboratories have published samples without labels,
from which the public moments and principal components come.

The defaults are pinned by a test: a hospital alone classifies at most .79 of its patients, all patients pooled
.89 +- .01, both without privacy and with a ridge over all genes.

Assumes nothing but numpy; every number comes from the generator that is passed in. No real person is described.

Source: expression with batch effects after Leek and Storey (2007); principal components and their
whitening after Jolliffe (2002); few public inputs after Tramer and Boneh (2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import not_negative, positive

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

CLASSES: Final = 3
SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"Ash": 60, "Beech": 80, "Chestnut": 100, "Fir": 150, "Oak": 200}
)
"""Training patients per hospital."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """Sizes of the effects; genes have variance about 1 within a type.

    Attributes:
        genes: Measured genes.
        factors: Hidden factors.
        markers: Genes that differ between types beyond the factors.
        separation: Distance of a type's centre from the middle, in standard deviations of a factor.
        marker_effect: Standard deviation over types of a marker's mean.
        batch: Standard deviation of a laboratory's shift of each gene and of each factor.
        stretch: Standard deviation of the log of a laboratory's factor on each gene.
        evenness: Of the Dirichlet distribution of a hospital's mix of types; 100 is nearly even.
    """

    genes: int = 1000
    factors: int = 20
    markers: int = 40
    separation: float = 1.34
    marker_effect: float = 0.292
    batch: float = 0.15
    stretch: float = 0.1
    evenness: float = 100.0

    def __post_init__(self) -> None:
        """Refuse an empty world."""
        positive(genes=self.genes, factors=self.factors, markers=self.markers, evenness=self.evenness)
        not_negative(separation=self.separation, marker_effect=self.marker_effect, batch=self.batch)
        not_negative(stretch=self.stretch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Patients with one sample each: `genes` (n, genes), `label` (n,) in 0 .. CLASSES - 1."""

    genes: Floats
    label: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One draw of everything.

    Attributes:
        public: Unlabelled samples of other laboratories, (n, genes) each; none of a hospital's patients is there.
        training: Of each hospital.
        held_out: Further patients of the same hospital, measured in the same laboratory.
    """

    public: tuple[Floats, ...]
    training: Mapping[str, Samples]
    held_out: Mapping[str, Samples]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Biology:
    nature: Nature
    loadings: Floats
    residual: Floats
    centres: Floats
    markers: NDArray[np.int64]
    effects: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hospital:
    biology: _Biology
    shift: Floats
    drift: Floats
    stretch: Floats
    mix: Floats


def draw_world(
    rng: np.random.Generator,
    *,
    nature: Nature | None = None,
    sizes: Mapping[str, int] = SIZES,
    held_out: int = 400,
    public: Sequence[int] = (500, 500, 500),
) -> World:
    """Hospitals, and what other laboratories published.

    Args:
        rng: The only source of chance.
        nature: Sizes of the effects.
        sizes: Training patients per hospital.
        held_out: Further patients per hospital.
        public: Published samples per other laboratory.

    Raises:
        UsageError: A count is not positive.
    """
    positive(held_out=held_out, **{f"sizes[{name}]": size for name, size in sizes.items()})
    biology = _draw_biology(nature or Nature(), rng)
    published = tuple(_draw(_draw_hospital(biology, rng), n, rng).genes for n in public)
    training, later = {}, {}
    for name, size in sizes.items():
        hospital = _draw_hospital(biology, rng)
        training[name] = _draw(hospital, size, rng)
        later[name] = _draw(hospital, held_out, rng)
    return World(public=published, training=training, held_out=later)


def _draw_biology(nature: Nature, rng: np.random.Generator) -> _Biology:
    shape = (nature.factors, nature.genes)
    raw = rng.normal(size=shape) * (rng.random(shape) < 0.3)
    driven = rng.uniform(0.3, 0.7, nature.genes)
    directions, _ = np.linalg.qr(rng.normal(size=(nature.factors, CLASSES)))
    corners = np.eye(CLASSES) - 1 / CLASSES
    effects = rng.normal(size=(CLASSES, nature.markers))
    effects -= effects.mean(axis=0)
    return _Biology(
        nature=nature,
        loadings=raw * np.sqrt(driven / np.maximum((raw**2).sum(axis=0), 1e-9)),
        residual=np.sqrt(1 - driven),
        centres=nature.separation * corners / np.linalg.norm(corners[0]) @ directions.T,
        markers=rng.choice(nature.genes, size=nature.markers, replace=False),
        effects=nature.marker_effect * effects / np.sqrt((effects**2).mean()),
    )


def _draw_hospital(biology: _Biology, rng: np.random.Generator) -> _Hospital:
    nature = biology.nature
    return _Hospital(
        biology=biology,
        shift=rng.normal(0, nature.batch, nature.genes),
        drift=rng.normal(0, nature.batch, nature.factors),
        stretch=np.exp(rng.normal(0, nature.stretch, nature.genes)),
        mix=rng.dirichlet([nature.evenness] * CLASSES),
    )


def _draw(hospital: _Hospital, n: int, rng: np.random.Generator) -> Samples:
    biology = hospital.biology
    label = rng.choice(CLASSES, size=n, p=hospital.mix).astype(np.int64)
    factors = rng.normal(size=(n, len(biology.loadings))) + biology.centres[label] + hospital.drift
    genes = factors @ biology.loadings + rng.normal(size=(n, len(biology.residual))) * biology.residual
    genes[:, biology.markers] += biology.effects[label]
    return Samples(genes=genes * hospital.stretch + hospital.shift, label=label)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPath:
    """Public constants: `mean` and `sd` (genes,), and `loadings` (genes, components) for standardised genes."""

    mean: Floats
    sd: Floats
    loadings: Floats

    def standardised(self, genes: Floats) -> Floats:
        """(n, genes), clamped to [-5, 5]."""
        return np.clip((genes - self.mean) / self.sd, -5, 5)

    def components(self, genes: Floats) -> Floats:
        """(n, components)."""
        return self.standardised(genes) @ self.loadings


def public_path(public: Sequence[Floats], *, components: int, whitening: float, length: float) -> PublicPath:
    """Moments and principal components of published samples.

    Args:
        public: Samples per laboratory; the shift between laboratories is taken out before the components.
        components: How many, the largest first.
        whitening: 0 leaves each component's spread, 1 makes all spreads equal.
        length: Root mean square L2 length of a published sample's components.
    """
    pooled = np.concatenate(public)
    mean, sd = pooled.mean(axis=0), pooled.std(axis=0)
    centred = np.concatenate([table - table.mean(axis=0) for table in public]) / sd
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    spreads = singular[:components] / np.sqrt(len(centred))
    # The sign of a singular vector is arbitrary and differs between libraries; fix it.
    kept = directions[:components]
    signs = np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])
    loadings = kept.T * signs * spreads**-whitening
    path = PublicPath(mean=mean, sd=sd, loadings=loadings)
    size = np.sqrt((path.components(pooled) ** 2).sum(axis=1).mean())
    return PublicPath(mean=mean, sd=sd, loadings=loadings * (length / size))
