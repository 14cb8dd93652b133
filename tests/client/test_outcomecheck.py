"""Outcomes: units, classes, events, and who is left out."""

import numpy as np
import pandas as pd
import pytest
from tests.hospital import (
    RESPONSE,
    SUBTYPE,
    SURVIVAL,
    changed,
    checked,
    found,
    hospital,
    only,
    study,
    text_of,
)

from wardround.client.checkup import check
from wardround.common.study.outcomes import ContinuousOutcome, Outcome


def test_days_where_months_were_declared_are_refused_by_name() -> None:
    frame = changed("months", lambda value: value * 30.4375, only(hospital(), SURVIVAL))
    finding = found(checked(study(SURVIVAL), frame), "unit")
    assert "nearly all would fit if the column is in days" in finding.message
    assert finding.advice == "convert the column to months"


def test_years_where_months_were_declared_lie_inside_the_range_and_are_still_seen() -> None:
    frame = changed("months", lambda value: value / 12, only(hospital(), SURVIVAL))
    finding = found(checked(study(SURVIVAL), frame), "unit")
    assert "in years" in finding.message
    assert finding.severity == "warn"


def test_a_young_cohort_with_short_follow_up_is_not_called_another_unit() -> None:
    frame = changed("months", lambda value: value / 4, only(hospital(), SURVIVAL))
    assert checked(study(SURVIVAL), frame).findings == ()


@pytest.mark.parametrize(("outcome", "column"), [(RESPONSE, "response"), (SUBTYPE, "subtype")])
def test_one_class_only_is_refused(outcome: Outcome, column: str) -> None:
    frame = only(hospital(), outcome)
    frame[column] = frame[column].iloc[0]
    assert found(checked(study(outcome), frame), "one-class").severity == "refuse"
    assert checked(study(outcome, minimum_per_class=0), frame).fits


def test_a_class_below_the_declared_minimum_is_refused_and_an_absent_one_is_noted() -> None:
    frame = only(hospital(), SUBTYPE).assign(subtype=["basal"] * 4 + ["luminal"] * 56)
    report = checked(study(SUBTYPE, minimum_per_class=5), frame)
    assert "'basal'" in found(report, "small-class").message
    assert found(report, "absent-class").severity == "warn"
    assert checked(study(SUBTYPE, minimum_per_class=4), frame).fits


def test_no_events_and_too_few_events_are_refused() -> None:
    frame = only(hospital(), SURVIVAL).assign(status="alive")
    assert found(checked(study(SURVIVAL), frame), "no-events").severity == "refuse"
    assert found(checked(study(SURVIVAL, minimum_per_class=0), frame), "no-events").severity == "warn"
    frame.loc[:2, "status"] = "dead"
    assert found(checked(study(SURVIVAL, minimum_per_class=4), frame), "few-events").count == 3
    assert checked(study(SURVIVAL, minimum_per_class=3), frame).fits


def test_fewer_patients_than_the_minimum_are_refused_and_a_policy_can_raise_it() -> None:
    frame = only(hospital(30))
    assert checked(study(minimum_patients=30), frame).fits
    assert found(checked(study(minimum_patients=31), frame), "few-patients").count == 30
    assert found(check(study(), frame, minimum=31), "few-patients").count == 30


def test_several_rows_of_one_patient_count_once_for_the_minimum() -> None:
    frame = only(hospital(19))
    twice = pd.concat([frame, frame.assign(gene0="0.5")], ignore_index=True)
    assert found(checked(study(), twice), "few-patients").count == 19


def test_patients_without_an_outcome_are_left_out_and_counted() -> None:
    frame = only(hospital(), SURVIVAL)
    frame.loc[:2, "months"] = None
    frame.loc[3, "status"] = None
    frame.loc[4:5, "months"] = "0.0"
    frame.loc[0, "age"] = "999999"
    report = checked(study(SURVIVAL), frame)
    assert found(report, "no-outcome").count == 4
    assert found(report, "no-follow-up").count == 2
    assert report.fits  # the wild age belongs to a patient who is left out


def test_negative_times_and_undeclared_events_are_refused() -> None:
    frame = only(hospital(), SURVIVAL)
    frame.loc[:1, "months"] = "-3.125"
    frame.loc[:4, "status"] = "probably"
    report = checked(study(SURVIVAL), frame)
    assert found(report, "negative-time").count == 2
    assert found(report, "unknown-category").count == 5
    assert "probably" not in text_of(report)


def test_undeclared_outcomes_are_left_out_unless_they_are_many_or_misspelt() -> None:
    frame = only(hospital())
    frame.loc[:9, "response"] = "not evaluable"
    report = checked(study(), frame)
    assert found(report, "undeclared-outcome").count == 10
    assert report.fits
    frame.loc[:19, "response"] = "not evaluable"
    assert found(checked(study(), frame), "unknown-category").count == 20
    frame = only(hospital())
    frame.loc[0, "response"] = "YES"
    assert found(checked(study(), frame), "unknown-category").count == 1


def test_a_continuous_outcome_has_a_range_and_a_unit() -> None:
    weight = ContinuousOutcome(
        column="weight", unit="kg", low=30, high=250, mean=75, sd=15, source="invented for a test"
    )
    frame = only(hospital()).drop(columns="response")
    frame["weight"] = [f"{value:.3f}" for value in np.random.default_rng(2).normal(75, 10, 60)]
    assert checked(study(weight), frame).fits
    finding = found(checked(study(weight), changed("weight", lambda v: v * 1000, frame)), "unit")
    assert "in g" in finding.message


def test_an_empty_outcome_says_so_once() -> None:
    frame = only(hospital()).assign(response=None)
    report = checked(study(), frame)
    assert {f.code for f in report.refusals} == {"one-class", "few-patients"}
    assert found(report, "no-outcome").count == 60
