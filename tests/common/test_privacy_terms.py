"""Privacy terms are refused where no guarantee would hold."""

import pytest

from wardround.common.errors import PrivacyError, ProtocolError, UsageError
from wardround.common.privacy.terms import PrivacyTerms

SITE_NOISE: dict[str, object] = {"mechanism": "site-noise", "noise_multiplier": 7.6}


def terms(**changes: object) -> PrivacyTerms:
    return PrivacyTerms(**{**SITE_NOISE, **changes})  # type: ignore[arg-type]


def test_the_defaults_are_full_batch_and_a_unit_clipping_norm() -> None:
    found = terms()
    assert (found.clipping_norm, found.sample_rate, found.delta) == (1.0, 1.0, 1e-5)


@pytest.mark.parametrize("mechanism", ["", "Joint-Noise", "Site-Noise", "gaussian", None])
def test_a_mechanism_that_this_release_does_not_know_is_refused(mechanism: object) -> None:
    with pytest.raises(ProtocolError, match="mechanism"):
        terms(mechanism=mechanism)


@pytest.mark.parametrize("z", [0.0, -1.0, float("nan"), float("inf")])
def test_site_noise_without_noise_is_refused(z: float) -> None:
    with pytest.raises(UsageError, match="noise_multiplier"):
        terms(noise_multiplier=z)


def test_noise_without_a_mechanism_is_refused() -> None:
    with pytest.raises(ProtocolError, match="none"):
        PrivacyTerms(mechanism="none", noise_multiplier=1.0)
    assert PrivacyTerms(mechanism="none").noise_multiplier == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clipping_norm", 0.0),
        ("clipping_norm", float("inf")),
        ("clipping_norm", float("nan")),
        ("sample_rate", 0.0),
        ("sample_rate", 1.5),
        ("sample_rate", float("nan")),
        ("delta", 0.0),
        ("delta", 0.5),
        ("delta", float("nan")),
        ("reference_patients", 0),
        ("reference_patients", -200),
    ],
)
def test_a_constant_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        terms(**{name: value})


JOINT: dict[str, object] = {"mechanism": "joint-noise", "noise_multiplier": 7.6, "honest_sites": 4}


def test_joint_noise_is_full_batch_and_names_its_honest_sites() -> None:
    assert terms(**JOINT).honest_sites == 4
    with pytest.raises(PrivacyError, match=r"sample_rate 1 under joint-noise, found 0\.5"):
        terms(**JOINT, sample_rate=0.5)


@pytest.mark.parametrize("honest", [0, 1])
def test_joint_noise_needs_two_honest_sites(honest: int) -> None:
    with pytest.raises(ProtocolError, match="honest_sites of at least 2"):
        terms(**JOINT | {"honest_sites": honest})


def test_honest_sites_belong_to_joint_noise_alone() -> None:
    with pytest.raises(ProtocolError, match="honest_sites is set"):
        terms(honest_sites=3)
