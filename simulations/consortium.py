"""A consortium of imagined hospitals, with the faults of real ones.

A `Biology` is what nature would know: genes driven by hidden factors, mutations, and how they bear on
response and survival. A consortium draws patients from it and then measures them as hospitals do: each with
its own gene-wise shift and scale, its own case mix, several samples for some patients, gaps, one hospital
without sequencing, a rare ancestry group, and codes that begin with zeros. No real person is described.

Assumes nothing but numpy and pandas; every number comes from the generator that is passed in, so equal
generators give equal tables.

Source: the factor model follows Leek and Storey (2007) for expression with batch effects; survival times
follow Bender et al. (2005), "Generating survival times to simulate Cox proportional hazards models".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.common.checks import positive

Floats = NDArray[np.float64]

SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {"Alder": 60, "Birch": 110, "Cedar": 180, "Dogwood": 320, "Elm": 600}
)
"""Patients per hospital of the default consortium."""

NOT_SEQUENCING: Final = "Birch"
"""The hospital without the mutation modality."""

GENES: Final = tuple(f"expr_G{number:03d}" for number in range(1, 201))
MUTATIONS: Final = tuple(f"mut_M{number:02d}" for number in range(1, 11))
STAGES: Final = ("I", "II", "III", "IV")
ANCESTRIES: Final = ("A", "B", "C")
"""The last is the rare group: 4 in 100 patients."""

_FACTORS: Final = 10
_ANCESTRY_SHARES: Final = (0.72, 0.24, 0.04)
_STAGE_SHARES: Final = (0.25, 0.35, 0.25, 0.15)
_SAMPLES_SHARES: Final = (0.85, 0.11, 0.04)
"""Of patients with one, two and three samples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Biology:
    """What drives expression, mutations, response and survival, the same at every hospital.

    Attributes:
        baseline: Shape (genes,), typical log2(TPM+1).
        spread: Shape (genes,), standard deviation of a gene between patients, in log2(TPM+1).
        loadings: Shape (factors, genes), share of a gene's variation that each hidden factor drives.
        residual: Shape (genes,), share of it that no factor drives.
        mutation_rates: Shape (mutations,), between 0 and 1.
        markers: Shape (markers,), indices of genes that bear on the outcomes beyond the factors.
        response: Effects on the log odds of response; `hazard`: on the log hazard of death.
    """

    baseline: Floats
    spread: Floats
    loadings: Floats
    residual: Floats
    mutation_rates: Floats
    markers: NDArray[np.int64]
    response: "Effects"
    hazard: "Effects"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Effects per standard deviation (factors, markers, age), per mutation and per stage step."""

    factors: Floats
    markers: Floats
    mutations: Floats
    age: float
    stage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Patients:
    """Imagined patients, n of them, before any hospital measured them; `genes` is standardised."""

    factors: Floats
    genes: Floats
    mutated: NDArray[np.int64]
    age: Floats
    stage: NDArray[np.int64]
    female: NDArray[np.bool_]
    ancestry: NDArray[np.int64]


def draw_biology(rng: np.random.Generator) -> Biology:
    """A world of its own; its size is fixed by `GENES` and `MUTATIONS`."""
    raw = rng.normal(size=(_FACTORS, len(GENES))) * (rng.random((_FACTORS, len(GENES))) < 0.35)
    driven = rng.uniform(0.35, 0.75, len(GENES))
    return Biology(
        baseline=rng.uniform(3.0, 9.0, len(GENES)),
        spread=rng.uniform(0.6, 1.5, len(GENES)),
        loadings=raw * np.sqrt(driven / np.maximum((raw**2).sum(axis=0), 1e-9)),
        residual=np.sqrt(1 - driven),
        mutation_rates=rng.uniform(0.04, 0.3, len(MUTATIONS)),
        markers=rng.choice(len(GENES), size=12, replace=False).astype(np.int64),
        response=_draw_effects(rng, factor=0.9, marker=0.5, mutation=0.9, age=-0.2, stage=-0.3),
        hazard=_draw_effects(rng, factor=0.6, marker=0.35, mutation=0.6, age=0.2, stage=0.25),
    )


def _draw_effects(
    rng: np.random.Generator, *, factor: float, marker: float, mutation: float, age: float, stage: float
) -> Effects:
    def some(count: int, size: float, share: float) -> Floats:
        chosen = rng.permutation(count) < round(share * count)
        sizes: Floats = size * rng.uniform(0.7, 1.3, count)
        return np.where(chosen, rng.choice([-1.0, 1.0], count) * sizes, 0.0)

    return Effects(
        factors=some(_FACTORS, factor, 0.5),
        markers=some(12, marker, 1.0),
        mutations=some(len(MUTATIONS), mutation, 0.35),
        age=age,
        stage=stage,
    )


def draw_patients(
    biology: Biology, n: int, rng: np.random.Generator, *, shift: Floats | None = None
) -> Patients:
    """Patients in number `n`; `shift` of shape (factors,) moves a hospital's case mix.

    Raises:
        UsageError: `n` is not positive.
    """
    positive(n=n)
    ancestry = rng.choice(3, size=n, p=_ANCESTRY_SHARES)
    drift = np.array([0.0, 0.25, 0.5])[ancestry][:, None] * np.linspace(-1, 1, _FACTORS)
    factors = rng.normal(size=(n, _FACTORS)) + drift + (0.0 if shift is None else shift)
    genes = factors @ biology.loadings + rng.normal(size=(n, len(GENES))) * biology.residual
    tilt = np.clip(biology.mutation_rates * np.exp(0.4 * factors[:, :1]), 0, 0.9)
    return Patients(
        factors=factors,
        genes=genes,
        mutated=(rng.random((n, len(MUTATIONS))) < tilt).astype(np.int64),
        age=np.clip(rng.normal(62, 11, n), 19, 95).round(),
        stage=rng.choice(4, size=n, p=_STAGE_SHARES).astype(np.int64),
        female=rng.random(n) < 0.55,
        ancestry=ancestry.astype(np.int64),
    )


def effect(biology: Biology, patients: Patients, effects: Effects) -> Floats:
    """Each patient's log odds or log hazard, up to a constant, shape (n,)."""
    return (
        patients.factors @ effects.factors
        + patients.genes[:, biology.markers] @ effects.markers
        + (patients.mutated - biology.mutation_rates) @ effects.mutations
        + effects.age * (patients.age - 62) / 11
        + effects.stage * (patients.stage - 1.3)
    )


def measured(biology: Biology, genes: Floats, rng: np.random.Generator, *, batch: float) -> Floats:
    """log2(TPM+1) as one laboratory reads it, with its own gene-wise shift and scale.

    Args:
        biology: The world.
        genes: Standardised, shape (rows, genes).
        rng: Draws the laboratory.
        batch: Standard deviation of the shift, in standard deviations of a gene; 0 for a perfect laboratory.
    """
    shift = rng.normal(0, batch, genes.shape[1])
    scale = np.exp(rng.normal(0, batch / 4, genes.shape[1]))
    values: Floats = biology.baseline + biology.spread * (genes * scale + shift)
    return np.maximum(values, 0.0)


def generate(rng: np.random.Generator, *, biology: Biology, sizes: Mapping[str, int] = SIZES) -> pd.DataFrame:
    """One row per sample, as the hospitals' tables would read, all hospitals below one another.

    Args:
        rng: The only source of chance.
        biology: The world that the patients live in.
        sizes: Patients per hospital.

    Returns:
        Columns `patient` (text with leading zeros), `hospital`, clinical columns (`age` in years, `sex`,
        `stage`, `tumour_mm`, `ancestry`), `expr_*` in log2(TPM+1), `mut_*` (0, 1 or empty), `response`
        ("responder" or "non-responder"), `time` in months and `event` ("death" or "alive").

    Raises:
        UsageError: A hospital has no patient.
    """
    codes = rng.choice(100_000, size=sum(sizes.values()), replace=False)
    mixes = rng.permutation(np.linspace(-0.6, 0.6, len(sizes)))
    tables, used = [], 0
    for mix, (site, n) in zip(mixes, sizes.items(), strict=True):
        shift = rng.normal(0, 0.25, _FACTORS)
        patients = draw_patients(biology, n, rng, shift=shift)
        outcomes = draw_outcomes(biology, patients, rng, mix=float(mix))
        names = [f"{code:06d}" for code in codes[used : used + n]]
        used += n
        tables.append(_table(site, names, biology, patients, outcomes, rng))
    return pd.concat(tables, ignore_index=True)


def draw_outcomes(
    biology: Biology, patients: Patients, rng: np.random.Generator, *, mix: float
) -> pd.DataFrame:
    """Response, time in months and event of each patient; `mix` moves a hospital's log odds of response."""
    n = len(patients.age)
    odds = effect(biology, patients, biology.response) + mix
    responds = rng.random(n) < 1 / (1 + np.exp(-odds))
    # Weibull with shape 1.2: a hazard that rises slowly; censoring by calendar and by moving away.
    scale = 48 * np.exp(-effect(biology, patients, biology.hazard) / 1.2)
    death = scale * rng.weibull(1.2, n)
    censored = np.minimum(rng.uniform(15, 84, n), rng.exponential(160, n))
    return pd.DataFrame(
        {
            "response": np.where(responds, "responder", "non-responder"),
            "time": np.maximum(np.minimum(death, censored), 0.1).round(1),
            "event": np.where(death <= censored, "death", "alive"),
        }
    )


def _table(
    site: str,
    names: list[str],
    biology: Biology,
    patients: Patients,
    outcomes: pd.DataFrame,
    rng: np.random.Generator,
) -> pd.DataFrame:
    samples = rng.choice(3, size=len(names), p=_SAMPLES_SHARES) + 1
    rows = np.repeat(np.arange(len(names)), samples)
    again = patients.genes[rows] + rng.normal(0, 0.2, (len(rows), len(GENES)))
    expression = _with_gaps(measured(biology, again, rng, batch=0.35).round(3), 0.002, rng)
    mutated = pd.DataFrame(patients.mutated[rows], columns=list(MUTATIONS)).astype("Int64")
    if site == NOT_SEQUENCING:
        mutated[:] = pd.NA
    parts = [
        _clinical(site, names, patients, rng).iloc[rows].reset_index(drop=True),
        pd.DataFrame(expression, columns=list(GENES)),
        mutated,
        outcomes.iloc[rows].reset_index(drop=True),
    ]
    return pd.concat(parts, axis="columns")


def _clinical(site: str, names: list[str], patients: Patients, rng: np.random.Generator) -> pd.DataFrame:
    n = len(names)
    stage = np.array(STAGES, dtype=object)[patients.stage]
    stage[rng.random(n) < 0.04] = None
    millimetres = np.clip(np.exp(rng.normal(2.9 + 0.25 * patients.stage, 0.4)), 2, 250).round()
    return pd.DataFrame(
        {
            "patient": names,
            "hospital": site,
            "age": patients.age.astype(np.int64),
            "sex": np.where(patients.female, "female", "male"),
            "stage": stage,
            "tumour_mm": _with_gaps(millimetres, 0.06, rng),
            "ancestry": np.array(ANCESTRIES)[patients.ancestry],
        }
    )


def _with_gaps(values: Floats, share: float, rng: np.random.Generator) -> Floats:
    return np.where(rng.random(values.shape) < share, np.nan, values)
