"""Feature values: ranges, units, categories, missing ones."""

from dataclasses import replace

import numpy as np
import pytest
from tests.hospital import AGE, FEATURES, GENES, SEX, changed, checked, found, hospital, only, study, text_of


def test_one_value_outside_the_range_is_refused() -> None:
    frame = only(hospital())
    frame.loc[3, "age"] = "212.125"
    finding = found(checked(study(), frame), "outside-range")
    assert (finding.column, finding.count, finding.severity) == ("age", 1, "refuse")
    assert "18 to 105 years" in finding.message


def test_a_repeated_number_outside_the_range_is_recognised_as_a_code() -> None:
    frame = only(hospital())
    frame.loc[:3, "glucose"] = "-99999"
    assert "not known" in found(checked(study(), frame), "outside-range").advice


@pytest.mark.parametrize(
    ("column", "factor", "words"),
    [
        ("age", 365.25, "in days"),
        ("age", 12.0, "in months"),
        ("glucose", 1 / 18.016, "in mmol/L"),
        ("gene0", 1000.0, "divided by"),
    ],
)
def test_the_unit_that_would_fit_is_named(column: str, factor: float, words: str) -> None:
    report = checked(study(), only(changed(column, lambda value: value * factor)))
    finding = found(report, "unit")
    assert finding.column == column
    assert words in finding.message
    assert finding.severity == "refuse"


def test_days_inside_a_wide_range_are_seen_by_the_reference_mean() -> None:
    wide = (replace(AGE, high=50_000.0), *FEATURES[1:])
    finding = found(checked(study(features=wide), only(changed("age", lambda v: v * 365.25))), "unit")
    assert "in days" in finding.message
    assert finding.severity == "warn"


def test_the_right_unit_with_a_few_wild_values_is_not_called_another_unit() -> None:
    frame = only(hospital())
    frame.loc[:1, "age"] = ["21900.5", "22000.5"]
    assert found(checked(study(), frame), "outside-range").count == 2


def test_log_values_where_raw_counts_were_declared_and_the_reverse() -> None:
    counts = replace(GENES[0], name="counts", unit="TPM", low=1.0, high=1e5, transform="log1p")
    logs = replace(GENES[0], name="logs", unit="log2(TPM+1)", low=0.0, high=17.0)
    rng = np.random.default_rng(3)
    raw = rng.lognormal(6, 1, 60)
    frame = only(hospital()).assign(
        counts=[f"{value:.5f}" for value in np.log2(rng.lognormal(-3, 0.2, 60) + 1)],
        logs=[f"{value:.5f}" for value in raw],
    )
    report = checked(study(features=(counts, logs)), frame)
    messages = {finding.column: finding.message for finding in report.findings if finding.code == "unit"}
    assert "not yet log2-transformed" in messages["logs"]
    assert "counts" in {finding.column for finding in report.refusals}


def test_unknown_categories_are_counted_with_the_declared_spellings_as_advice() -> None:
    frame = only(hospital())
    frame.loc[:4, "stage"] = ["stage-unheard-of", "ii", "II ", "I", "III"]
    frame.loc[:1, "smoker"] = ["2", "quite a lot"]
    report = checked(study(), frame)
    counts = {f.column: f.count for f in report.findings if f.code == "unknown-category"}
    assert counts == {"stage": 2, "smoker": 2}
    advice = next(f.advice for f in report.findings if f.column == "stage")
    assert "I, II, III" in advice
    assert "1 differ only in upper and lower case" in advice
    assert "unheard" not in text_of(report)
    assert "a lot" not in text_of(report)


def test_whole_numbers_and_their_decimal_spelling_are_the_same_category() -> None:
    frame = only(hospital())
    frame["smoker"] = [f"{cell}.0" for cell in frame["smoker"]]
    assert checked(study(), frame).fits


def test_cells_that_are_no_numbers_are_counted_with_advice() -> None:
    frame = only(hospital())
    frame.loc[:2, "glucose"] = ["<40.55", "91,75", "inf"]
    finding = found(checked(study(), frame), "not-a-number")
    assert (finding.column, finding.count) == ("glucose", 3)
    assert "decimal points" in finding.advice
    assert "91,75" not in finding.advice + finding.message


def test_missing_values_are_refused_only_where_the_protocol_says_so() -> None:
    frame = only(hospital())
    frame.loc[:4, "age"] = None
    frame.loc[5, "age"] = "not asked"  # unreadable, and not missing as well
    frame.loc[:9, "glucose"] = None
    strict = (replace(AGE, missing="refuse"), *FEATURES[1:])
    finding = found(checked(study(features=strict), frame), "missing-value")
    assert (finding.column, finding.count) == ("age", 5)


def test_a_patient_without_the_assay_is_not_a_patient_with_missing_values() -> None:
    frame = only(hospital())
    genes = [gene.name for gene in GENES]
    frame.loc[:9, genes] = None
    strict = (AGE, SEX, *(replace(gene, missing="refuse") for gene in GENES))
    assert not checked(study(features=strict), frame).fits
    assert checked(study(features=strict, optional_modalities=("expression",)), frame).fits
    frame.loc[:1, "gene0"] = "1.5"
    report = checked(study(features=strict, optional_modalities=("expression",)), frame)
    assert {f.column: f.count for f in report.refusals} == {"gene1": 2, "gene2": 2, "gene3": 2}


def test_constant_features_are_pointed_at() -> None:
    report = checked(study(), only(hospital()).assign(gene1="0.25"))
    assert found(report, "constant").column == "gene1"
    assert report.fits
