"""The four real studies by which joint noise is measured, and what each arm of the comparison trains.

Settings come from `joint_recipe`, which was fixed on synthetic worlds before; no arm is tuned. Moments of inputs come
from cohorts outside the study, which each protocol names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.joint_recipe import CLIPPING, joint_recipe
from wardround.simulations.real_cases import METABRIC, PANCAN

STUDIES: Final = Path(__file__).parent / "studies" / "joint"

PLAIN_ROUNDS: Final = 300
PLAIN_STEP: Final = 4.0
"""Learning rate without privacy, in units of 1 / R^2; converges on every study here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilityCase:
    """One study over one grouping of patients.

    Attributes:
        name: In the table.
        study: Protocol in `simulations/studies/joint`, without `.toml`.
        table: Inside the data folder.
        site_column: Names the site.
        metric: What is compared, on all held-out patients together.
        grouping: `column`: as in the table. `region`: hospitals with at least 20 patients, joined by region.
    """

    name: str
    study: str
    table: str
    site_column: str
    metric: str
    grouping: str = "column"


CASES: Final = (
    UtilityCase(
        name="METABRIC PAM50",
        study="metabric-pam50-joint",
        table=METABRIC,
        site_column="COHORT",
        metric="auc",
    ),
    UtilityCase(
        name="METABRIC survival",
        study="metabric-survival-joint",
        table=METABRIC,
        site_column="COHORT",
        metric="c_index",
    ),
    UtilityCase(
        name="pan-cancer MSI by region",
        study="pancan-msi-joint",
        table=PANCAN,
        site_column="region",
        metric="auc",
        grouping="region",
    ),
    UtilityCase(
        name="pan-cancer MSI by hospital",
        study="pancan-msi-joint",
        table=PANCAN,
        site_column="tss",
        metric="auc",
    ),
)


def declared(protocol: StudyProtocol, sites: Sequence[str]) -> int:
    """Declared training patients of all sites together."""
    return sum(protocol.reference_patients(site) for site in sites)


def joint_arm(protocol: StudyProtocol, sites: Sequence[str], *, epsilon: float) -> StudyProtocol:
    """The study with joint noise at an epsilon, against everybody but K - 1 honest sites."""
    length = protocol.privacy.clipping_norm / CLIPPING
    delta, honest = protocol.privacy.delta, len(sites) - 1
    recipe = joint_recipe(epsilon=epsilon, delta=delta, patients=declared(protocol, sites), length=length)
    noise = joint_noise_multiplier_for(
        epsilon=epsilon, delta=delta, steps=recipe.rounds, honest=honest, coordinates=LARGEST_SUM
    )
    return replace(
        protocol,
        privacy=replace(protocol.privacy, noise_multiplier=noise, honest_sites=honest),
        federation=replace(protocol.federation, rounds=recipe.rounds, learning_rate=recipe.learning_rate),
    )


def central_noise(joint: StudyProtocol, *, epsilon: float) -> float:
    """The noise multiplier of central DP-SGD with the same steps."""
    rounds, delta = joint.federation.rounds, joint.privacy.delta
    return noise_multiplier_for(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=rounds)


def site_arm(joint: StudyProtocol, sites: Sequence[str], *, epsilon: float) -> StudyProtocol:
    """The same steps where every site's noise protects its patients alone; weights are declared sizes."""
    terms = replace(
        joint.privacy,
        mechanism="site-noise",
        noise_multiplier=central_noise(joint, epsilon=epsilon),
        honest_sites=0,
    )
    listed = tuple(replace(s, weight=float(joint.reference_patients(s.name))) for s in joint.federation.sites)
    return replace(joint, privacy=terms, federation=replace(joint.federation, sites=listed))


def plain_arm(protocol: StudyProtocol) -> StudyProtocol:
    """The same model and inputs without privacy, trained to convergence."""
    length = protocol.privacy.clipping_norm / CLIPPING
    terms = PrivacyTerms(mechanism="none", delta=protocol.privacy.delta, source=protocol.privacy.source)
    federation = replace(
        protocol.federation, rounds=PLAIN_ROUNDS, learning_rate=PLAIN_STEP / length**2, sites=()
    )
    return replace(protocol, privacy=terms, federation=federation)
