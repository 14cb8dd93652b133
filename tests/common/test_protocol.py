"""The protocol as a whole: sections that contradict each other, the digest, and what a round costs."""

from dataclasses import fields, replace
from typing import Any

import pytest

from wardround.common.errors import PrivacyError, ProtocolError, UsageError, WardroundError
from wardround.common.privacy.events import GaussianSteps, NonPrivate
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.fairness import FairnessTerms
from wardround.common.study.outcomes import BinaryOutcome, ContinuousOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import DRAFTED, Feature
from wardround.common.study.terms import (
    ROW_IS_PATIENT,
    CohortTerms,
    FederationTerms,
    InputTerms,
    ModelTerms,
    SiteTerms,
    StudyTerms,
)

AGE = Feature(name="age", kind="continuous", low=0.0, high=120.0, mean=60.0, sd=10.0, source="registry")
GENE = Feature(
    name="expr_A", kind="continuous", modality="expression", low=0.0, high=20.0, mean=5.0, source="registry"
)
RESPONSE = BinaryOutcome(column="response", positive=("yes",), negative=("no",), source="s")
SURVIVAL = SurvivalOutcome(
    time_column="t",
    event_column="e",
    event_values=("1",),
    censored_values=("0",),
    unit="days",
    high=4000.0,
    cut_points=(365.0, 730.0),
    source="s",
)
NOISE = PrivacyTerms(mechanism="site-noise", noise_multiplier=7.617, sample_rate=0.5)
OPEN = PrivacyTerms(mechanism="none")
TERMS: dict[str, Any] = {
    "study": StudyTerms(name="one", question="q", purpose="p"),
    "outcome": RESPONSE,
    "features": (AGE, GENE),
    "cohort": CohortTerms(patient_column="pid"),
    "privacy": NOISE,
}
REFUSED: list[tuple[dict[str, Any], type[WardroundError], str]] = [
    ({"features": ()}, ProtocolError, "at least one"),
    ({"features": (AGE, AGE)}, ProtocolError, "none twice"),
    ({"features": (replace(AGE, name="response"),)}, ProtocolError, "outcome itself"),
    ({"outcome": SURVIVAL, "features": (replace(AGE, name="e"),)}, ProtocolError, "outcome itself"),
    ({"cohort": CohortTerms(patient_column="age")}, ProtocolError, "patient column"),
    ({"cohort": CohortTerms(patient_column="response")}, ProtocolError, "patient column"),
    (
        {"cohort": CohortTerms(patient_column="pid", optional_modalities=("protein",))},
        ProtocolError,
        "protein, which no feature has",
    ),
    ({"privacy": OPEN, "model": ModelTerms(loss="cox")}, ProtocolError, "survival outcome"),
    ({"outcome": SURVIVAL, "model": ModelTerms(loss="cox")}, PrivacyError, "couples patients"),
    ({"seed": 1}, PrivacyError, "give away the noise"),
    ({"model": ModelTerms(kind="mlp", hidden=(4, 4, 4))}, PrivacyError, "at most 2 hidden layers"),
    ({"cohort": CohortTerms(patient_column=ROW_IS_PATIENT)}, PrivacyError, "which rows are one patient"),
    ({"privacy": OPEN, "seed": -1}, UsageError, "seed >= 0"),
    (
        {"federation": FederationTerms(quorum=2, sites=(SiteTerms(name="a"),))},
        ProtocolError,
        "quorum 2 is above the 1",
    ),
]


def protocol(**change: Any) -> StudyProtocol:
    """A small complete study, changed."""
    return StudyProtocol(**{**TERMS, **change})


@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_sections_that_contradict_each_other_are_refused(
    change: dict[str, Any], error: type[WardroundError], message: str
) -> None:
    with pytest.raises(error, match=message):
        protocol(**change)


def test_the_cox_loss_and_a_seed_are_accepted_without_a_mechanism() -> None:
    study = protocol(privacy=OPEN, outcome=SURVIVAL, model=ModelTerms(loss="cox"), seed=42)
    assert not study.private


def test_rows_can_stand_for_patients_only_without_a_mechanism() -> None:
    study = protocol(privacy=OPEN, cohort=CohortTerms(patient_column=ROW_IS_PATIENT))
    with pytest.raises(PrivacyError, match="which rows are one patient"):
        study.with_privacy(NOISE)


def test_equal_terms_have_one_digest() -> None:
    assert protocol().digest == protocol().digest
    assert len(protocol().digest) == 64


def test_zero_has_one_sign_in_the_digest() -> None:
    signed = replace(AGE, low=-0.0)
    assert protocol(features=(signed, GENE)).digest == protocol().digest


def test_whole_numbers_and_the_same_decimals_have_one_digest() -> None:
    whole = replace(AGE, low=0, high=120, mean=60, sd=10)
    assert protocol(features=(whole, GENE)).digest == protocol().digest


CHANGED: list[dict[str, Any]] = [
    {"study": StudyTerms(name="two", question="q", purpose="p")},
    {"study": StudyTerms(name="one", question="Q", purpose="p")},
    {"outcome": replace(RESPONSE, positive=("Yes",))},
    {"outcome": SURVIVAL},
    {"features": (GENE, AGE)},
    {"features": (AGE, replace(GENE, sd=1.0000000000000002))},
    {"features": (replace(AGE, source="textbook"), GENE)},
    {"cohort": CohortTerms(patient_column="patient")},
    {"inputs": InputTerms(norm="unit")},
    {"model": ModelTerms(l2=0.1)},
    {"federation": FederationTerms(rounds=31)},
    {"federation": FederationTerms(sites=(SiteTerms(name="a"),))},
    {"privacy": replace(NOISE, noise_multiplier=7.618)},
    {"privacy": OPEN},
    {"privacy": OPEN, "fairness": FairnessTerms(worst_site_q=1.0)},
    {"privacy": OPEN, "fairness": FairnessTerms(worst_site_q=1.0, reference_loss=0.5)},
    {"privacy": OPEN, "seed": 1},
    {"privacy": OPEN, "seed": 2**53},
    {"privacy": OPEN, "seed": 2**53 + 1},
]


def test_every_change_of_a_term_changes_the_digest() -> None:
    digests = {protocol().digest, *(protocol(**change).digest for change in CHANGED)}
    assert len(digests) == len(CHANGED) + 1


@pytest.mark.parametrize(
    "name",
    [each.name for each in fields(StudyProtocol) if each.name not in ("seed", "evaluation", "monitoring")],
)
def test_every_section_is_in_the_signed_bytes(name: str) -> None:
    # Fairness came later: it is written where it says something, so that older studies keep their digest.
    fair = protocol(privacy=OPEN, fairness=FairnessTerms(worst_site_q=1.0))
    assert f'"{name}":'.encode() in fair.canonical_bytes()


def test_outcomes_of_the_same_fields_but_another_kind_are_other_studies() -> None:
    assert b'"outcome_kind":"binary"' in protocol().canonical_bytes()
    assert b'"outcome_kind":"survival"' in protocol(outcome=SURVIVAL).canonical_bytes()


def test_a_round_costs_its_noisy_steps() -> None:
    study = protocol(federation=FederationTerms(local_steps=4))
    assert study.event() == GaussianSteps(noise_multiplier=7.617, sample_rate=0.5, steps=4)


def test_a_round_without_a_mechanism_has_no_guarantee() -> None:
    assert protocol(privacy=OPEN).event() == NonPrivate()


def test_a_site_can_have_its_own_public_size() -> None:
    sites = (SiteTerms(name="north", reference_patients=500), SiteTerms(name="south"))
    study = protocol(federation=FederationTerms(sites=sites))
    assert [study.reference_patients(site) for site in ("north", "south", "west")] == [500, 200, 200]


@pytest.mark.parametrize(
    "change",
    [
        {"features": (AGE, replace(GENE, source=DRAFTED))},
        {"privacy": replace(NOISE, source=DRAFTED)},
        {"inputs": InputTerms(source=DRAFTED)},
        {"outcome": replace(RESPONSE, source=DRAFTED)},
    ],
)
def test_one_drafted_constant_marks_the_study(change: dict[str, Any]) -> None:
    assert not protocol().drafted
    assert protocol(**change).drafted


def test_other_privacy_terms_make_another_study() -> None:
    seeded = protocol(privacy=OPEN, seed=3)
    private = seeded.with_privacy(NOISE)
    assert private.seed is None
    assert private.digest == protocol().digest
    assert protocol().with_privacy(OPEN).digest == protocol(privacy=OPEN).digest


def test_the_columns_of_an_outcome() -> None:
    number = ContinuousOutcome(
        column="tumour", unit="mm", low=0.0, high=90.0, mean=20.0, sd=9.0, source="registry"
    )
    assert protocol(outcome=number).outcome_columns == ("tumour",)
    assert protocol(outcome=SURVIVAL).outcome_columns == ("t", "e")
