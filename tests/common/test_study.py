"""The study's state machine: rounds, attempts, quorum, public weights."""

import numpy as np
import pytest
from tests.studies import WIDTH, small_protocol

from wardround.common.errors import ProtocolError, StudyError
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, to_vector
from wardround.common.learning.study import Progress, Study
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import SiteTerms

SITES = ("a", "b", "c")


def started(protocol: StudyProtocol) -> Study:
    return Study(protocol, SITES, Progress(parameters=initial(protocol, WIDTH)))


def constant(study: Study, value: float) -> Parameters:
    return {name: np.full_like(array, value) for name, array in study.progress.parameters.items()}


def test_a_round_with_its_quorum_advances_the_model() -> None:
    study = started(small_protocol())
    assert study.task().round == 1
    assert study.close({site: constant(study, value) for site, value in zip(SITES, (1, 2, 6), strict=True)})
    assert np.allclose(to_vector(study.progress.parameters), 3.0)
    assert study.task().round == 2


def test_weights_come_from_the_protocol() -> None:
    sites = tuple(SiteTerms(name=name, weight=weight) for name, weight in zip(SITES, (1, 1, 2), strict=True))
    study = started(small_protocol(sites=sites))
    study.close({site: constant(study, value) for site, value in zip(SITES, (0, 0, 2), strict=True)})
    assert np.allclose(to_vector(study.progress.parameters), 1.0)


def test_a_site_without_a_public_weight_is_refused_before_the_study_starts() -> None:
    with pytest.raises(ProtocolError, match="no weight for b, c"):
        started(small_protocol(sites=(SiteTerms(name="a"),)))


def test_below_quorum_the_attempt_is_void_and_the_model_stays() -> None:
    study = started(small_protocol())
    before = study.task()
    assert not study.close({"a": constant(study, 1.0)})
    after = study.task()
    assert (after.round, after.attempt) == (1, 2)
    assert after.base_model == before.base_model


@pytest.mark.parametrize("step", [1e3, float("nan")], ids=["beyond what sites accept", "no number"])
def test_a_model_that_diverges_is_named_and_not_handed_out(step: float) -> None:
    study = started(small_protocol())
    before = study.progress
    combined = to_vector(constant(study, step)).astype(np.float64) * 100
    with pytest.raises(StudyError, match=r"round 1 diverged: layer .* exceeds 10000") as refused:
        study.advance(combined)
    assert "learning_rate" in str(refused.value.advice)
    assert study.progress is before


def test_a_round_that_uses_up_its_attempts_ends_the_study() -> None:
    study = started(small_protocol(attempts=2))
    study.close({})
    study.close({})
    with pytest.raises(StudyError, match="in 2 attempts"):
        study.task()


def test_a_smaller_quorum_lets_a_round_count_without_everybody() -> None:
    study = started(small_protocol(quorum=2))
    assert study.close({"a": constant(study, 1.0), "c": constant(study, 3.0)})
    assert np.allclose(to_vector(study.progress.parameters), 2.0)


def test_a_quorum_larger_than_the_roster_is_refused() -> None:
    with pytest.raises(StudyError, match="quorum of 4, the roster has 3"):
        started(small_protocol(quorum=4))


def test_the_order_of_arrival_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    updates = {
        site: {
            "output.weight": rng.standard_normal((1, WIDTH), np.float32),
            "output.bias": rng.standard_normal(1, np.float32),
        }
        for site in SITES
    }
    forward, backward = started(small_protocol()), started(small_protocol())
    forward.close(updates)
    backward.close(dict(reversed(updates.items())))
    assert (to_vector(forward.progress.parameters) == to_vector(backward.progress.parameters)).all()


def test_a_stranger_among_the_updates_is_not_counted() -> None:
    study = started(small_protocol(quorum=1))
    study.close({"a": constant(study, 1.0), "stranger": constant(study, 100.0)})
    assert np.allclose(to_vector(study.progress.parameters), 1.0)


def test_the_released_model_is_the_mean_of_the_last_rounds() -> None:
    study = started(small_protocol(rounds=4, average_last=2))
    for value in (1.0, 2.0, 3.0):
        study.close({site: constant(study, value) for site in SITES})
    assert np.allclose(to_vector(study.model), 6.0)  # 1 + 2 + 3: the tail begins here
    study.close({site: constant(study, 4.0) for site in SITES})
    assert np.allclose(to_vector(study.progress.parameters), 10.0)
    assert np.allclose(to_vector(study.model), 8.0)


def test_honest_sites_must_fit_into_the_quorum() -> None:
    joint = PrivacyTerms(mechanism="joint-noise", noise_multiplier=2.0, honest_sites=3)
    with pytest.raises(StudyError, match="3 honest sites in a quorum of 3"):
        started(small_protocol().with_privacy(joint))
