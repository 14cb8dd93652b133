"""Plans hold what they promise when the study is written, and a study never becomes less honest by being planned."""

from dataclasses import replace
from typing import Any

import pytest

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.accounting import epsilon, second_opinion
from wardround.common.privacy.events import GaussianSteps, times
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import loads
from wardround.common.study.schema import DRAFTED, Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, SiteTerms, StudyTerms
from wardround.common.study.writer import dumps
from wardround.simulations.study_plan import Noisy, Option, Wish, changes, chosen, options, public_terms

SIZES = {"Alder": 40, "Birch": 100, "Cedar": 200, "Dogwood": 300}
SITES = tuple(SiteTerms(name=name, weight=float(n), reference_patients=n) for name, n in SIZES.items())


def protocol(**change: Any) -> StudyProtocol:
    terms: dict[str, Any] = {
        "study": StudyTerms(name="one", question="q", purpose="p"),
        "outcome": BinaryOutcome(column="y", positive=("1",), negative=("0",), source="s"),
        "features": (Feature(name="age", kind="continuous", low=0, high=120, source="s"),),
        "cohort": CohortTerms(patient_column="pid"),
        "privacy": PrivacyTerms(mechanism="site-noise", noise_multiplier=9.0, source="s"),
        "federation": FederationTerms(rounds=20, attempts=3, local_steps=2, sites=SITES),
    }
    return StudyProtocol(**{**terms, **change})


def one(study: StudyProtocol, **wish: Any) -> Option:
    (option,) = options(study, Wish(**wish), coordinates=30)
    return option


def reserved(study: StudyProtocol) -> float:
    releases = study.federation.rounds * study.federation.attempts
    return epsilon(times(study.event(), releases), study.privacy.delta)


@pytest.mark.parametrize("mechanism", ["joint-noise", "site-noise"])
@pytest.mark.parametrize("target", [0.7, 1.0, 3.0, 8.0])
def test_the_written_study_reserves_at_most_the_target_and_a_thousandth_less_noise_would_not(
    mechanism: Noisy, target: float
) -> None:
    study = chosen(protocol(), one(protocol(), mechanisms=(mechanism,), epsilons=(target,)))
    assert study.privacy.mechanism == mechanism
    assert reserved(study) <= target
    less = replace(study.privacy, noise_multiplier=round(study.privacy.noise_multiplier - 0.001, 3))
    assert reserved(study.with_privacy(less)) > target


@pytest.mark.parametrize("mechanism", ["joint-noise", "site-noise"])
def test_what_is_planned_is_what_the_study_will_charge(mechanism: Noisy) -> None:
    option = one(protocol(), mechanisms=(mechanism,), noises=(12.5,), rounds=(7,), attempts=2)
    study = chosen(protocol(), option)
    assert option.terms.event(12.5) == study.event()
    assert option.found is not None
    claimed = next(row for row in option.found.costs if row.shares == option.terms.honest)
    assert (claimed.spent, claimed.reserved) == (epsilon(times(study.event(), 7), 1e-5), reserved(study))
    steps = 14 * study.federation.local_steps
    oracle = second_opinion([GaussianSteps(noise_multiplier=12.5, sample_rate=1.0, steps=steps)], 1e-5)
    assert claimed.reserved == pytest.approx(oracle, abs=2e-3)


def test_a_joint_study_counts_on_all_but_one_unless_something_else_is_said() -> None:
    assert one(protocol(), mechanisms=("joint-noise",), epsilons=(1.0,)).terms.honest == 3
    two = one(protocol(), mechanisms=("joint-noise",), epsilons=(1.0,), honest=(2,))
    assert chosen(protocol(), two).privacy.honest_sites == 2


def test_joint_noise_takes_one_step_per_round_and_no_weights_and_says_so() -> None:
    before = protocol()
    after = chosen(before, one(before, mechanisms=("joint-noise",), epsilons=(1.0,)))
    assert after.federation.local_steps == 1
    assert {site.weight for site in after.federation.sites} == {1.0}
    assert [site.reference_patients for site in after.federation.sites] == [*SIZES.values()]
    said = " ".join(changes(before, after))
    assert "local_steps is 1 instead of 2" in said
    assert "weight 1" in said


def test_what_stays_the_same_is_not_mentioned() -> None:
    before = protocol()
    assert changes(before, chosen(before, one(before, mechanisms=("site-noise",), epsilons=(1.0,)))) == []


def test_a_plan_never_takes_the_mark_of_a_draft_away() -> None:
    drafted = protocol(privacy=replace(protocol().privacy, source=DRAFTED))
    option = one(drafted, mechanisms=("joint-noise",), epsilons=(1.0,))
    assert chosen(drafted, option).drafted
    assert chosen(drafted, option).privacy.source == DRAFTED
    assert not chosen(protocol(), option).drafted


def test_a_study_without_privacy_gets_its_mechanism_and_loses_its_seed() -> None:
    open_ = protocol(privacy=PrivacyTerms(mechanism="none"), seed=3)
    after = chosen(open_, one(open_, mechanisms=("site-noise",), epsilons=(3.0,)))
    assert (after.private, after.seed) == (True, None)
    assert any("seed is gone" in note for note in changes(open_, after))


def test_the_written_study_reads_back() -> None:
    after = chosen(protocol(), one(protocol(), mechanisms=("joint-noise",), epsilons=(2.0,)))
    assert loads(dumps(after), where="memory") == after


def test_every_combination_is_there_once_in_order() -> None:
    wish = Wish(honest=(3, 2), rounds=(10, 20), epsilons=(1.0, 3.0))
    found = [
        (option.terms.mechanism, option.terms.honest, option.terms.rounds, option.target)
        for option in options(protocol(), wish, coordinates=30)
    ]
    joint = [("joint-noise", h, t, e) for h in (3, 2) for t in (10, 20) for e in (1.0, 3.0)]
    assert found == [*joint, *(("site-noise", 1, t, e) for t in (10, 20) for e in (1.0, 3.0))]


def test_a_quorum_is_planned_for_as_the_smallest_sum_that_may_be_opened() -> None:
    study = protocol(federation=replace(protocol().federation, quorum=3))
    terms = public_terms(study, mechanism="joint-noise", coordinates=30)
    assert dict(terms.patients) == {"Alder": 40, "Birch": 100, "Cedar": 200}
    assert terms.honest == 2


def test_a_study_without_listed_sites_asks_how_many() -> None:
    study = protocol(federation=FederationTerms(rounds=5))
    with pytest.raises(UsageError, match="lists no sites") as error:
        options(study, Wish(), coordinates=30)
    assert "--sites" in error.value.advice
    assert len(one(study, sites=4, mechanisms=("site-noise",), epsilons=(1.0,)).terms.patients) == 4
    honest = PrivacyTerms(mechanism="joint-noise", noise_multiplier=9.0, honest_sites=4)
    joint = replace(study, privacy=honest)
    assert len(one(joint, mechanisms=("joint-noise",), epsilons=(1.0,)).terms.patients) == 5


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"sites": 5}, "lists 4 sites, and 5"),
        ({"honest": (4,)}, "expected 2 to 3 honest of 4 sites"),
        ({"honest": (1,)}, "expected 2 to 3 honest of 4 sites"),
        ({"rounds": (-1,)}, "rounds > 0"),
        ({"epsilons": (-1.0,)}, "epsilon > 0"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(wish: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options(protocol(), Wish(**wish), coordinates=30)


def test_two_sites_cannot_hide_one_another() -> None:
    study = protocol(federation=FederationTerms(rounds=5))
    with pytest.raises(UsageError, match="needs at least 3 sites"):
        options(study, Wish(sites=2), coordinates=30)


def test_what_fits_no_grid_is_a_reason_beside_the_options_that_do() -> None:
    crowd = protocol(privacy=replace(protocol().privacy, most_patients=2**20))
    found = options(crowd, Wish(noises=(0.0001,)), coordinates=30)
    assert [option.found is None for option in found] == [True, False]
    assert "grid" in found[0].reason
    with pytest.raises(PrivacyError):
        chosen(crowd, found[0])
    with pytest.raises(PrivacyError):
        options(crowd, Wish(noises=(0.0001,), mechanisms=("joint-noise",)), coordinates=30)


def test_targets_and_noise_cannot_both_be_asked_for() -> None:
    with pytest.raises(UsageError, match="either"):
        Wish(epsilons=(1.0,), noises=(2.0,))
