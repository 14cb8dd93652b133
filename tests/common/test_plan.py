"""A study's budget before it begins: costs against every observer, noise beside signal, and safe rounding."""

import math
from dataclasses import replace

import numpy as np
import pytest

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import GaussianSteps, JointGaussianSteps
from wardround.common.privacy.grid import from_ring, noise_grid, to_grid, to_ring
from wardround.common.privacy.integernoise import integer_gaussian
from wardround.common.privacy.plan import CONSORTIUM, PlanTerms, noise_for, plan
from wardround.common.privacy.randomness import SecureRandom

PATIENTS = {"a": 100, "b": 200, "c": 300, "d": 150, "e": 250}
JOINT = PlanTerms(
    mechanism="joint-noise",
    delta=1e-5,
    rounds=20,
    attempts=3,
    clipping_norm=2.0,
    coordinates=400,
    patients=PATIENTS,
    honest=3,
    most_patients=2000,
)
ALONE = replace(JOINT, mechanism="site-noise", honest=1, steps=5)


@pytest.mark.parametrize("terms", [JOINT, ALONE])
@pytest.mark.parametrize("target", [0.5, 1.0, 3.0, 8.0])
def test_noise_for_a_target_keeps_the_whole_reservation_within_it_and_no_thousandth_less_would(
    terms: PlanTerms, target: float
) -> None:
    z = noise_for(terms, target=target)

    def stated(noise: float) -> float:
        rows = plan(terms, noise_multiplier=noise).costs
        return next(row.reserved for row in rows if row.shares == terms.honest)

    assert stated(z) <= target < stated(round(z - 0.001, 3))


def test_every_observer_has_a_row_from_the_fewest_curious_to_the_most() -> None:
    rows = plan(JOINT, noise_multiplier=15.0).costs
    assert [(row.against, row.shares) for row in rows] == [
        ("the server", 5),
        ("the server and one site", 4),
        ("the server and 2 sites", 3),
        ("the server and all other sites", 1),
    ]
    event = JointGaussianSteps(noise_multiplier=15.0, honest=3, coordinates=400, steps=60)
    for relation in ("add-or-remove", "replace-one"):
        known = joint_epsilons(event, sites=5, delta=1e-5, relation=relation)
        found = [row.reserved if relation == "add-or-remove" else row.replaced for row in rows]
        assert found == [known.server, known.participant, known.tolerated, known.everyone_else]
    assert [row.spent for row in rows] == [
        epsilon([replace(event, steps=20).with_honest(row.shares)], 1e-5) for row in rows
    ]


@pytest.mark.parametrize(
    ("sites", "honest", "expected"),
    [(2, 1, ["the server", "the server and one site"]), (3, 2, ["the server", "the server and one site"])],
)
def test_no_observer_is_listed_twice(sites: int, honest: int, expected: list[str]) -> None:
    patients = dict.fromkeys("abc"[:sites], 100)
    rows = plan(replace(JOINT, patients=patients, honest=honest), noise_multiplier=15.0).costs
    assert [row.against for row in rows][:2] == expected
    assert rows[-1].shares == 1


def test_noise_of_one_site_alone_has_one_observer_and_its_steps_count() -> None:
    (row,) = plan(ALONE, noise_multiplier=15.0).costs
    assert row.spent == epsilon([GaussianSteps(noise_multiplier=15.0, sample_rate=1.0, steps=100)], 1e-5)
    assert row.reserved == epsilon([GaussianSteps(noise_multiplier=15.0, sample_rate=1.0, steps=300)], 1e-5)


def test_the_noise_of_an_opened_sum_is_as_long_as_planned() -> None:
    terms = replace(JOINT, coordinates=40_000)
    row = plan(terms, noise_multiplier=15.0).noise[-1]
    grid = noise_grid(
        clipping_norm=2.0, noise_multiplier=15.0, honest=3, sites=5, coordinates=40_000, most_patients=2000
    )
    opened = np.zeros(40_000, np.uint32)
    for _ in PATIENTS:
        with SecureRandom() as random:
            opened += to_ring(
                to_grid(np.zeros(40_000), grid) + integer_gaussian(40_000, grid.widening, random)
            )
    assert np.linalg.norm(from_ring(opened, grid)) == pytest.approx(row.noise, rel=6 / math.sqrt(80_000))
    assert row.name == CONSORTIUM
    assert (row.patients, row.signal) == (1000, 2000.0)
    assert row.per_step == row.noise / row.signal
    assert row.per_study == pytest.approx(row.per_step / math.sqrt(20))


def test_under_joint_noise_every_site_meets_the_noise_of_the_sum_and_otherwise_its_own() -> None:
    joint = plan(JOINT, noise_multiplier=15.0).noise
    assert {row.noise for row in joint} == {joint[-1].noise}
    assert [row.name for row in joint] == [*PATIENTS, CONSORTIUM]
    alone = plan(ALONE, noise_multiplier=15.0).noise
    assert alone[0].noise == pytest.approx(15.0 * 2.0 * math.sqrt(400))
    assert alone[-1].noise == pytest.approx(alone[0].noise * math.sqrt(5))
    assert alone[-1].per_study == pytest.approx(alone[-1].per_step / math.sqrt(100))


def test_at_one_epsilon_joint_noise_serves_the_consortium_better_and_more_rounds_change_nothing() -> None:
    def felt(terms: PlanTerms) -> float:
        return plan(terms, noise_multiplier=noise_for(terms, target=1.0)).noise[-1].per_study

    one = replace(ALONE, steps=1)
    assert felt(JOINT) == pytest.approx(felt(one) / math.sqrt(3), rel=0.01)
    assert felt(replace(JOINT, rounds=200)) == pytest.approx(felt(JOINT), rel=0.01)
    assert felt(replace(JOINT, attempts=1)) == pytest.approx(felt(JOINT) / math.sqrt(3), rel=0.01)


def test_noise_longer_than_all_patients_is_warned_of_and_less_is_not() -> None:
    quiet = plan(JOINT, noise_multiplier=15.0)
    assert quiet.warnings == ()
    some = plan(JOINT, noise_multiplier=30.0)
    assert [row.name for row in some.noise if row.per_study > 1] == ["a", "d"]
    assert len(some.warnings) == 1
    assert some.warnings[0].endswith("lost in the noise: a, d.")
    loud = plan(JOINT, noise_multiplier=300.0)
    assert "1000 patients together" in loud.warnings[0]
    assert len(loud.warnings) == 1


def test_the_price_of_rounding_is_shown() -> None:
    assert plan(ALONE, noise_multiplier=15.0).rounding == 0.0
    large = replace(JOINT, coordinates=100_000)
    grid = noise_grid(
        clipping_norm=2.0, noise_multiplier=60.0, honest=3, sites=5, coordinates=100_000, most_patients=2000
    )
    found = plan(large, noise_multiplier=60.0).rounding
    assert found == pytest.approx(grid.step * math.sqrt(100_000) / 2.0, rel=1e-6)
    assert 0.01 < found < 0.1


def test_a_study_that_fits_no_grid_is_refused() -> None:
    with pytest.raises(PrivacyError, match="raise the sensitivity"):
        plan(replace(JOINT, coordinates=10_000_000), noise_multiplier=60.0)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"mechanism": "none"}, "mechanism"),
        ({"delta": 0.0}, "delta"),
        ({"rounds": 0}, "rounds"),
        ({"attempts": 0}, "attempts"),
        ({"steps": 2}, "steps"),
        ({"clipping_norm": -1.0}, "clipping_norm"),
        ({"coordinates": 0}, "coordinates"),
        ({"patients": {}}, "patients"),
        ({"patients": {"a": 0, "b": 3}}, "patients of a"),
        ({"honest": 5}, "honest"),
        ({"honest": 0}, "honest"),
        ({"most_patients": 999}, "most_patients"),
    ],
)
def test_numbers_that_describe_no_study_are_refused(changed: dict[str, object], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        replace(JOINT, **changed)  # type: ignore[arg-type]
