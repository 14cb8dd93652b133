"""Fairness in training: weights are public and bounded, and what is computed from patients is refused with privacy."""

from dataclasses import replace

import numpy as np
import pytest
from tests.runs import SURVIVAL, joint_study, private_study, study

from wardround.common.errors import PrivacyError, ProtocolError, UsageError
from wardround.common.study.fairness import LARGEST_FACTOR, FairnessTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps, loads
from wardround.common.study.terms import FederationTerms, ModelTerms

BY_SEX = FairnessTerms(group_column="sex", groups=("f",), weights=(3.0,))
WORST = FairnessTerms(worst_site_q=1.0, reference_loss=0.7)


@pytest.mark.parametrize("terms", [BY_SEX, WORST, replace(BY_SEX, worst_site_q=2.0)])
def test_the_section_is_written_and_read_back_and_signed(terms: FairnessTerms) -> None:
    protocol = replace(study(), fairness=terms)
    again = loads(dumps(protocol), where="memory")
    assert again.fairness == terms
    assert again.digest == protocol.digest != study().digest


def test_a_study_without_the_section_keeps_its_digest_and_its_text() -> None:
    assert "fairness" not in dumps(study())
    assert b"fairness" not in study().canonical_bytes()


@pytest.mark.parametrize("protocol", [private_study(), joint_study()], ids=["site-noise", "joint-noise"])
def test_a_worst_site_objective_is_refused_with_a_mechanism_and_group_weights_are_not(
    protocol: StudyProtocol,
) -> None:
    assert replace(protocol, fairness=BY_SEX).private
    with pytest.raises(PrivacyError, match="computed from its patients"):
        replace(protocol, fairness=WORST)


def test_private_terms_may_not_be_taken_over_with_a_worst_site_objective() -> None:
    with pytest.raises(PrivacyError):
        replace(study(), fairness=WORST).with_privacy(private_study().privacy)


@pytest.mark.parametrize(
    "changes",
    [
        {"group_column": "sex"},
        {"groups": ("f",), "weights": (1.0,)},
        {"group_column": "sex", "groups": ("f", "m"), "weights": (1.0,)},
        {"group_column": "sex", "groups": ("f", "f"), "weights": (1.0, 2.0)},
        {"group_column": "sex", "groups": ("f",), "weights": (0.0,)},
        {"group_column": "sex", "groups": ("f",), "weights": (-1.0,)},
        {"worst_site_q": -1.0},
        {"worst_site_q": 11.0},
        {"reference_loss": 0.0},
    ],
)
def test_terms_that_cannot_be_meant_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises((ProtocolError, UsageError)):
        FairnessTerms(**changes)  # type: ignore[arg-type]


def test_terms_that_do_not_fit_the_study_are_refused() -> None:
    with pytest.raises(ProtocolError, match="subgroups"):
        replace(study(), fairness=replace(BY_SEX, group_column="age"))
    with pytest.raises(ProtocolError, match="fedavg"):
        replace(study(), fairness=WORST, federation=FederationTerms(strategy="fedadam"))
    with pytest.raises(ProtocolError, match="default loss"):
        replace(study(SURVIVAL), fairness=BY_SEX, model=ModelTerms(loss="cox"))


def test_no_patient_counts_more_than_one() -> None:
    for weights in ((0.2, 0.1), (5.0, 2.0), (1.0, 1e9)):
        terms = FairnessTerms(group_column="sex", groups=("f", "m"), weights=weights)
        found = terms.patient_weights(["f", "m", "x", None, float("nan")])
        assert found is not None
        assert found.max() <= 1
        assert found.min() > 0
        assert len(np.unique(found[2:])) == 1


def test_a_site_factor_grows_with_the_loss_and_is_bounded() -> None:
    assert WORST.site_factor(0.7) == 1
    assert WORST.site_factor(1.4) == pytest.approx(2)
    assert WORST.site_factor(1e6) == LARGEST_FACTOR
    assert FairnessTerms().site_factor(123.0) == 1
