"""`[evaluation]` of a study: what may be asked, what it costs, and that a study without it is what it was."""

from dataclasses import replace

import pytest
from tests.evaluating import BY_SEX, evaluated
from tests.runs import RESPONSE, SURVIVAL, joint_study, private_study, study, weighted
from tests.studies import joint_protocol, private_protocol

from wardround.common.errors import ProtocolError
from wardround.common.privacy.accounting import epsilon, second_opinion
from wardround.common.privacy.events import GaussianSteps, JointGaussianSteps
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.evaluation import EvaluationGroup, EvaluationTerms, table_shape
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome
from wardround.common.study.reader import dumps, loads

CLASSES = ClassOutcome(column="kind", classes=("a", "b", "c"), source="s")
NUMBER = ContinuousOutcome(column="n", unit="1", low=0, high=1, mean=0.5, sd=0.2, source="s")


def test_studies_without_an_evaluation_have_the_digests_that_they_had() -> None:
    assert private_protocol().digest.startswith("0eb22e43")
    assert joint_protocol().digest.startswith("9136c485")
    assert "evaluation" not in dumps(private_protocol())


@pytest.mark.parametrize("made", [private_study(), joint_study(), joint_study(SURVIVAL)])
def test_an_evaluation_is_written_and_read_back(made: object) -> None:
    asked = evaluated(made, external_sites=("far",), score_edges=(0.2, 0.5), threshold=0.7)  # type: ignore[arg-type]
    assert loads(dumps(asked), "text") == asked
    assert asked.digest != made.digest  # type: ignore[attr-defined]


def test_the_round_after_the_last_is_the_evaluation_and_has_its_own_price() -> None:
    asked = evaluated(private_study(rounds=3), epsilon=1.0, attempts=4)
    assert [asked.evaluates(number) for number in (3, 4, 5)] == [False, True, False]
    assert [asked.attempts_of(number) for number in (0, 1, 3, 4, 5)] == [0, 2, 2, 4, 0]
    assert asked.event_of(3) == asked.event()
    price = asked.event_of(4)
    assert isinstance(price, GaussianSteps)
    assert price.sample_rate == 1
    assert 0.999 < epsilon([price], 1e-5) <= 1.0
    assert second_opinion([price], 1e-5) == pytest.approx(1.0, abs=2e-3)


def test_joint_noise_prices_the_sum() -> None:
    price = evaluated(joint_study(rounds=1), epsilon=1.0).event_of(2)
    assert isinstance(price, JointGaussianSteps)
    assert (price.honest, price.steps) == (2, 1)
    assert 0.999 < epsilon([price], 1e-5) <= 1.0


def test_the_table_has_a_cell_for_each_bin_outcome_and_group() -> None:
    terms = EvaluationTerms(epsilon=1.0, groups=BY_SEX)
    assert table_shape(terms, RESPONSE) == (1, 8, 2, 3)
    assert table_shape(replace(terms, score_edges=(0.5,)), RESPONSE) == (1, 2, 2, 3)
    assert table_shape(terms, SURVIVAL) == (1, 5, 5, 2, 3)
    assert table_shape(terms, CLASSES) == (3, 8, 2, 3)


def test_several_classes_are_several_tables_of_the_same_patients_and_cost_their_root() -> None:
    made = private_study(CLASSES)
    asked = evaluated(made, noise_multiplier=2.0, subject="b")
    assert asked.privacy_of(made.federation.rounds + 1).clipping_norm == pytest.approx(3**0.5)


def test_without_a_mechanism_there_is_no_evaluation() -> None:
    with pytest.raises(ProtocolError, match="without a privacy mechanism"):
        evaluated(study())
    asked = evaluated(private_study(local_steps=1))
    assert asked.with_privacy(PrivacyTerms(mechanism="none")).evaluation is None
    assert asked.with_privacy(joint_study().privacy).evaluation == asked.evaluation


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"epsilon": 0.0}, "either epsilon or noise_multiplier"),
        ({"epsilon": 1.0, "noise_multiplier": 2.0}, "either epsilon or noise_multiplier"),
        ({"score_edges": (0.5, 0.2)}, "score_edges must increase"),
        ({"score_edges": (0.0, 0.2)}, "score_edges must increase"),
        ({"score_edges": (0.2, 1.0)}, "score_edges must increase"),
        ({"groups": (*BY_SEX, *BY_SEX)}, "groups names one twice"),
        ({"external_sites": ("a", "a")}, "external_sites names one twice"),
        ({"groups": (EvaluationGroup(column="town", values=("x",)),)}, "town, not in cohort.subgroups"),
        ({"measure": "c_index"}, "does not belong to this outcome"),
        ({"measure": "speed"}, "measure"),
        ({"subject": "a"}, "subject is the class"),
        ({"measure": "accuracy", "score_edges": (0.4,)}, "accuracy needs .5"),
        ({"direction": "above"}, "direction"),
        ({"attempts": 0}, "attempts"),
        ({"delta": 0.2}, "delta"),
    ],
)
def test_terms_that_cannot_be_meant_are_refused(terms: dict[str, object], reason: str) -> None:
    with pytest.raises(Exception, match=reason):
        evaluated(private_study(), **terms)


def test_a_table_with_too_many_cells_is_refused() -> None:
    many = (EvaluationGroup(column="sex", values=tuple(f"g{number}" for number in range(70))),)
    with pytest.raises(ProtocolError, match="1136 cells, at most 1024"):
        evaluated(private_study(), groups=many)


def test_an_outcome_without_a_table_and_a_study_that_holds_nobody_out_are_refused() -> None:
    with pytest.raises(ProtocolError, match="no table for a continuous outcome"):
        evaluated(private_study(NUMBER))
    made = private_study()
    with pytest.raises(ProtocolError, match="nobody is held out"):
        evaluated(replace(made, cohort=replace(made.cohort, test_fraction=0.0)))


def test_a_site_that_trains_is_not_external() -> None:
    with pytest.raises(ProtocolError, match="north cannot train and be external"):
        evaluated(weighted(private_study(), {"north": 1.0, "south": 1.0}), external_sites=("north",))
