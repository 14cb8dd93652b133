"""Privacy terms are refused where no guarantee would hold."""

import pytest

from wardround.common.errors import ProtocolError, UsageError
from wardround.common.privacy.terms import PrivacyTerms

SITE_NOISE: dict[str, object] = {"mechanism": "site-noise", "noise_multiplier": 7.6}


def terms(**changes: object) -> PrivacyTerms:
    return PrivacyTerms(**{**SITE_NOISE, **changes})  # type: ignore[arg-type]


def test_the_defaults_are_full_batch_and_a_unit_clipping_norm() -> None:
    found = terms()
    assert (found.clipping_norm, found.sample_rate, found.delta) == (1.0, 1.0, 1e-5)


@pytest.mark.parametrize("mechanism", ["", "joint-noise", "Site-Noise", "gaussian", None])
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
