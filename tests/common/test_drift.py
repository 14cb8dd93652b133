"""What two noised tables of one model say of drift, and what they do not."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.evaluating import evaluated
from tests.studies import WIDTH, private_protocol

from wardround.common.errors import TrustError
from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.drift import Drift, drift_of
from wardround.common.learning.evaluating import overall_estimates
from wardround.common.learning.firstmodel import initial
from wardround.common.learning.histograms import Forecasts, binary_table
from wardround.common.learning.noisytables import NoisedTable
from wardround.common.learning.parameters import parameters_digest
from wardround.common.learning.tablebins import score_bins
from wardround.common.study.evaluation import EvaluationTerms
from wardround.common.study.outcomes import ClassOutcome

STUDY = evaluated(private_protocol(), epsilon=1.0, groups=())
MODEL = initial(STUDY, WIDTH)
MODEL["output.weight"][0, 0] = 1.5
MODEL["output.bias"][:] = -0.5
(BINS,) = score_bins(STUDY, EvaluationTerms(epsilon=1.0), MODEL)
QUIET = 3.0  # standard deviation of the noise in a cell


def table(
    seed: int, n: int, *, slope: float = 1.0, shift: float = 0.0, told: float = 1.5, noise: float = QUIET
) -> Calibration:
    """Patients of a model whose log-odds spread by `told`; the truth has `slope` times them, plus `shift`."""
    rng = np.random.default_rng(seed)
    said = told * rng.standard_normal(n) - 0.5
    happened = (rng.random(n) < 1 / (1 + np.exp(-(slope * said + shift)))).astype(np.float64)
    counts = binary_table(Forecasts(1 / (1 + np.exp(-said)), happened), bins=BINS)[:, :, 0].astype(np.float64)
    return Calibration(
        protocol=STUDY.digest,
        model=parameters_digest(MODEL),
        table=NoisedTable(cells=(counts + rng.normal(0, noise, counts.shape))[None], deviation=noise),
        bins=(BINS,),
        epsilon=1.0,
        delta=1e-5,
        mechanism="site-noise",
        sites=3,
        origin="study",
    )


def compared(after: Calibration, n: int = 4000) -> Drift:
    return drift_of(STUDY, MODEL, table(1, n), after)


def test_new_patients_like_the_old_ones_show_no_drift_and_what_would_have_been_seen() -> None:
    found = compared(table(2, 4000))
    assert (found.primary.verdict, found.calibration, found.drifted) == ("steady", "steady", False)
    assert 0.01 < found.primary.noticed < 0.1
    assert found.primary.low < 0 < found.primary.high


def test_a_model_that_tells_patients_apart_less_well_has_drifted() -> None:
    found = compared(table(2, 4000, slope=0.3))
    assert (found.primary.measure, found.primary.verdict) == ("auc", "drifted")
    assert found.primary.difference < -0.1
    assert found.drifted


def test_outcomes_that_became_rarer_are_a_drift_of_calibration_alone() -> None:
    found = compared(table(2, 4000, shift=-1.0))
    by_name = {one.measure: one for one in found.changes}
    assert found.primary.verdict == "steady"
    assert by_name["calibration_in_the_large"].verdict == "drifted"
    assert by_name["calibration_in_the_large"].difference == pytest.approx(-1.0, abs=0.35)
    assert found.calibration == "drifted"
    assert found.drifted


def test_few_patients_are_no_proof_that_nothing_changed() -> None:
    found = drift_of(STUDY, MODEL, table(1, 250), table(2, 250))
    assert found.primary.verdict == "too-few"
    assert found.primary.noticed > found.primary.matters


def test_a_withheld_measure_is_too_few_and_never_drift() -> None:
    found = compared(table(2, 10, noise=40.0))
    assert np.isnan(found.primary.difference)
    assert (found.primary.verdict, found.calibration, found.drifted) == ("too-few", "too-few", False)


def test_other_measures_are_held_to_one_level_together() -> None:
    one, two = table(1, 4000), table(2, 4000)
    found = drift_of(STUDY, MODEL, one, two)
    primary = replace(STUDY, evaluation=replace(STUDY.evaluation, measure="brier"))  # type: ignore[type-var]
    alone = drift_of(primary, MODEL, one, two).primary
    among = next(row for row in found.changes if row.measure == "brier")
    assert among.difference == alone.difference
    assert 1.2 < (among.high - among.low) / (alone.high - alone.low) < 1.4


def test_tables_of_two_models_or_of_other_bins_are_not_compared() -> None:
    after = table(2, 400)
    with pytest.raises(TrustError, match="two evaluations of one model"):
        compared(replace(after, model="0" * 64))
    with pytest.raises(TrustError, match="different bins"):
        compared(replace(after, bins=(replace(BINS, edges=(0.03, *BINS.edges[1:])),)))


@pytest.mark.parametrize("shape", [(16,), (8, 2), (1, 8, 2, 1), (1, 8, 3), (2, 8, 2)], ids=str)
def test_a_table_of_another_shape_is_not_compared_whatever_its_digest(shape: tuple[int, ...]) -> None:
    """The coordinator chose the earlier table, and may have written anything into it."""
    odd = replace(table(2, 400), table=NoisedTable(cells=np.full(shape, 30.0), deviation=QUIET))
    with pytest.raises(TrustError, match="does not fit the outcome"):
        drift_of(STUDY, MODEL, odd, table(2, 400))


def test_the_interval_of_a_change_holds_the_uncertainty_of_both_tables() -> None:
    one, two = table(1, 4000), table(2, 1000)
    found = drift_of(STUDY, MODEL, one, two).primary
    reaches = []
    for each in (one, two):
        low, high = overall_estimates(STUDY, MODEL, each.table)["y: 1", "auc"].total
        reaches.append((high - low) / 2)
    assert reaches[1] > 1.5 * reaches[0]
    assert found.difference - found.low == pytest.approx(math.hypot(*reaches))
    assert found.high - found.difference == pytest.approx(math.hypot(*reaches))


def test_of_several_classes_the_declared_one_leads_and_all_are_compared() -> None:
    classes = ClassOutcome(column="kind", classes=("a", "b", "c"), source="s")
    asked = EvaluationTerms(epsilon=1.0, measure="auc", subject="b")
    study = replace(private_protocol(), outcome=classes, evaluation=asked)
    model = initial(study, WIDTH)
    model["output.weight"][:] = np.eye(3, WIDTH)
    rng = np.random.default_rng(0)
    bins = score_bins(study, asked, model)
    cells = rng.poisson(200, (3, len(bins[0]), 2)).astype(np.float64)

    def one(table: np.ndarray) -> Calibration:
        noised = NoisedTable(cells=table, deviation=QUIET)
        return replace(compared_with, model=parameters_digest(model), table=noised, bins=bins)

    compared_with = table(1, 40)
    turned = cells.copy()
    turned[1] = turned[1][:, ::-1]
    turned[1, :4, 0] += 400
    found = drift_of(study, model, one(cells), one(turned))
    assert (found.primary.subject, found.primary.measure, found.primary.verdict) == ("b", "auc", "drifted")
    assert {row.subject for row in found.changes} == {"a", "b", "c"}
    assert not any(row.verdict == "drifted" for row in found.changes if row.subject != "b")
