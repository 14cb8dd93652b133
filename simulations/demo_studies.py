"""The two studies of the demo, and the files that a demo run starts from.

Every public constant comes from the simulated public reference cohort or from what hospitals declare about
themselves in round numbers; none is computed from the consortium's patients. Rounds and learning rates were
chosen on eight other simulated worlds, never on the one that the demo runs on.

Source: rounds, unit-norm inputs and clipping norm 1 follow De et al. (2022), "Unlocking high-accuracy
differentially private image classification through scale", at hospital sizes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from wardround.common.durable import write_atomic
from wardround.common.formats import digest
from wardround.common.privacy.calibration import noise_multiplier_for
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, SiteTerms, StudyTerms
from wardround.common.study.writer import dumps
from wardround.simulations.consortium import GENES, MUTATIONS, STAGES, draw_biology, generate
from wardround.simulations.reference import SOURCE, PublicReference, public_reference

EPSILON: Final = 3.0
DELTA: Final = 1e-5
TEST_FRACTION: Final = 0.35

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
        private: Study name to the protocol with mechanism `site-noise`.
        unprotected: Study name to the same study with mechanism `none`.
    """

    table: Path
    private: Mapping[str, Path]
    unprotected: Mapping[str, Path]


def studies(reference: PublicReference, *, loadings_sha256: str) -> dict[str, StudyProtocol]:
    """The two private protocols, by study name: treatment response, and survival.

    Args:
        reference: Where the constants come from.
        loadings_sha256: Digest of `loadings.csv` beside the protocols.
    """
    questions = {
        "demo-response": "Who responds to treatment?",
        "demo-survival": "How long do patients live after diagnosis?",
    }
    response = _protocol(RESPONSE, reference, loadings_sha256, _federation(rounds=30, learning_rate=5.0))
    survival = _protocol(SURVIVAL, reference, loadings_sha256, _federation(rounds=40, learning_rate=3.0))
    named = zip(questions.items(), (response, survival), strict=True)
    return {name: replace(protocol, study=_study(name, question)) for (name, question), protocol in named}


def without_privacy(protocol: StudyProtocol, *, seed: int | None = None) -> StudyProtocol:
    """The same study with mechanism `none`: for public or synthetic patients only."""
    terms = PrivacyTerms(
        mechanism="none", delta=DELTA, reference_patients=protocol.privacy.reference_patients, source=SOURCE
    )
    return replace(protocol.with_privacy(terms), seed=seed)


def write_demo(folder: Path, rng: np.random.Generator, *, seed: int | None = None) -> DemoFiles:
    """Draw a world and write the table, the loadings and four protocols.

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
    private = studies(reference, loadings_sha256=digest(loadings))
    unprotected = {name: without_privacy(protocol, seed=seed) for name, protocol in private.items()}
    return DemoFiles(
        table=table,
        private=_write(folder, private, suffix=""),
        unprotected=_write(folder, unprotected, suffix="-without-privacy"),
    )


def _write(folder: Path, protocols: Mapping[str, StudyProtocol], *, suffix: str) -> dict[str, Path]:
    paths = {name: folder / f"{name}{suffix}.toml" for name in protocols}
    for name, path in paths.items():
        write_atomic(path, dumps(protocols[name]).encode())
    return paths


def _study(name: str, question: str) -> StudyTerms:
    return StudyTerms(
        name=name,
        question=question,
        purpose="demonstration on simulated patients",
        notes=("Every patient, hospital and gene of this study is simulated.",),
    )


def _protocol(
    outcome: Outcome, reference: PublicReference, loadings_sha256: str, federation: FederationTerms
) -> StudyProtocol:
    return StudyProtocol(
        study=_study("demo", "to be named"),
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
        privacy=_private_terms(steps=federation.rounds * federation.local_steps),
        inputs=InputTerms(
            norm="unit", loadings="loadings.csv", loadings_sha256=loadings_sha256, source=SOURCE
        ),
        federation=federation,
    )


def _private_terms(*, steps: int) -> PrivacyTerms:
    noise = noise_multiplier_for(epsilon=EPSILON, delta=DELTA, sample_rate=1.0, steps=steps)
    return PrivacyTerms(
        mechanism="site-noise",
        clipping_norm=1.0,
        noise_multiplier=noise,
        sample_rate=1.0,
        delta=DELTA,
        source="calibrated in advance to epsilon 3 over all rounds",
    )


def _federation(*, rounds: int, learning_rate: float) -> FederationTerms:
    training_share = 1 - TEST_FRACTION
    sites = tuple(
        SiteTerms(name=name, weight=float(size), reference_patients=round(size * training_share))
        for name, size in DECLARED.items()
    )
    return FederationTerms(rounds=rounds, attempts=2, learning_rate=learning_rate, sites=sites)


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
