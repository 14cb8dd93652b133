"""Columns: missing, extra, and names that tell of a trap."""

from dataclasses import replace

import pytest
from tests.hospital import AGE, GENES, SEX, checked, found, hospital, only, study

from wardround.client.checkup import check
from wardround.common.errors import CohortError


def test_a_missing_column_is_refused_with_the_name_that_was_probably_meant() -> None:
    frame = only(hospital()).rename(columns={"age": "AGE", "glucose": "glucos", "response": "answer"})
    report = checked(study(), frame)
    advice = {finding.column: finding.advice for finding in report.refusals}
    assert "did you mean 'AGE'" in advice["age"]
    assert "did you mean 'glucos'" in advice["glucose"]
    assert "site.toml" in advice["response"]
    assert {finding.code for finding in report.refusals} == {"missing-column"}


def test_a_missing_modality_is_named_once_unless_it_is_optional() -> None:
    frame = only(hospital()).drop(columns=[gene.name for gene in GENES])
    finding = found(checked(study(), frame), "missing-modality")
    assert (finding.column, finding.count) == ("expression", 4)
    assert checked(study(optional_modalities=("expression",)), frame).fits


def test_half_of_an_optional_modality_is_still_a_missing_column() -> None:
    frame = only(hospital()).drop(columns=["gene0"])
    report = checked(study(optional_modalities=("expression",)), frame)
    assert found(report, "missing-column").column == "gene0"


def test_extra_columns_are_counted_and_do_not_refuse() -> None:
    report = checked(study(), hospital())
    assert found(report, "extra-columns").count == 3
    assert report.fits


def test_names_of_treatments_and_a_race_that_mixes_in_ethnicity_are_pointed_at() -> None:
    chemo = replace(SEX, name="CHEMOTHERAPY", categories=("NO", "YES"))
    frame = only(hospital()).assign(
        CHEMOTHERAPY=["YES", "NO"] * 30, race=["white", "hispanic or latino", "asian"] * 20, trace="x"
    )
    report = checked(study(features=(AGE, chemo), subgroups=("race", "trace")), frame)
    assert found(report, "post-baseline").column == "CHEMOTHERAPY"
    assert found(report, "race-ethnicity").column == "race"
    assert report.fits


def test_columns_are_reported_with_kind_unit_and_rounded_missing_share() -> None:
    frame = only(hospital()).assign(glucose=[""] * 7 + ["100"] * 53)
    columns = {column.name: column for column in checked(study(), frame).columns}
    assert columns["glucose"].missing_percent == 12
    assert (columns["glucose"].kind, columns["glucose"].unit) == ("continuous", "mg/dL")
    assert columns["patient"].role == "patient"
    assert columns["response"].role == "outcome"


def test_own_column_names_are_mapped_before_anything_is_checked() -> None:
    frame = only(hospital()).rename(columns={"age": "AGE_AT_DX", "patient": "MRN"})
    mapping = {"age": "AGE_AT_DX", "patient": "MRN"}
    assert check(study(), frame, columns=mapping).findings == ()
    with pytest.raises(CohortError, match="two columns would be called 'age'"):
        check(study(), frame.assign(age="50"), columns=mapping)
    with pytest.raises(CohortError, match="'AGE_AT_DX'"):
        check(study(), only(hospital()), columns=mapping)
