"""What training for fairness is tried on: an invented consortium with a hospital that is different, and its arms.

Settings were written down here before the first run; none was tuned. Two mistakes of METABRIC's arms were mended after
it: the group was spelled `Pre`, which no patient has, and the reference loss was 2, above what any hospital starts from
(1.2 to 1.6), so that worst-site steps were too short.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.fairness import FairnessTerms
from wardround.common.study.outcomes import BinaryOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, SiteTerms, StudyTerms

SIZES: Final[Mapping[str, int]] = {"Alder": 160, "Cedar": 500, "Elm": 700, "Oak": 900}
DIFFERENT: Final = "Alder"
_SOURCE: Final = "constants of the imagined world"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train: a name for the page, and its terms."""

    name: str
    terms: FairnessTerms


def invented(rng: np.random.Generator, folder: Path) -> tuple[StudyProtocol, Path]:
    """Study and table of the consortium with a hospital that is different."""
    lines = ["patient,hospital,group,x,y,z,response"]
    count = 0
    for site, n in SIZES.items():
        x, y, z = rng.normal(size=(3, n))
        group = rng.random(n) < (0.7 if site == DIFFERENT else 0.15)
        # In group b and at the different hospital the outcome follows y instead of x.
        odds = 1.5 * np.where(group, 0.3 * x - y, x)
        happened = rng.random(n) < 1 / (1 + np.exp(-odds))
        for place in range(n):
            count += 1
            cells = (
                f"p{count:05d}",
                site,
                "b" if group[place] else "a",
                f"{x[place]:.4f}",
                f"{y[place]:.4f}",
            )
            lines.append(",".join([*cells, f"{z[place]:.4f}", "yes" if happened[place] else "no"]))
    (folder / "patients.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    weights = {site: float(n) for site, n in SIZES.items()}
    return _invented_study(weights), folder / "patients.csv"


def _invented_study(weights: Mapping[str, float]) -> StudyProtocol:
    sites = tuple(SiteTerms(name=name, weight=weight) for name, weight in weights.items())
    return StudyProtocol(
        study=StudyTerms(name="different-hospital", question="Who responds?", purpose="a demonstration"),
        outcome=BinaryOutcome(column="response", positive=("yes",), negative=("no",), source=_SOURCE),
        features=tuple(
            Feature(name=name, kind="continuous", low=-9, high=9, source=_SOURCE) for name in ("x", "y", "z")
        ),
        cohort=CohortTerms(patient_column="patient", test_fraction=0.4, subgroups=("group",)),
        privacy=PrivacyTerms(mechanism="none", source=_SOURCE),
        federation=FederationTerms(rounds=40, learning_rate=1.0, sites=sites),
    )


def invented_arms() -> tuple[Arm, ...]:
    """Plain, weights for the rare group, and two worst-site objectives."""
    return (
        Arm(name="plain", terms=FairnessTerms()),
        Arm(
            name="group weights",
            terms=FairnessTerms(group_column="group", groups=("b",), weights=(4.0,)),
        ),
        Arm(name="worst site, q = 1", terms=FairnessTerms(worst_site_q=1.0, reference_loss=0.6)),
        Arm(name="worst site, q = 4", terms=FairnessTerms(worst_site_q=4.0, reference_loss=0.6)),
    )


def metabric_arms() -> tuple[Arm, ...]:
    """Plain, weights for the smaller menopausal group, and two worst-site objectives."""
    return (
        Arm(name="plain", terms=FairnessTerms()),
        Arm(
            name="group weights",
            terms=FairnessTerms(group_column="INFERRED_MENOPAUSAL_STATE", groups=("pre",), weights=(3.0,)),
        ),
        Arm(name="worst site, q = 1", terms=FairnessTerms(worst_site_q=1.0, reference_loss=1.4)),
        Arm(name="worst site, q = 4", terms=FairnessTerms(worst_site_q=4.0, reference_loss=1.4)),
    )
