"""Joint noise in the accounts: its event, both accounts, every coalition, and calibrated noise."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import PrivacyError, TrustError, UsageError
from wardround.common.privacy.accounting import Against, epsilon, gaussian_epsilon, second_opinion
from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import (
    DpEvent,
    GaussianSteps,
    JointGaussianSteps,
    NonPrivate,
    decode,
    encode,
    times,
)

LEDGER_FORM: dict[str, object] = {
    "kind": "joint-gaussian-steps",
    "noise_multiplier": "6.5",
    "honest": 4,
    "coordinates": 153,
    "steps": 30,
}


def joint(z: float = 6.5, h: int = 4, d: int = 153, n: int = 30) -> JointGaussianSteps:
    return JointGaussianSteps(noise_multiplier=z, honest=h, coordinates=d, steps=n)


def site(z: float, n: int = 30, q: float = 1.0) -> GaussianSteps:
    return GaussianSteps(noise_multiplier=z, sample_rate=q, steps=n)


def test_the_ledger_form_of_version_one_is_written_and_read_for_ever() -> None:
    assert encode(joint()) == LEDGER_FORM
    assert decode(LEDGER_FORM) == joint()


@given(z=st.floats(1e-3, 1e6), h=st.integers(1, 10**4), d=st.integers(1, 10**9), steps=st.integers(1, 10**9))
def test_every_event_survives_the_ledger_to_the_last_bit(z: float, h: int, d: int, steps: int) -> None:
    assert decode(json.loads(json.dumps(encode(joint(z, h, d, steps))))) == joint(z, h, d, steps)


@pytest.mark.parametrize("missing", ["noise_multiplier", "honest", "coordinates", "steps"])
def test_an_entry_without_a_field_is_refused(missing: str) -> None:
    with pytest.raises(TrustError, match="DpEvent"):
        decode({name: value for name, value in LEDGER_FORM.items() if name != missing})


@pytest.mark.parametrize(
    "change",
    [
        {"noise_multiplier": 6.5},
        {"honest": "4"},
        {"honest": True},
        {"coordinates": 153.0},
        {"coordinates": True},
        {"steps": False},
        {"sites": 5},
    ],
)
def test_an_entry_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(TrustError, match="DpEvent"):
        decode({**LEDGER_FORM, **change})


@pytest.mark.parametrize(
    "terms",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": math.nan},
        {"honest": 0},
        {"coordinates": 0},
        {"steps": -1},
    ],
)
def test_numbers_without_a_mechanism_are_refused(terms: dict[str, float]) -> None:
    plain = {"noise_multiplier": 1.0, "honest": 1, "coordinates": 1, "steps": 1}
    with pytest.raises(UsageError, match=next(iter(terms))):
        JointGaussianSteps(**{**plain, **terms})  # type: ignore[arg-type]


def test_releases_multiply_the_steps_and_none_is_nothing() -> None:
    assert times(joint(n=3), 4) == [joint(n=12)]
    assert times(joint(), 0) == []
    assert times(NonPrivate(), 4) == [NonPrivate()]


@pytest.mark.parametrize(("z", "h", "m"), [(6.5, 4, 1), (6.5, 4, 3), (2.0, 9, 1)])
def test_fewer_honest_sites_leave_the_root_of_their_share_of_noise_and_never_more(
    z: float, h: int, m: int
) -> None:
    seen = joint(z, h).with_honest(m)
    assert seen.honest == m
    assert z * math.sqrt(m / h) * (1 - 2**-17) <= seen.noise_multiplier <= z * math.sqrt(m / h)


def test_more_honest_sites_leave_more_noise_and_as_many_leave_the_same() -> None:
    assert joint().with_honest(4) == joint()
    assert joint().with_honest(16).noise_multiplier == 13.0
    with pytest.raises(UsageError, match="sites"):
        joint().with_honest(0)


@pytest.mark.parametrize(("z", "n"), [(20.434, 30), (6.0, 10), (2.0, 3), (50.0, 1000)])
@pytest.mark.parametrize("delta", [1e-5, 1e-7])
def test_joint_noise_costs_what_the_same_gaussian_costs(z: float, n: int, delta: float) -> None:
    exact = gaussian_epsilon(math.sqrt(n) / z, delta)
    assert exact <= epsilon([joint(z, n=n)], delta) <= exact + 1.01e-4
    assert second_opinion([joint(z, n=n)], delta) <= epsilon([joint(z, n=n)], delta) + 1e-5


def test_against_everyone_else_only_the_own_share_counts() -> None:
    events: list[DpEvent] = [joint(20.434)]
    assert epsilon(events, 1e-5) == 1.0
    alone = epsilon(events, 1e-5, against="everyone-else")
    assert alone == pytest.approx(epsilon([site(20.434 / 2)], 1e-5), abs=2e-4)
    assert alone == pytest.approx(2.15, abs=0.01)  # the known pair: five sites, h = 4
    assert alone >= second_opinion(events, 1e-5, against="everyone-else") - 1e-5


def test_noise_of_the_site_alone_counts_fully_in_both_accounts() -> None:
    events: list[DpEvent] = [site(10.0), site(8.0, 5, 0.25)]
    for relation in ("add-or-remove", "replace-one"):
        both = [epsilon(events, 1e-5, relation, against) for against in ("tolerated", "everyone-else")]
        assert both[0] == both[1]


def test_all_releases_of_a_pool_compose_whatever_their_mechanism() -> None:
    both = epsilon([joint(8.0, n=4), site(5.0, 3)], 1e-5)
    assert both == pytest.approx(epsilon([site(1 / math.sqrt(4 / 64 + 3 / 25), 1)], 1e-5), abs=2e-4)
    sampled: list[DpEvent] = [joint(8.0), site(3.0, 50, 0.25)]
    claimed, recomputed = epsilon(sampled, 1e-5), second_opinion(sampled, 1e-5)
    assert recomputed - 1e-5 <= claimed <= recomputed + 0.02
    assert epsilon([joint(), NonPrivate()], 1e-5) == math.inf


def test_replacing_a_patient_doubles_mu() -> None:
    replaced = epsilon([joint(20.434)], 1e-5, "replace-one")
    assert replaced == pytest.approx(epsilon([joint(20.434 / 2)], 1e-5), abs=1e-9)
    assert replaced == pytest.approx(second_opinion([joint(20.434)], 1e-5, "replace-one"), abs=2e-4)


def test_studies_with_other_numbers_of_honest_sites_are_each_seen_with_one_share() -> None:
    mixed: list[DpEvent] = [joint(8.0, h=4), joint(9.0, h=9)]
    alone = epsilon(mixed, 1e-5, against="everyone-else")
    assert alone == pytest.approx(epsilon([site(4.0), site(3.0)], 1e-5), rel=1e-4)


def test_without_enough_noise_the_total_variation_no_longer_fits_and_nothing_is_claimed() -> None:
    assert math.isfinite(epsilon([joint(0.5, n=8)], 1e-5))
    assert epsilon([joint(0.1, n=30)], 1e-5) == math.inf
    assert math.isfinite(epsilon([site(0.1)], 1e-5))


def test_an_unknown_coalition_is_refused() -> None:
    unknown: Against = "nobody"  # type: ignore[assignment]
    with pytest.raises(UsageError, match="against"):
        epsilon([joint()], 1e-5, against=unknown)


def test_every_coalition_meets_the_shares_that_it_does_not_know() -> None:
    found = joint_epsilons(joint(20.434, h=3), sites=7, delta=1e-5)
    for value, shares in [
        (found.server, 7),
        (found.participant, 6),
        (found.tolerated, 3),
        (found.everyone_else, 1),
    ]:
        assert value == pytest.approx(epsilon([site(20.434 * math.sqrt(shares / 3))], 1e-5), abs=2e-4)
    assert found.server < found.participant < found.tolerated < found.everyone_else


@pytest.mark.parametrize(("tolerated", "participant"), [(1.0, 1.13), (3.0, 3.41)])
def test_the_known_price_of_one_curious_participant_among_five(tolerated: float, participant: float) -> None:
    z = joint_noise_multiplier_for(epsilon=tolerated, delta=1e-5, steps=30, honest=5, coordinates=153)
    found = joint_epsilons(joint(z, h=5), sites=5, delta=1e-5)
    assert found.server == found.tolerated == pytest.approx(tolerated, abs=1e-3)
    assert found.participant == pytest.approx(participant, abs=0.01)


def test_fewer_sites_than_carry_the_noise_cannot_be() -> None:
    with pytest.raises(UsageError, match="sites"):
        joint_epsilons(joint(h=4), sites=3, delta=1e-5)


@pytest.mark.parametrize("against", ["tolerated", "everyone-else"])
@pytest.mark.parametrize(("wanted", "n"), [(1.0, 20), (3.0, 50), (8.0, 100)])
def test_calibrated_noise_is_the_least_that_keeps_the_claim(wanted: float, n: int, against: Against) -> None:
    z = joint_noise_multiplier_for(
        epsilon=wanted, delta=1e-5, steps=n, honest=4, coordinates=1000, against=against
    )
    assert round(z, 3) == z
    assert epsilon([joint(z, d=1000, n=n)], 1e-5, against=against) <= wanted
    assert epsilon([joint(round(z - 0.001, 3), d=1000, n=n)], 1e-5, against=against) > wanted


def test_calibrated_joint_noise_is_that_of_one_site_alone() -> None:
    z = joint_noise_multiplier_for(epsilon=3.0, delta=1e-5, steps=30, honest=4, coordinates=153)
    assert abs(z - noise_multiplier_for(epsilon=3.0, delta=1e-5, sample_rate=1.0, steps=30)) <= 0.0011


def test_a_delta_that_the_sampler_cannot_keep_is_refused() -> None:
    with pytest.raises(PrivacyError, match="no joint noise"):
        joint_noise_multiplier_for(epsilon=1.0, delta=1e-60, steps=1, honest=1, coordinates=1)
