"""Noised tables: errors within the promised bounds, intervals that hold what they should, suppression on noise alone.

Whole measurement: `pytest -m slow tests/common/test_noisytables.py`, 2,000 repetitions, prints the widths.
"""

from collections.abc import Mapping

import numpy as np
import pytest
from tests.imagined import BINS, RISKS, TIMES, courses, forecasts

from wardround.common.errors import UsageError
from wardround.common.learning.histograms import Forecasts, binary_table, survival_table
from wardround.common.learning.noisytables import MOST_PATIENTS, WITHHELD, Estimate, NoisedTable, estimates
from wardround.common.learning.tablebins import spread_bins
from wardround.common.learning.tableevaluation import (
    course_measures,
    evaluate_courses,
    evaluate_forecasts,
    forecast_measures,
)
from wardround.common.learning.tablestatistics import scattered
from wardround.common.privacy.plan import PlanTerms
from wardround.simulations.plan_evaluation import cell_deviation

HELD_OUT = 500
SITES = 5
SCORES = spread_bins(-0.8, 1.1)
"""The default bins for a model that spreads imagined patients a little less than it does these, as real ones do."""
SEEDED = 2024
"""Fixed before the first run, as were the bounds."""


def deviation(epsilon: float, mechanism: str, cells: int) -> float:
    terms = PlanTerms(
        mechanism=mechanism,  # type: ignore[arg-type]
        delta=1e-5,
        rounds=1,
        coordinates=cells,
        patients={f"site {number}": HELD_OUT // SITES for number in range(SITES)},
        honest=SITES - 1 if mechanism == "joint-noise" else 1,
    )
    return cell_deviation(terms, epsilon=epsilon, cells=cells)


def noised(exact: np.ndarray, deviation: float, rng: np.random.Generator) -> NoisedTable:
    return NoisedTable(cells=exact + rng.normal(0, deviation, exact.shape), deviation=deviation)


def test_a_hospital_that_claims_millions_takes_nobodys_memory_and_its_table_says_the_same() -> None:
    """One reply may hold 2^24 in each cell: laid out patient by patient that is many gigabytes."""
    laid: list[int] = []

    def lay_out(table: np.ndarray, rng: np.random.Generator) -> Forecasts:
        laid.append(int(table.sum()))
        return scattered(table, rng, bins=SCORES)

    cells = np.linspace([3.0, 1.0], [1.0, 3.0], len(SCORES))
    found = {}
    for patients in (1e4, 4.0 * MOST_PATIENTS):
        table = NoisedTable(cells=cells * patients / cells.sum(), deviation=10.0)
        auc = {"auc": forecast_measures(SCORES, 10.0)["auc"]}
        found[patients] = estimates(table, auc, lay_out, rng=np.random.default_rng(SEEDED))["auc"].value
    assert max(laid) == MOST_PATIENTS
    assert found[1e4] == pytest.approx(found[4.0 * MOST_PATIENTS], abs=0.02)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_what_counts_no_patients_is_no_table(value: float) -> None:
    with pytest.raises(UsageError, match="not finite or exceeds"):
        NoisedTable(cells=np.array([1.0, value]), deviation=1.0)


@pytest.mark.parametrize(
    ("patients", "epsilon", "mechanism", "bound"),
    [
        (HELD_OUT, 1, "joint-noise", 0.035),
        (HELD_OUT, 1, "site-noise", 0.07),
        (150, 3, "joint-noise", 0.04),
        (150, 3, "site-noise", 0.08),
    ],
)
def test_the_error_of_a_noised_auc_is_within_its_bound(
    patients: int, epsilon: float, mechanism: str, bound: float
) -> None:
    """500 held-out patients of five sites, and a group of 30 in 100 of them."""
    rng = np.random.default_rng(SEEDED)
    spread, measure = deviation(epsilon, mechanism, 16), forecast_measures(SCORES, 0.0)["auc"]
    errors = []
    for seed in range(1000):
        people = forecasts(patients, seed)
        table = noised(binary_table(people, bins=SCORES)[:, :, 0], spread, rng)
        errors.append(measure.binned(table.cells[None])[0] - measure.exact(people))
    assert np.sqrt(np.mean(np.square(errors))) <= bound


def test_the_error_of_a_noised_brier_score_and_c_index_is_within_its_bound() -> None:
    rng = np.random.default_rng(SEEDED)
    brier, c_index = forecast_measures(SCORES, 0.0)["brier"], course_measures(BINS)["c_index"]
    spreads = deviation(3, "joint-noise", 16), deviation(1, "joint-noise", 50)
    errors: list[tuple[float, float]] = []
    for seed in range(500):
        people, course = forecasts(HELD_OUT, seed), courses(HELD_OUT, seed)
        table = noised(binary_table(people, bins=SCORES)[:, :, 0], spreads[0], rng)
        survival = noised(survival_table(course, risks=RISKS, times=TIMES), spreads[1], rng)
        errors.append(
            (
                brier.binned(table.cells[None])[0] - brier.exact(people),
                c_index.binned(survival.cells[None])[0] - c_index.exact(course),
            )
        )
    found = np.sqrt(np.mean(np.square(errors), axis=0))
    assert found[0] <= 0.01
    assert found[1] <= 0.04


def binary_coverage(repetitions: int, epsilon: float, only: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEEDED)
    spread = deviation(epsilon, "joint-noise", 16)
    measures = {
        name: each for name, each in forecast_measures(SCORES, spread).items() if not only or name in only
    }
    large = forecasts(400_000, 10**6)
    truth = {name: measure.exact(large) for name, measure in measures.items()}
    rows: dict[str, list[list[float]]] = {name: [] for name in measures}
    for seed in range(repetitions):
        people = forecasts(HELD_OUT, seed)
        table = noised(binary_table(people, bins=SCORES), spread, rng)
        found = evaluate_forecasts(table, SCORES, (), rng=rng, replicates=200, only=only)[""]
        for name, measure in measures.items():
            rows[name].append(judged(found[name], measure.exact(people), truth[name]))
    return {name: np.array(each) for name, each in rows.items()}


def survival_coverage(repetitions: int, epsilon: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(SEEDED)
    spread, measures = deviation(epsilon, "joint-noise", 50), course_measures(BINS)
    large = courses(100_000, 10**6)
    truth = {name: measure.exact(large) for name, measure in measures.items()}
    rows: dict[str, list[list[float]]] = {name: [] for name in measures}
    for seed in range(repetitions):
        people = courses(HELD_OUT, seed)
        table = noised(survival_table(people, risks=RISKS, times=TIMES), spread, rng)
        found = evaluate_courses(table, BINS, rng=rng, replicates=200)
        for name, measure in measures.items():
            rows[name].append(judged(found[name], measure.exact(people), truth[name]))
    return {name: np.array(each) for name, each in rows.items()}


def judged(found: Estimate, sample: float, population: float) -> list[float]:
    """Whether each interval holds its truth, and the widths; NaN where withheld."""
    if found.withheld:
        return [np.nan] * 4
    (low, high), (under, over) = found.private, found.total
    held = float(under <= population <= over) if under == under else np.nan
    return [float(low <= sample <= high), held, high - low, over - under]


def check(found: Mapping[str, np.ndarray], lowest: float) -> None:
    for name, rows in found.items():
        known = rows[~np.isnan(rows[:, 0])]
        private, total = known[:, 0].mean(), known[:, 1].mean()
        widths = np.median(known[:, 2:], axis=0)
        kept = len(known) / len(rows)
        print(
            f"{name}: {private:.3f} {total:.3f}, widths {widths[0]:.3f} {widths[1]:.3f}, shown in {kept:.0%}"
        )
        assert private >= lowest, name
        assert total >= lowest or name == "expected_calibration_error", name


@pytest.mark.slow
def test_intervals_hold_their_truth_in_a_few_repetitions() -> None:
    """With so few repetitions an honest 95% lies above these bounds in all but one or two of 1,000 series."""
    some = (
        "auc",
        "accuracy",
        "brier",
        "calibration_slope",
        f"net_benefit_at_{SCORES.edges[3]:g}",
        "observed_3",
    )
    check(binary_coverage(150, 1.0, some), 0.89)
    check(survival_coverage(100, 1.0), 0.88)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_intervals_hold_their_truth_in_93_of_100(epsilon: float) -> None:
    check(binary_coverage(2000, epsilon), 0.93)
    check(survival_coverage(2000, epsilon), 0.93)


def test_drawing_the_patients_again_is_never_surer_than_keeping_them() -> None:
    rng, spread = np.random.default_rng(SEEDED), 3.0
    for seed in range(8):
        table = noised(binary_table(forecasts(HELD_OUT, seed), bins=SCORES), spread, rng)
        found = evaluate_forecasts(table, SCORES, (), rng=rng, replicates=40)[""]
        for each in found.values():
            assert each.withheld or not each.total[1] < each.private[1]  # some have no total: NaN


def test_too_few_patients_for_the_noise_are_withheld_and_look_like_nothing_else() -> None:
    rng = np.random.default_rng(1)
    table = noised(binary_table(forecasts(40), bins=SCORES), 3.0, rng)
    found = evaluate_forecasts(table, SCORES, (), rng=rng)[""]
    assert set(found.values()) == {WITHHELD}
    survival = noised(survival_table(courses(20), risks=RISKS, times=TIMES), 8.0, rng)
    assert set(evaluate_courses(survival, BINS, rng=rng).values()) == {WITHHELD}


def test_suppression_looks_at_noised_cells_and_never_at_the_exact_ones() -> None:
    """Two exact tables, one empty and one full, whose noised cells are the same, get the same answer."""
    cells = np.full((8, 2, 1), 30.0)
    answers = [
        evaluate_forecasts(
            NoisedTable(cells=exact + (cells - exact), deviation=2.0),
            SCORES,
            (),
            rng=np.random.default_rng(1),
        )
        for exact in (np.zeros((8, 2, 1)), np.full((8, 2, 1), 40.0))
    ]
    assert answers[0] == answers[1]
    assert not answers[0][""]["auc"].withheld


def test_a_group_is_a_slice_and_everybody_carries_the_noise_of_all_slices() -> None:
    rng = np.random.default_rng(3)
    people = forecasts(3000)
    group = np.where(np.arange(3000) % 10 < 3, "f", "m").tolist()
    exact = binary_table(people, bins=SCORES, group=group, groups=("f", "m"))
    crossed = evaluate_forecasts(noised(exact, 3.0, rng), SCORES, ("f", "m"), rng=rng)
    plain = evaluate_forecasts(noised(exact.sum(axis=2, keepdims=True), 3.0, rng), SCORES, (), rng=rng)
    assert set(crossed) == {"", "f", "m"}
    wide, narrow = crossed[""]["auc"].private, plain[""]["auc"].private
    assert wide[1] - wide[0] > 1.3 * (narrow[1] - narrow[0])
    assert crossed["f"]["auc"].private[1] - crossed["f"]["auc"].private[0] > wide[1] - wide[0]


def test_intervals_are_as_wide_as_noise_and_sampling_make_estimates_differ() -> None:
    """Against plain repetition: the same patients noised anew, and other patients noised anew."""
    rng, spread, auc = np.random.default_rng(4), 1.555, forecast_measures(SCORES, 0.0)["auc"]
    tables = np.stack([binary_table(forecasts(HELD_OUT, s), bins=SCORES)[:, :, 0] for s in range(400)])
    noise = rng.normal(0, spread, tables.shape)
    private, total = auc.binned(tables[0] + noise).std(), auc.binned(tables + noise).std()
    found = evaluate_forecasts(
        noised(tables[0][:, :, None], spread, rng), SCORES, (), rng=rng, only=("auc",)
    )[""]["auc"]
    assert found.private[1] - found.value == pytest.approx(2.05 * private, rel=0.25)
    assert found.total[1] - found.value == pytest.approx(2.05 * total, rel=0.25)


def test_a_calibration_error_is_given_for_the_patients_and_never_for_the_population() -> None:
    """Even a perfect model errs on 500 patients, so no interval around their error holds the population's zero."""
    rng = np.random.default_rng(3)
    table = noised(binary_table(forecasts(HELD_OUT), bins=SCORES), 3.0, rng)
    found = evaluate_forecasts(
        table, SCORES, (), rng=rng, replicates=50, only=("expected_calibration_error",)
    )[""]["expected_calibration_error"]
    assert found.private[0] < found.value < found.private[1]
    assert np.isnan(found.total).all()


def test_a_table_that_nobody_noised_is_refused() -> None:
    with pytest.raises(UsageError, match="deviation > 0"):
        NoisedTable(cells=np.ones((8, 2, 1)), deviation=0.0)
