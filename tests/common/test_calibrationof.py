"""The table of a private evaluation serves a hospital that predicts: same counts, same noise, no new release."""

from dataclasses import replace

import numpy as np
import pytest
from tests.hospital import SUBTYPE, SURVIVAL
from tests.studies import WIDTH, joint_protocol, private_protocol

from wardround.common.errors import ProtocolError
from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.censoring import survival_curves
from wardround.common.learning.evaluated import Evaluated, cell_deviation
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import parameters_digest
from wardround.common.learning.tablebins import risk_bins
from wardround.common.study.evaluation import EvaluationGroup, EvaluationTerms, table_shape
from wardround.common.study.outcomes import Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

SITES = ("a", "b", "c", "d")


def protocol_of(base: StudyProtocol, outcome: Outcome | None = None, **terms: object) -> StudyProtocol:
    evaluation = EvaluationTerms(epsilon=2.0, **terms)  # type: ignore[arg-type]
    cohort = replace(base.cohort, subgroups=("sex",))
    return replace(base, cohort=cohort, outcome=outcome or base.outcome, evaluation=evaluation)


def released(protocol: StudyProtocol) -> Evaluated:
    cells = np.random.default_rng(1).normal(20, 5, protocol.table_cells)
    return Evaluated(table=cells, sites=SITES)


@pytest.mark.parametrize("base", [private_protocol(), joint_protocol()])
@pytest.mark.parametrize("outcome", [None, SUBTYPE, SURVIVAL])
def test_groups_are_summed_and_the_noise_is_that_of_the_evaluation(
    base: StudyProtocol, outcome: Outcome | None
) -> None:
    subject = {"subject": "basal"} if outcome is SUBTYPE else {}
    protocol = protocol_of(
        base, outcome, groups=(EvaluationGroup(column="sex", values=("f", "m")),), **subject
    )
    model, table = initial(protocol, WIDTH), released(protocol)
    found = calibration_of(protocol, model, table)
    found.check_belongs(protocol, parameters_digest(model))
    assert protocol.evaluation is not None
    crossed = table.table.reshape(table_shape(protocol.evaluation, protocol.outcome))
    whole = crossed.sum(axis=-1)
    assert np.allclose(found.table.cells, whole[0] if outcome is SURVIVAL else whole)
    assert found.table.deviation == pytest.approx(cell_deviation(protocol, sites=4) * np.sqrt(3))
    assert found.epsilon <= 2.0
    assert found.origin == "study"
    assert found.sites == 4


def test_a_risk_of_survival_lies_in_the_bin_of_its_chance() -> None:
    protocol = protocol_of(private_protocol(), SURVIVAL)
    model = initial(protocol, WIDTH)
    model["risk.weight"][:] = [[0.5, -0.3, 0.2]]
    found = calibration_of(protocol, model, released(protocol))
    assert protocol.evaluation is not None
    assert isinstance(protocol.outcome, SurvivalOutcome)
    risk = np.linspace(-1.5, 1.5, 41)
    chance = 1 - survival_curves(risk, model["hazard.bias"].astype(np.float64))[:, -1]
    bins = risk_bins(protocol, protocol.evaluation, protocol.outcome, model)
    (chances,) = found.bins
    assert chances.place(chance).tolist() == bins.place(risk).tolist()
    assert len(set(chances.place(chance))) == len(bins)


def test_another_table_and_a_study_without_evaluation_are_refused() -> None:
    protocol = protocol_of(private_protocol())
    short = Evaluated(table=np.zeros(3), sites=SITES)
    for other, table in ((protocol, short), (private_protocol(), released(protocol))):
        with pytest.raises(ProtocolError, match="cells"):
            calibration_of(other, initial(protocol, WIDTH), table)
