"""What a released table says: right for known patients, of known noise, and the same for whoever computes it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.evaluating import evaluated
from tests.runs import SURVIVAL, joint_study, private_study
from tests.studies import WIDTH, patients, private_protocol

from wardround.client.evaluation import Examiner
from wardround.common.errors import ProtocolError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.evaluated import TABLE, Evaluated, cell_deviation
from wardround.common.learning.evaluating import PrivateEvaluation, evaluation_of
from wardround.common.learning.metrics import auc
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import predict
from wardround.common.learning.tablebins import risk_bins, survival_bins
from wardround.common.learning.tabulating import counted
from wardround.common.study.outcomes import ClassOutcome, Targets
from wardround.common.study.protocol import StudyProtocol

STUDY = evaluated(private_protocol(), epsilon=3.0)


def model() -> Parameters:
    found = initial(STUDY, WIDTH)
    found["output.weight"][0, 0] = 2.0
    return found


def halves(n: int) -> np.ndarray:
    return np.arange(n)[:, None] % 2


def asked(protocol: StudyProtocol, rows: PatientRows, parameters: Parameters) -> PrivateEvaluation:
    table = counted(protocol, parameters, rows, halves(rows.n_patients))
    return evaluation_of(protocol, parameters, Evaluated(table=table, sites=("a", "b")))


def value(found: PrivateEvaluation, measure: str, group: str = "") -> float:
    (row,) = (one for one in found.rows if (one.measure, one.group) == (measure, group))
    return row.value


def test_the_auc_of_everybody_and_of_each_group_is_that_of_the_patients_within_its_bins() -> None:
    quiet, rows = evaluated(private_protocol(), noise_multiplier=0.1), patients(1, n=2000)
    found = asked(quiet, rows, model())
    exact = auc(rows.targets.value, predict(quiet, model(), rows))
    assert value(found, "auc") == pytest.approx(exact, abs=0.01)
    women = rows.take(np.arange(0, 2000, 2))
    assert value(found, "auc", "f") == pytest.approx(
        auc(women.targets.value, predict(quiet, model(), women)), abs=0.015
    )
    assert found.judgement.verdict == "met"


def test_the_deviation_is_that_of_the_noise_in_the_sum_of_the_sites() -> None:
    nobody, sites = patients(1).take(np.arange(0)), 3
    drawn = [
        sum(
            Examiner(STUDY, nobody, np.zeros((0, 1), np.int64)).train(model(), 3)[TABLE] for _ in range(sites)
        )
        for _ in range(60)
    ]
    spread = np.concatenate(drawn).std() / cell_deviation(STUDY, sites=sites)
    assert spread == pytest.approx(1.0, abs=5.5 / np.sqrt(2 * 60 * 48))


def test_joint_noise_of_four_sites_is_planned_as_it_is_drawn() -> None:
    joint = evaluated(joint_study(rounds=1, honest=3), epsilon=1.0)
    privacy = joint.privacy_of(2)
    assert cell_deviation(joint, sites=4) == pytest.approx(
        privacy.noise_multiplier * (4 / 3) ** 0.5, rel=0.01
    )


def test_the_same_table_gives_the_same_numbers_and_another_one_others() -> None:
    table = counted(STUDY, model(), patients(1, n=400), halves(400))
    first, again = (evaluation_of(STUDY, model(), Evaluated(table=table, sites=("a",))) for _ in range(2))
    assert repr(first) == repr(again)
    table = table + np.eye(len(table))[0]
    assert repr(evaluation_of(STUDY, model(), Evaluated(table=table, sites=("a",)))) != repr(first)


def test_too_few_patients_for_the_noise_are_withheld_and_so_is_the_verdict() -> None:
    found = asked(STUDY, patients(1, n=12), model())
    assert found.judgement.verdict == "withheld"
    assert all(row.value != row.value for row in found.rows)


@pytest.mark.parametrize(
    ("direction", "threshold", "verdict"),
    [
        ("at-least", 0.7, "met"),
        ("at-most", 0.7, "not-met"),
        ("at-least", 0.999, "not-met"),
        ("at-most", 0.999, "met"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(
    direction: str, threshold: float, verdict: str
) -> None:
    terms = evaluated(private_protocol(), noise_multiplier=0.1, direction=direction, threshold=threshold)
    rows = replace(patients(1, n=1000))
    noisy = np.where(np.arange(1000) % 9 == 0, 1 - rows.targets.value, rows.targets.value)
    found = asked(terms, replace(rows, targets=Targets(value=noisy)), model())
    assert found.judgement.verdict == verdict
    near = evaluated(private_protocol(), noise_multiplier=0.1, threshold=value(found, "auc"))
    assert asked(near, replace(rows, targets=Targets(value=noisy)), model()).judgement.verdict == "unsure"


def test_each_class_has_a_table_and_measures_of_its_own() -> None:
    kinds = ClassOutcome(column="kind", classes=("a", "b", "c"), source="s")
    made = evaluated(private_study(kinds), noise_multiplier=0.1, subject="b")
    rng = np.random.default_rng(3)
    rows = PatientRows(
        inputs=rng.standard_normal((600, 6)).astype(np.float32),
        patient=np.arange(600),
        targets=Targets(value=rng.integers(3, size=600).astype(np.float64)),
    )
    found = asked(made, rows, initial(made, 6))
    assert {row.subject for row in found.rows} == {"a", "b", "c"}
    assert found.judgement.subject == "b"
    table = counted(made, initial(made, 6), rows, halves(600)).reshape(3, 8, 2, 3)
    assert table.sum(axis=(1, 2, 3)).tolist() == [600] * 3
    assert table[:, :, 1].sum(axis=(1, 2)).sum() == 600  # each patient is of one class


@pytest.mark.parametrize("edges", [(), (0.1, 0.3, 0.6)])
def test_survival_has_rising_bins_of_risk_whatever_the_model(edges: tuple[float, ...]) -> None:
    made = evaluated(joint_study(SURVIVAL), score_edges=edges)
    terms, outcome = made.evaluation, SURVIVAL
    assert terms is not None
    for scale in (0.0, 1e-6, 1.0, 1e4):
        parameters = initial(made, 6)
        parameters["risk.weight"][:] = scale
        bins = survival_bins(made, terms, outcome, parameters)
        assert (np.diff(bins.risks.ends) > 0).all()
        assert (np.diff(bins.survival, axis=1) <= 0).all()
        assert len(bins.risks) == (len(edges) or 4) + 1
    assert risk_bins(made, terms, outcome, parameters) == risk_bins(made, terms, outcome, parameters)


def test_a_table_of_another_shape_is_refused() -> None:
    with pytest.raises(ProtocolError, match="48 cells"):
        evaluation_of(STUDY, model(), Evaluated(table=np.zeros(3), sites=("a",)))
