"""Sections of terms: which numbers and words are refused, and public weights."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from wardround.common.errors import ProtocolError, UsageError
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.terms import (
    STRATEGIES,
    CohortTerms,
    FederationTerms,
    InputTerms,
    ModelTerms,
    SiteTerms,
    StudyTerms,
)

NOISE = {"mechanism": "site-noise", "noise_multiplier": 2.0}
COHORT = {"patient_column": "pid"}
STUDY = {"name": "a-1", "question": "q", "purpose": "p"}
SITE = {"name": "north"}
REFUSED: list[tuple[Callable[..., object], dict[str, Any], dict[str, Any], str]] = [
    (InputTerms, {}, {"clamp": 0.0}, "clamp"),
    (InputTerms, {}, {"norm": "max"}, "unit, none"),
    (InputTerms, {}, {"loadings": "w.csv"}, "loadings_sha256"),
    (InputTerms, {}, {"loadings_sha256": "ab"}, "loadings_sha256"),
    (CohortTerms, COHORT, {"minimum_patients": 0}, "minimum_patients"),
    (CohortTerms, COHORT, {"minimum_per_class": -1}, "minimum_per_class"),
    (CohortTerms, COHORT, {"test_fraction": 0.95}, "test_fraction"),
    (CohortTerms, COHORT, {"test_fraction": -0.1}, "test_fraction"),
    (ModelTerms, {}, {"kind": "forest"}, "linear, mlp"),
    (ModelTerms, {}, {"hidden": (8,)}, "hidden"),
    (ModelTerms, {}, {"kind": "mlp"}, "hidden"),
    (ModelTerms, {}, {"kind": "mlp", "hidden": (8, 0)}, "hidden"),
    (ModelTerms, {}, {"l2": -1.0}, "l2"),
    (ModelTerms, {}, {"loss": "hinge"}, "default, cox"),
    (SiteTerms, SITE, {"weight": 0.0}, "weight"),
    (SiteTerms, SITE, {"weight": -1.0}, "weight"),
    (SiteTerms, SITE, {"weight": math.nan}, "weight"),
    (SiteTerms, SITE, {"reference_patients": -5}, "reference_patients"),
    (FederationTerms, {}, {"strategy": "fedsgd"}, "fedavg"),
    (FederationTerms, {}, {"rounds": -1}, "rounds"),
    (FederationTerms, {}, {"attempts": 0}, "attempts"),
    (FederationTerms, {}, {"local_steps": 0}, "local_steps"),
    (FederationTerms, {}, {"quorum": -1}, "quorum"),
    (FederationTerms, {}, {"batch_size": -1}, "batch_size"),
    (FederationTerms, {}, {"learning_rate": math.inf}, "learning_rate"),
    (FederationTerms, {}, {"proximal_mu": -1.0}, "proximal_mu"),
    (FederationTerms, {}, {"server_learning_rate": 0.0}, "server_learning_rate"),
    (FederationTerms, {}, {"tau": 0.0}, "tau"),
    (FederationTerms, {}, {"beta1": 1.0}, "beta1"),
    (FederationTerms, {}, {"beta2": -0.1}, "beta2"),
    (FederationTerms, {}, {"trim": 0.5}, "trim"),
    (FederationTerms, {}, {"sites": (SiteTerms(name="a"), SiteTerms(name="a"))}, "twice"),
    (ModelTerms, {}, {"kind": "mlp", "hidden": (60_000, 60_000)}, "at most 16 hidden layers of at most 8192"),
    (ModelTerms, {}, {"kind": "mlp", "hidden": (1,) * 17}, "at most 16 hidden layers of at most 8192"),
    (StudyTerms, STUDY, {"name": "a/b"}, "letters, digits and hyphens"),
    (StudyTerms, STUDY, {"name": ""}, "letters, digits and hyphens"),
    (StudyTerms, STUDY, {"name": "étude"}, "letters, digits and hyphens"),
    (PrivacyTerms, NOISE, {"mechanism": "joint"}, "unknown to this release"),
    (PrivacyTerms, NOISE, {"noise_multiplier": 0.0}, "noise_multiplier"),
    (PrivacyTerms, NOISE, {"mechanism": "none"}, "although the mechanism is 'none'"),
    (PrivacyTerms, NOISE, {"clipping_norm": 0.0}, "clipping_norm"),
    (PrivacyTerms, NOISE, {"sample_rate": 1.1}, "sample_rate"),
    (PrivacyTerms, NOISE, {"sample_rate": 0.0}, "sample_rate"),
    (PrivacyTerms, NOISE, {"delta": 0.2}, "delta"),
    (PrivacyTerms, NOISE, {"delta": 0.0}, "delta"),
    (PrivacyTerms, NOISE, {"reference_patients": 0}, "reference_patients"),
]


@pytest.mark.parametrize(("cls", "terms", "change", "message"), REFUSED)
def test_a_term_out_of_range_is_refused(
    cls: Callable[..., object], terms: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    cls(**terms)
    with pytest.raises((UsageError, ProtocolError), match=message):
        cls(**{**terms, **change})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_accepted(strategy: Any) -> None:
    assert FederationTerms(strategy=strategy).strategy == strategy


def test_without_listed_sites_everybody_weighs_the_same() -> None:
    assert FederationTerms().weights(("b", "a")) == {"b": 1.0, "a": 1.0}


def test_weights_come_from_the_protocol_in_the_order_of_the_roster() -> None:
    sites = (SiteTerms(name="a", weight=100.0), SiteTerms(name="b", weight=300.0), SiteTerms(name="c"))
    weights = FederationTerms(sites=sites).weights(("b", "a"))
    assert list(weights.items()) == [("b", 300.0), ("a", 100.0)]


def test_a_roster_with_a_site_without_weight_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no weight for c, d"):
        FederationTerms(sites=(SiteTerms(name="a"),)).weights(("a", "c", "d"))
