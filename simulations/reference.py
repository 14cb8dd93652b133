"""Public knowledge of the imagined world: reference moments, loadings and a gene panel.

A study may use what was published before it started. Here a reference cohort is drawn that shares the biology
but no patient and no laboratory with the consortium, and from it come the constants of the demo's protocols:
mean and spread per gene, and loadings that turn 200 genes into 12 principal components and a short panel.
Few inputs in front of the noise is what makes small hospitals' private training work.

Source: whitened principal components (Jolliffe 2002); the choice of few public inputs follows Tramer and
Boneh (2021), "Differentially private learning needs better features".
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from wardround.common.checks import positive
from wardround.simulations.consortium import GENES, Biology, Floats, draw_patients, measured

SOURCE: Final = "simulated public reference cohort; none of its patients is in the consortium"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicReference:
    """What may be known in public before the study.

    Attributes:
        mean: Shape (genes,), log2(TPM+1).
        sd: Shape (genes,), > 0.
        mutation_rates: Shape (mutations,), kept within [.02, .98].
        loadings: One row per gene, one column per component; acts on standardised genes and gives components
            of variance about 1.
    """

    mean: Floats
    sd: Floats
    mutation_rates: Floats
    loadings: pd.DataFrame


def public_reference(
    rng: np.random.Generator,
    *,
    biology: Biology,
    laboratories: int = 3,
    patients: int = 400,
    components: int = 12,
    panel: int = 12,
) -> PublicReference:
    """Draw a reference cohort and publish its moments and loadings.

    Args:
        rng: The only source of chance.
        biology: The world that it shares with a consortium.
        laboratories: Other laboratories that measured it, each with its own batch effect.
        patients: Per laboratory.
        components: Principal components to publish.
        panel: Genes to pass on one by one; two thirds truly bear on the outcomes.

    Raises:
        UsageError: A count is not positive.
    """
    positive(laboratories=laboratories, patients=patients, components=components, panel=panel)
    drawn = [draw_patients(biology, patients, rng) for _ in range(laboratories)]
    read = [measured(biology, cohort.genes, rng, batch=0.35) for cohort in drawn]
    # Spread within laboratories: the shift between them is not biology.
    centred = np.concatenate([table - table.mean(axis=0) for table in read])
    sd = centred.std(axis=0)
    return PublicReference(
        mean=np.concatenate(read).mean(axis=0),
        sd=sd,
        mutation_rates=np.clip(np.mean([c.mutated.mean(axis=0) for c in drawn], axis=0), 0.02, 0.98),
        loadings=_loadings(centred / sd, _panel(biology, panel, rng), components),
    )


def _panel(biology: Biology, size: int, rng: np.random.Generator) -> list[int]:
    known = rng.choice(biology.markers, size=min(2 * size // 3, len(biology.markers)), replace=False)
    others = np.setdiff1d(np.arange(len(GENES)), biology.markers)
    rest = rng.choice(others, size=size - len(known), replace=False)
    return sorted(int(gene) for gene in (*known, *rest))


def _loadings(standardised: Floats, panel: list[int], components: int) -> pd.DataFrame:
    rows = len(standardised)
    _, singular, directions = np.linalg.svd(standardised, full_matrices=False)
    # The sign of a singular vector is arbitrary and differs between libraries; fix it.
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    whitened = (directions * (signs * np.sqrt(rows) / singular)[:, None])[:components]
    names = [f"PC{number:02d}" for number in range(1, components + 1)]
    table = pd.DataFrame(whitened.T.round(8), index=pd.Index(GENES, name="feature"), columns=names)
    for gene in panel:
        table[f"panel_{GENES[gene].removeprefix('expr_')}"] = np.eye(len(GENES))[gene]
    return table
