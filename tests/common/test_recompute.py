"""Epsilon recomputed by other people's code: known answers, agreement with the claims, and where it is refused."""

import itertools
import math
import random
from collections.abc import Iterator

import pytest

from wardround.common.audit import recompute as module
from wardround.common.audit.recompute import ABOVE, BELOW, Relation, fits, recompute
from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps, NonPrivate, times


def full(z: float, steps: int) -> GaussianSteps:
    return GaussianSteps(noise_multiplier=z, sample_rate=1.0, steps=steps)


def test_a_full_batch_costs_what_the_paper_on_gaussian_privacy_says() -> None:
    # Dong, Roth and Su (2022): mu = 0.2681 is epsilon 1 at delta 1e-5.
    found = recompute([full(1 / 0.2681, 1)], 1e-5)
    assert found.epsilon == pytest.approx(1.0, abs=1e-3)
    assert found.pld == pytest.approx(found.epsilon, abs=1e-3)


def test_equal_releases_in_any_order_and_grouping_cost_the_same() -> None:
    one = recompute([full(8.0, 30), full(5.0, 10)], 1e-5)
    assert recompute([full(5.0, 4), full(8.0, 30), full(5.0, 6)], 1e-5) == one
    assert recompute([full(8.0, 1)] * 30 + [full(5.0, 1)] * 10, 1e-5) == one


def test_replacing_one_patient_doubles_mu() -> None:
    found = recompute([full(10.0, 30)], 1e-5, "replace-one")
    assert found.epsilon == pytest.approx(recompute([full(5.0, 30)], 1e-5).epsilon, abs=1e-6)


def test_a_coalition_that_leaves_one_of_four_sites_meets_half_the_noise() -> None:
    event = JointGaussianSteps(noise_multiplier=20.0, honest=4, coordinates=100, steps=30)
    alone = recompute([event], 1e-5, left=1)
    assert alone.epsilon == pytest.approx(recompute([full(10.0, 30)], 1e-5).epsilon, abs=1e-9)
    assert recompute([event], 1e-5) == recompute([full(20.0, 30)], 1e-5)


def test_nothing_costs_nothing_and_a_release_without_a_guarantee_costs_everything() -> None:
    assert recompute([], 1e-5).epsilon == 0.0
    assert math.isinf(recompute([full(9.0, 1), NonPrivate()], 1e-5).epsilon)
    with pytest.raises(UsageError, match="0 < delta < 1"):
        recompute([], 0.0)


def test_nothing_is_stated_where_closed_form_and_loss_distribution_disagree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = module._closed(((11.0, 1.0, 30),), 1e-5, "add-or-remove")
    monkeypatch.setattr(module, "_closed", lambda *_: right + 0.05)
    with pytest.raises(PrivacyError, match="closed form gives"):
        recompute([full(11.0, 30)], 1e-5)


def test_hardly_any_noise_neither_fills_the_memory_nor_passes_for_a_guarantee() -> None:
    assert recompute([full(1e-3, 10)], 1e-5).epsilon > 1e6
    with pytest.raises(PrivacyError, match="so little noise"):
        recompute([GaussianSteps(noise_multiplier=1e-3, sample_rate=0.1, steps=10)], 1e-5)


def settings() -> Iterator[tuple[list[DpEvent], float, Relation]]:
    """Full batches, samples, joint noise, and mixtures, with claims of at most 20."""
    draw = random.Random(20)  # noqa: S311  (the same settings every time)
    shapes = itertools.cycle(["full", "sampled", "joint", "full", "mixed"])
    for shape in shapes:
        steps, z = draw.choice([1, 10, 30, 200]), math.exp(draw.uniform(math.log(0.7), math.log(60)))
        q = draw.choice([0.01, 0.1, 0.5])
        sampled = GaussianSteps(noise_multiplier=z, sample_rate=q, steps=steps)
        joint = JointGaussianSteps(
            noise_multiplier=z, honest=draw.randint(2, 6), coordinates=999, steps=steps
        )
        events: dict[str, list[DpEvent]] = {
            "full": [full(z, steps)],
            "sampled": [sampled],
            "joint": [joint, *times(joint, 3)],
            "mixed": [sampled, full(2 * z, 10)],
        }
        delta = draw.choice([1e-5, 1e-6, 1e-3])
        relation: Relation = "replace-one" if draw.random() < 0.3 else "add-or-remove"
        if epsilon(events[shape], delta, relation) <= 20:
            yield events[shape], delta, relation


def misfits(count: int) -> list[object]:
    found: list[object] = []
    for events, delta, relation in itertools.islice(settings(), count):
        claimed, again = epsilon(events, delta, relation), recompute(events, delta, relation).epsilon
        if not again - BELOW <= claimed <= again + ABOVE:
            found.append((events, delta, relation, claimed, again))
    return found


def test_claims_are_those_that_other_code_recomputes_on_six_settings() -> None:
    assert misfits(6) == []


@pytest.mark.slow
def test_claims_are_those_that_other_code_recomputes_on_a_hundred_settings() -> None:
    assert misfits(100) == []


@pytest.mark.parametrize(
    ("claimed", "fit"),
    [(1.0, True), (1.0 - 9e-6, True), (1.0 - 2e-5, False), (1.0199, True), (1.021, False), (math.inf, False)],
)
def test_a_claim_may_be_rounded_and_no_more(claimed: float, fit: bool) -> None:
    assert fits(claimed, 1.0, 1.0) is fit
    assert fits(math.inf, math.inf, math.inf)
    assert not fits(5.0, math.inf, math.inf)


def test_a_claim_between_two_bounds_fits_and_one_outside_does_not() -> None:
    assert [fits(claimed, 1.0, 2.0) for claimed in (0.99, 1.0, 1.5, 2.0, 2.1)] == [False, *[True] * 3, False]
    assert fits(1e9, 1.0, math.inf)
