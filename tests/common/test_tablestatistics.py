"""Statistics of exact tables are near those of the patients; noise leaves sums unbiased; the layout keeps the table."""

import numpy as np
import pytest
from tests.imagined import BINS, RISKS, TIMES, courses, forecasts

from wardround.common.errors import UsageError
from wardround.common.learning import tablestatistics as tables
from wardround.common.learning import tablesurvival
from wardround.common.learning.histograms import PROBABILITY, Bins, binary_table, survival_table
from wardround.common.learning.tablebins import spread_bins
from wardround.common.learning.tableevaluation import course_measures, forecast_measures
from wardround.common.learning.tablesurvival import SurvivalBins


@pytest.mark.parametrize(
    ("level", "bins"),
    [
        (-2.0, PROBABILITY),
        (-0.5, PROBABILITY),
        (0.5, PROBABILITY),
        (-2.0, spread_bins(-2.0, 1.5)),
        (-0.5, spread_bins(-0.9, 1.1)),  # of imagined patients who are not quite like these
        (0.5, spread_bins(0.5, 1.5)),
    ],
)
def test_many_patients_in_eight_bins_say_what_they_say_exactly(level: float, bins: Bins) -> None:
    people = forecasts(100_000, level=level)
    table = binary_table(people, bins=bins)[None, :, :, 0].astype(float)
    for name, measure in forecast_measures(bins, 0.0).items():
        # Slopes and intercepts are corrected later, by laying patients out; see `noisytables`.
        tolerance = 0.1 if name.startswith("calibration") else 0.006
        assert measure.binned(table)[0] == pytest.approx(measure.exact(people), abs=tolerance), name


def test_many_courses_in_five_by_five_bins_say_what_they_say_exactly() -> None:
    people = courses(40_000)
    table = survival_table(people, risks=RISKS, times=TIMES)[None].astype(float)
    for name, measure in course_measures(BINS).items():
        assert measure.binned(table)[0] == pytest.approx(measure.exact(people), abs=0.01), name


def test_counts_that_need_no_bins_are_exact() -> None:
    people = forecasts(300)
    table = binary_table(people, bins=PROBABILITY)[None, :, :, 0].astype(float)
    measures = forecast_measures(PROBABILITY, 0.0)
    for name in ("accuracy", *(f"net_benefit_at_{edge:g}" for edge in PROBABILITY.edges), "observed_3"):
        assert measures[name].binned(table)[0] == pytest.approx(measures[name].exact(people)), name


def test_a_higher_risk_is_a_worse_prognosis() -> None:
    people = courses(3000)
    table = survival_table(people, risks=RISKS, times=TIMES)[None].astype(float)
    assert tablesurvival.c_index(table, BINS)[0] > 0.7
    assert tablesurvival.c_index(table[:, ::-1], BINS)[0] < 0.35


def test_noise_alone_is_not_taken_for_a_calibration_error() -> None:
    """A table without any misfit, under noise: half of the error that noise would feign is gone."""
    rng = np.random.default_rng(1)
    exact = 60 * np.stack([1 - PROBABILITY.middles, PROBABILITY.middles], axis=1)
    noised = exact + rng.normal(0, 4, (500, 8, 2))
    honest = tables.expected_error(noised, PROBABILITY, 4.0).mean()
    assert honest < 0.6 * tables.expected_error(noised, PROBABILITY).mean()


def test_patients_who_are_laid_out_have_the_table_they_came_from() -> None:
    rng = np.random.default_rng(2)
    table = binary_table(forecasts(200), bins=PROBABILITY)[:, :, 0]
    again = binary_table(tables.scattered(table, rng, bins=PROBABILITY), bins=PROBABILITY)[:, :, 0]
    np.testing.assert_array_equal(again, table)
    course = survival_table(courses(200), risks=RISKS, times=TIMES)
    laid = tablesurvival.scattered(course, rng, bins=BINS)
    np.testing.assert_array_equal(survival_table(laid, risks=RISKS, times=TIMES), course)


def test_survival_that_rises_or_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="falls along each row"):
        SurvivalBins(risks=RISKS, times=TIMES, survival=BINS.survival[:, ::-1])
    with pytest.raises(UsageError, match=r"shape \(5, 5\)"):
        SurvivalBins(risks=RISKS, times=TIMES, survival=BINS.survival[:, 1:])
