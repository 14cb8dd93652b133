"""Which unit would fit: known conversions, and silence where nothing is wrong."""

import numpy as np
import pytest

from wardround.client.units import fitting_unit, named_conversions, unit_by_horizon

FACTORS = [
    ("months", 730.5, "in days", 24.0),
    ("years", 18.0, "in months", 1.5),
    ("days", 2.0, "in years", 730.5),
    ("cm", 1.75, "in m", 175.0),
    ("cm", 1750.0, "in mm", 175.0),
    ("kg", 154.3236, "in lb", 70.0),
    ("%", 0.4, "in fraction", 40.0),
    ("mg/dL", 5.0, "in mmol/L", 90.08),
    ("mmol/L", 90.08, "in mg/dL", 5.0),
    ("umol/L", 1.0, "in mg/dL", 88.42),
    ("Cel", 98.6, "in Fahrenheit", 37.0),
]


@pytest.mark.parametrize(("declared", "found", "phrase", "meant"), FACTORS)
def test_conversions_are_those_of_the_textbooks(
    declared: str, found: float, phrase: str, meant: float
) -> None:
    readings = [reading for reading in named_conversions(declared) if reading.phrase.endswith(phrase)]
    converted = [float(reading.convert(np.array([found]))[0]) for reading in readings]
    assert min(abs(value - meant) for value in converted) < 1e-3 * meant


def test_a_few_values_outside_are_no_reason_to_look_for_another_unit() -> None:
    values = np.concatenate([np.full(96, 50.0), np.full(4, 20_000.0)])
    assert fitting_unit(values, unit="years", low=0, high=120) == ""


def test_values_that_no_conversion_brings_into_the_range_get_no_suggestion() -> None:
    values = np.array([-5.0, 1e9, 3.0, 40.0] * 10)
    assert fitting_unit(values, unit="years", low=1, high=120) == ""


def test_the_reference_mean_decides_between_two_units_that_both_fit() -> None:
    months = np.array([480.0, 720.0, 660.0, 900.0])
    assert fitting_unit(months, unit="years", low=0, high=120, centre=58.0).endswith("months")
    days = months * 30.4375
    assert fitting_unit(days, unit="years", low=0, high=120, centre=58.0).endswith("days")


def test_follow_up_beyond_the_last_cut_point_in_the_declared_unit_is_left_alone() -> None:
    # Ten years of follow-up in a study that looks at five: long, and right.
    times = np.linspace(60, 180, 50)
    assert unit_by_horizon(times, unit="months", high=400.0, cuts=(12.0, 24.0, 36.0, 48.0, 60.0)) == ""
