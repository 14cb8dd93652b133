"""Each observer of joint noise sees the noise it does not know, no more; unknown rosters are counted small."""

import itertools

import pytest

from wardround.common.privacy.accounting import epsilon, second_opinion
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps
from wardround.common.privacy.terms import LARGEST_SUM
from wardround.simulations.observers import (
    EVERYBODY,
    EVERYBODY_ELSE,
    JOINT,
    ONE_SITE,
    SERVER,
    TOLERATED,
    cost,
    in_words,
    observers,
)

DELTA = 1e-5
OWN = GaussianSteps(noise_multiplier=8.0, sample_rate=1.0, steps=30)


def joint(honest: int, noise: float = 20.0) -> JointGaussianSteps:
    return JointGaussianSteps(noise_multiplier=noise, honest=honest, coordinates=LARGEST_SUM, steps=30)


@pytest.mark.parametrize(("honest", "sites"), [(2, 3), (3, 5), (4, 5), (2, 180)])
@pytest.mark.parametrize("relation", ["add-or-remove", "replace-one"])
def test_the_four_epsilons_are_those_of_the_coalitions(honest: int, sites: int, relation: str) -> None:
    known = joint_epsilons(joint(honest), sites=sites, delta=DELTA, relation=relation)  # type: ignore[arg-type]
    found = [cost([joint(honest)], name, sites=sites, delta=DELTA, relation=relation) for name in JOINT]  # type: ignore[arg-type]
    assert found == [known.server, known.participant, known.tolerated, known.everyone_else]
    assert found == sorted(found)
    assert len(set(found)) >= 3


@pytest.mark.parametrize(
    ("observer", "shares"), [(SERVER, 5), (ONE_SITE, 4), (TOLERATED, 3), (EVERYBODY_ELSE, 1)]
)
def test_an_observer_meets_the_noise_of_the_others_by_a_plain_gaussian(observer: str, shares: int) -> None:
    noise = 20.0 * (shares / 3) ** 0.5
    oracle = second_opinion([GaussianSteps(noise_multiplier=noise, sample_rate=1.0, steps=30)], DELTA)
    assert cost([joint(3)], observer, sites=5, delta=DELTA) == pytest.approx(oracle, abs=2e-3)


def test_where_the_roster_is_not_known_it_is_as_small_as_a_site_would_accept() -> None:
    unknown = {name: cost([joint(3)], name, sites=0, delta=DELTA) for name in JOINT}
    assert unknown == {name: cost([joint(3)], name, sites=4, delta=DELTA) for name in JOINT}
    assert unknown[SERVER] > cost([joint(3)], SERVER, sites=5, delta=DELTA)


def test_own_noise_costs_the_same_against_everybody() -> None:
    assert {cost([OWN], name, sites=5, delta=DELTA) for name in (*JOINT, EVERYBODY)} == {
        epsilon([OWN], DELTA)
    }


def test_earlier_joint_noise_counts_as_ones_own_share_where_everybody_is_curious() -> None:
    """A study with its own noise claims nothing about the honesty of others, so neither may its pool's total."""
    pool: list[DpEvent] = [joint(4), OWN]
    assert cost(pool, EVERYBODY, sites=5, delta=DELTA) == epsilon(pool, DELTA, against="everyone-else")
    assert cost(pool, EVERYBODY, sites=5, delta=DELTA) > cost(pool, TOLERATED, sites=5, delta=DELTA)


def test_every_observer_is_named_in_its_own_words() -> None:
    said = [in_words(name, honest=4, sites=6) for name in JOINT]
    assert all(one != two for one, two in itertools.combinations(said, 2))
    assert "up to 2 of 6 sites" in said[2]
    assert observers("joint-noise") == JOINT
    assert observers("site-noise") == observers("none") == (EVERYBODY,)
