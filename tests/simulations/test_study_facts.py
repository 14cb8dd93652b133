"""What `study check` computes: sizes, epsilon of the whole study, noise, and warnings."""

import math
from dataclasses import replace
from typing import Any

import pytest

from wardround.common.privacy.accounting import gaussian_epsilon
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import JointGaussianSteps
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.study.draft import TO_WRITE
from wardround.common.study.outcomes import BinaryOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import DRAFTED, Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, ModelTerms, SiteTerms, StudyTerms
from wardround.simulations.observers import JOINT as JOINT_OBSERVERS
from wardround.simulations.study_facts import study_facts, warnings

NOISE = PrivacyTerms(mechanism="site-noise", noise_multiplier=10.0, reference_patients=500)
STAGE = Feature(name="stage", kind="categorical", categories=("I", "II", "III"), source="s")
GENES = tuple(
    Feature(name=f"expr_{number}", kind="continuous", modality="expression", low=0.0, high=20.0, source="s")
    for number in range(9)
)


def protocol(**change: Any) -> StudyProtocol:
    """A study of twelve inputs, changed."""
    terms: dict[str, Any] = {
        "study": StudyTerms(name="one", question="q", purpose="p"),
        "outcome": BinaryOutcome(column="y", positive=("1",), negative=("0",), source="s"),
        "features": (STAGE, *GENES),
        "cohort": CohortTerms(patient_column="pid"),
        "privacy": NOISE,
        "federation": FederationTerms(rounds=25, attempts=4),
    }
    return StudyProtocol(**{**terms, **change})


def test_sizes_of_a_linear_model() -> None:
    facts = study_facts(protocol(), None)
    assert facts.modalities == {"clinical": 1, "expression": 9}
    assert (facts.inputs, facts.parameters) == (12, 13)


def test_sizes_of_an_mlp_and_of_a_hazard_head() -> None:
    assert study_facts(protocol(model=ModelTerms(kind="mlp", hidden=(8,))), None).parameters == 12 * 8 + 8 + 9
    survival = SurvivalOutcome(
        time_column="t",
        event_column="e",
        event_values=("1",),
        censored_values=("0",),
        unit="days",
        high=4000.0,
        cut_points=(365.0, 730.0, 1095.0),
        source="s",
    )
    assert study_facts(protocol(outcome=survival), None).parameters == 12 + 3


def test_epsilon_of_the_whole_study_is_the_closed_form_for_one_and_for_all_attempts() -> None:
    facts = study_facts(protocol(), None)
    for cost, mu in ((facts.planned, math.sqrt(25) / 10), (facts.worst, math.sqrt(100) / 10)):
        exact = gaussian_epsilon(mu, 1e-5)
        replaced = gaussian_epsilon(2 * mu, 1e-5)
        assert exact <= cost["add-or-remove"] <= exact + 2e-4
        assert replaced <= cost["replace-one"] <= replaced + 2e-4


def test_epsilon_without_a_mechanism_is_infinite_and_null_in_json() -> None:
    facts = study_facts(protocol(privacy=PrivacyTerms(mechanism="none")), None)
    assert facts.worst["add-or-remove"] == math.inf
    assert facts.as_json()["epsilon_worst"] == {"add-or-remove": None, "replace-one": None}


def test_noise_is_stated_against_the_average_gradient() -> None:
    assert study_facts(protocol(), None).noise_norm == pytest.approx(10.0 * math.sqrt(13) / 500)
    sampled = protocol(privacy=replace(NOISE, sample_rate=0.1))
    assert study_facts(sampled, None).noise_norm == pytest.approx(10.0 * math.sqrt(13) / 50)


JOINT = PrivacyTerms(mechanism="joint-noise", noise_multiplier=12.0, honest_sites=3, reference_patients=100)
FIVE = tuple(
    SiteTerms(name=name, reference_patients=n)
    for name, n in zip("abcde", (50, 100, 150, 200, 300), strict=True)
)


def joint(**federation: Any) -> StudyProtocol:
    terms = {"rounds": 25, "attempts": 4, "sites": FIVE, **federation}
    return protocol(privacy=JOINT, federation=FederationTerms(**terms))


@pytest.mark.parametrize(("change", "sites"), [({}, 5), ({"quorum": 4}, 4), ({"sites": ()}, 4)])
def test_joint_noise_costs_what_each_coalition_sees_in_the_smallest_sum(
    change: dict[str, Any], sites: int
) -> None:
    facts = study_facts(joint(**change), None)
    assert [each.observer for each in facts.observers] == list(JOINT_OBSERVERS)
    for releases, costs in (
        (25, [each.planned for each in facts.observers]),
        (100, [each.worst for each in facts.observers]),
    ):
        event = JointGaussianSteps(noise_multiplier=12.0, honest=3, coordinates=LARGEST_SUM, steps=releases)
        for relation in ("add-or-remove", "replace-one"):
            known = joint_epsilons(event, sites=sites, delta=1e-5, relation=relation)
            found = [cost[relation] for cost in costs]
            assert found == [known.server, known.participant, known.tolerated, known.everyone_else]
    assert facts.planned == facts.observers[2].planned
    assert facts.worst == facts.observers[2].worst


def test_joint_noise_is_stated_against_the_mean_over_all_patients() -> None:
    facts = study_facts(joint(), None)
    total = 12.0 * math.sqrt(5 / 3) * math.sqrt(13)  # five shares, of which three carry noise multiplier 12
    assert facts.noise_norm == pytest.approx(total / 800)
    assert facts.noise_study == pytest.approx(total / 800 / 5)


def test_the_smallest_site_is_the_one_whose_noise_is_stated() -> None:
    listed = protocol(federation=FederationTerms(rounds=25, sites=FIVE))
    assert study_facts(listed, None).noise_norm == pytest.approx(10.0 * math.sqrt(13) / 50)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"privacy": PrivacyTerms(mechanism="none")}, "no privacy"),
        ({"features": (replace(STAGE, source=DRAFTED), *GENES)}, "constants of 1 features were drafted"),
        ({"privacy": replace(NOISE, source=DRAFTED)}, "constants of 0 features, privacy were drafted"),
        ({"study": StudyTerms(name="one", question=TO_WRITE, purpose="p")}, "not written yet"),
        ({"study": StudyTerms(name="one", question="q", purpose=TO_WRITE)}, "not written yet"),
        ({"privacy": replace(NOISE, reference_patients=20)}, "norm 1.8"),
        ({"privacy": replace(NOISE, noise_multiplier=0.5)}, "protects little"),
        ({"privacy": replace(NOISE, delta=1e-3)}, "delta 0.001 is large"),
        ({"federation": FederationTerms(batch_size=32)}, "batch_size has no effect"),
        ({"privacy": JOINT, "federation": FederationTerms(batch_size=32)}, "no effect with joint-noise"),
        ({"privacy": JOINT, "federation": FederationTerms(rounds=5)}, "no sites are listed"),
        ({"privacy": replace(NOISE, reference_patients=2)}, "the model will be noise"),
    ],
)
def test_each_doubt_is_named(change: dict[str, Any], word: str) -> None:
    facts = study_facts(protocol(**change), None)
    assert [text for text in warnings(facts) if word in text]


def test_a_study_without_doubts_has_no_warnings() -> None:
    assert list(warnings(study_facts(protocol(), None))) == []
