"""The two studies of the demo, and the files that a demo run starts from.

Every public constant comes from the simulated public reference cohort or from what hospitals declare about
themselves in round numbers; none is computed from the consortium's patients. Mechanisms, rounds and learning rates
stand in `demo_arms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from wardround.common.durable import write_atomic
from wardround.common.formats import digest
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, SiteTerms, StudyTerms
from wardround.common.study.writer import dumps
from wardround.simulations.consortium import GENES, MUTATIONS, STAGES, draw_biology, generate
from wardround.simulations.demo_arms import arms, with_site_noise
from wardround.simulations.reference import SOURCE, PublicReference, public_reference

EPSILON: Final = 3.0
DELTA: Final = 1e-5
TEST_FRACTION: Final = 0.5
"""Half of the patients are held out: with fewer, intervals would hide what the demo is to show."""

DECLARED: Final[Mapping[str, int]] = {"Alder": 60, "Birch": 100, "Cedar": 200, "Dogwood": 300, "Elm": 600}
"""What each hospital says in public about its size: round, and not counted from its table."""

RESPONSE: Final = BinaryOutcome(
    column="response", positive=("responder",), negative=("non-responder",), source=SOURCE
)
SURVIVAL: Final = SurvivalOutcome(
    time_column="time",
    event_column="event",
    event_values=("death",),
    censored_values=("alive",),
    unit="months",
    high=180.0,
    cut_points=(6.0, 12.0, 18.0, 24.0, 36.0, 48.0, 60.0),
    source="cut points fixed in advance: half-yearly for two years, then yearly",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFiles:
    """Where `write_demo` put things.

    Attributes:
        table: All hospitals' samples, with the column `hospital`.
        arms: Label of a mechanism to study name to its protocol; see `demo_arms.arms`.
    """

    table: Path
    arms: Mapping[str, Mapping[str, Path]]

    @property
    def private(self) -> Mapping[str, Path]:
        """Study name to the protocol with `site-noise` at `EPSILON`: it counts on nobody."""
        return self.arms[f"site noise, epsilon {EPSILON:g}"]

    @property
    def unprotected(self) -> Mapping[str, Path]:
        """Study name to the same study with mechanism `none`."""
        return self.arms["without privacy"]


def studies(reference: PublicReference, *, loadings_sha256: str) -> dict[str, StudyProtocol]:
    """The two studies with `site-noise` at `EPSILON`, by name: treatment response, and survival.

    Args:
        reference: Where the constants come from.
        loadings_sha256: Digest of `loadings.csv` beside the protocols.
    """
    questions = {
        "demo-response": "Who responds to treatment?",
        "demo-survival": "How long do patients live after diagnosis?",
    }
    outcomes: tuple[Outcome, ...] = (RESPONSE, SURVIVAL)
    return {
        name: with_site_noise(
            _protocol(_study(name, question), outcome, reference, loadings_sha256), epsilon=EPSILON
        )
        for (name, question), outcome in zip(questions.items(), outcomes, strict=True)
    }


def write_demo(folder: Path, rng: np.random.Generator, *, seed: int | None = None) -> DemoFiles:
    """Draw a world and write the table, the loadings and a protocol for each study and mechanism.

    Args:
        folder: An existing folder.
        rng: Draws the world, the public reference and the patients.
        seed: Of the unprotected protocols, so that their runs can be repeated.

    Raises:
        StorageError: The folder cannot be written.
    """
    biology = draw_biology(rng)
    reference = public_reference(rng, biology=biology)
    loadings = reference.loadings.to_csv(lineterminator="\n").encode()
    write_atomic(folder / "loadings.csv", loadings)
    table = folder / "consortium.csv.gz"
    # mtime 0: equal tables give equal files, and so equal data digests.
    generate(rng, biology=biology).to_csv(table, index=False, compression={"method": "gzip", "mtime": 0})
    written: dict[str, dict[str, Path]] = {}
    for name, protocol in studies(reference, loadings_sha256=digest(loadings)).items():
        for label, arm in arms(protocol, seed=seed).items():
            path = folder / f"{file_name(name, label)}.toml"
            write_atomic(path, dumps(arm).encode())
            written.setdefault(label, {})[name] = path
    return DemoFiles(table=table, arms=written)


def file_name(study: str, label: str) -> str:
    """The name of a study under a mechanism, for files and folders.

    >>> file_name("demo-response", "joint noise, epsilon 1")
    'demo-response-joint-noise-epsilon-1'
    """
    return "-".join([study, *label.replace(",", "").split()])


def _study(name: str, question: str) -> StudyTerms:
    return StudyTerms(
        name=name,
        question=question,
        purpose="demonstration on simulated patients",
        notes=("Every patient, hospital and gene of this study is simulated.",),
    )


def _protocol(
    study: StudyTerms, outcome: Outcome, reference: PublicReference, loadings_sha256: str
) -> StudyProtocol:
    return StudyProtocol(
        study=study,
        outcome=outcome,
        features=(*_clinical(), *_expression(reference), *_mutations(reference)),
        cohort=CohortTerms(
            patient_column="patient",
            minimum_patients=30,
            minimum_per_class=5,
            optional_modalities=("mutation",),
            test_fraction=TEST_FRACTION,
            subgroups=("sex", "ancestry"),
        ),
        privacy=PrivacyTerms(mechanism="none", delta=DELTA, source=SOURCE),
        inputs=InputTerms(
            norm="unit", loadings="loadings.csv", loadings_sha256=loadings_sha256, source=SOURCE
        ),
        federation=_federation(),
    )


def _federation() -> FederationTerms:
    training_share = 1 - TEST_FRACTION
    sites = tuple(
        SiteTerms(name=name, weight=float(size), reference_patients=round(size * training_share))
        for name, size in DECLARED.items()
    )
    return FederationTerms(attempts=2, sites=sites)


def _clinical() -> tuple[Feature, ...]:
    return (
        Feature(name="age", kind="continuous", unit="years", low=0, high=120, mean=62, sd=11, source=SOURCE),
        Feature(
            name="sex",
            kind="binary",
            categories=("female", "male"),
            mean=0.45,
            sd=0.5,
            source=SOURCE,
        ),
        Feature(name="stage", kind="categorical", categories=STAGES, missing="indicator", source=SOURCE),
        Feature(
            name="tumour_mm",
            kind="continuous",
            unit="mm",
            low=0,
            high=500,
            transform="log1p",
            mean=3.28,
            sd=0.47,
            missing="indicator",
            source=SOURCE,
        ),
    )


def _expression(reference: PublicReference) -> tuple[Feature, ...]:
    moments = zip(GENES, reference.mean, reference.sd, strict=True)
    return tuple(
        Feature(
            name=name,
            kind="continuous",
            modality="expression",
            unit="log2(TPM+1)",
            low=0,
            high=20,
            mean=round(float(mean), 6),
            sd=round(float(sd), 6),
            source=SOURCE,
        )
        for name, mean, sd in moments
    )


def _mutations(reference: PublicReference) -> tuple[Feature, ...]:
    return tuple(
        Feature(
            name=name,
            kind="binary",
            modality="mutation",
            mean=round(float(rate), 6),
            sd=round(float(np.sqrt(rate * (1 - rate))), 6),
            source=SOURCE,
        )
        for name, rate in zip(MUTATIONS, reference.mutation_rates, strict=True)
    )
