"""The real cohorts, from raw file to cohort: the traps that their publishers name are seen."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.hospital import study

from wardround.client.checkup import check
from wardround.client.cohort import SiteCohorts, cohorts_by_site, verbatim_columns
from wardround.client.findings import CheckReport
from wardround.client.sites import check_sites
from wardround.client.tables import read_table
from wardround.common.learning.features import FeaturePath
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms

pytestmark = pytest.mark.real_data

SOURCE = "round numbers for a test"
YEARS = Feature(name="age", kind="continuous", unit="years", low=0, high=120, mean=60, sd=13, source=SOURCE)


def protocol_of(
    outcome: Outcome,
    features: tuple[Feature, ...],
    patient: str,
    *,
    minimum: int = 20,
    optional: tuple[str, ...] = (),
    subgroups: tuple[str, ...] = (),
) -> StudyProtocol:
    cohort = CohortTerms(
        patient_column=patient, minimum_patients=minimum, optional_modalities=optional, subgroups=subgroups
    )
    return replace(study(outcome, features), cohort=cohort)


def survival(time_column: str, event_column: str, unit: str, high: float, last: float) -> SurvivalOutcome:
    dead = event_column == "VITAL_STATUS"
    return SurvivalOutcome(
        time_column=time_column,
        event_column=event_column,
        event_values=("Died of Disease",) if dead else ("1",),
        censored_values=("Living", "Died of Other Causes") if dead else ("0",),
        unit=unit,
        high=high,
        cut_points=tuple(float(cut) for cut in np.linspace(last / 10, last, 10)),
        source=SOURCE,
    )


def names(path: Path, start: str) -> list[str]:
    return [name for name in pd.read_csv(path, nrows=0).columns if name.startswith(start)]


def codes(report: CheckReport, code: str) -> set[str]:
    return {finding.column for finding in report.findings if finding.code == code}


def cohorts(protocol: StudyProtocol, path: Path, site_column: str) -> SiteCohorts:
    frame = read_table(path, verbatim=verbatim_columns(protocol, site_column))
    return cohorts_by_site(protocol, frame, site_column, path=FeaturePath.from_protocol(protocol, None))


def test_heart_disease_the_swiss_site_is_named_and_nothing_is_refused(
    real_data: Path,
) -> None:
    frame = read_table(real_data / "fed_heart_disease" / "patients.csv")
    frame["pid"] = [f"{number:04d}" for number in range(len(frame))]
    pressure = Feature(name="trestbps", kind="continuous", low=0, high=300, mean=130, sd=20, source=SOURCE)
    pain = Feature(name="cp", kind="categorical", categories=("1", "2", "3", "4"), source=SOURCE)
    outcome = BinaryOutcome(column="target", positive=("1",), negative=("0",), source=SOURCE)
    protocol = protocol_of(outcome, (YEARS, pressure, pain), "pid", subgroups=("sex",))
    report = check_sites(protocol, frame, "site")
    assert {f.site for f in report.findings if f.code == "one-sided-site"} == {"switzerland"}
    assert report.fits
    narrow = Feature(name="chol", kind="continuous", low=80, high=700, mean=240, sd=50, source=SOURCE)
    refused = check(protocol_of(outcome, (YEARS, narrow), "pid"), frame).refusals
    assert [(f.code, f.count) for f in refused] == [("outside-range", 172)]
    assert "not known" in refused[0].advice


def test_multi_omics_thirteen_hospitals_of_which_eleven_have_five_patients_or_more(real_data: Path) -> None:
    path = real_data / "tcga_brca_multiomics" / "patients.csv.gz"
    features = tuple(
        Feature(name=name, kind="continuous", modality=start, low=-30, high=30, source=SOURCE)
        for start in ("mrna_", "meth_", "mirna_")
        for name in names(path, start)
    )
    classes = ("Luminal A", "Luminal B", "Basal-like", "HER2-enriched", "Normal-like")
    outcome = ClassOutcome(column="pam50", classes=classes, source=SOURCE)
    protocol = protocol_of(outcome, features, "pid", minimum=5, subgroups=("race",))
    start = time.perf_counter()
    found = cohorts(protocol, path, "tss")
    assert time.perf_counter() - start < 10  # measured: 1.4 s
    assert (len(found.cohorts), len(found.left_out)) == (11, 2)
    assert sum(cohort.rows.n_patients for cohort in found.cohorts) > 330
    assert {cohort.rows.inputs.shape[1] for cohort in found.cohorts} == {1642}
    assert codes(found.report, "race-ethnicity") == {"race"}


def test_pan_cancer_720_hospital_codes_with_their_zeros_and_one_called_na(real_data: Path) -> None:
    path = real_data / "tcga_pancan_clin_cna" / "patients.csv.gz"
    arms = tuple(
        Feature(name=name, kind="categorical", modality="cna", categories=("-1", "0", "1"), source=SOURCE)
        for name in names(path, "arm_")
    )
    outcome = survival("os_years", "os_event", "years", 40, 10)
    protocol = protocol_of(outcome, (YEARS, *arms), "pid", optional=("cna",), subgroups=("race",))
    frame = read_table(path, verbatim=verbatim_columns(protocol, "tss"))
    assert frame["tss"].nunique() == 720
    assert "NA" in set(frame["tss"])
    assert {"05", "06"} <= set(frame["tss"])
    start = time.perf_counter()
    found = cohorts_by_site(protocol, frame, "tss", path=FeaturePath.from_protocol(protocol, None))
    assert time.perf_counter() - start < 10  # measured: 1 s
    assert len(found.cohorts) + len(found.left_out) == 720
    assert min(cohort.rows.n_patients for cohort in found.cohorts) >= 20
    assert "leading-zeros" not in found.report.codes()
    assert codes(found.report, "race-ethnicity") == {"race"}
    assert codes(found.report, "no-follow-up") == {"os_years"}


def test_pan_cancer_codes_that_went_through_a_spreadsheet_are_suspected(real_data: Path) -> None:
    path = real_data / "tcga_pancan_clin_cna" / "patients.csv.gz"
    protocol = protocol_of(survival("os_years", "os_event", "years", 40, 10), (YEARS,), "pid")
    frame = read_table(path, verbatim=("tss",))
    frame["tss"] = [code.lstrip("0") or "0" for code in frame["tss"]]
    assert codes(check_sites(protocol, frame, "tss"), "leading-zeros") == {"tss"}


def test_metabric_not_sequenced_is_not_no_mutation_and_treatment_comes_after_baseline(
    real_data: Path,
) -> None:
    path = real_data / "metabric_clin_mut" / "patients.csv"
    mutations = tuple(
        Feature(name=name, kind="binary", modality="mutation", source=SOURCE) for name in names(path, "mut_")
    )
    chemo = Feature(name="CHEMOTHERAPY", kind="binary", categories=("NO", "YES"), source=SOURCE)
    outcome = survival("OS_MONTHS", "VITAL_STATUS", "months", 400, 240)
    protocol = protocol_of(outcome, (chemo, *mutations), "PATIENT_ID", optional=("mutation",))
    features = FeaturePath.from_protocol(protocol, None)
    found = cohorts(protocol, path, "COHORT")
    assert [cohort.site for cohort in found.cohorts] == ["1", "2", "3", "4", "5"]
    present = features.names.index("present:mutation")
    without = sum(int((cohort.rows.inputs[:, present] == 0).sum()) for cohort in found.cohorts)
    raw = pd.read_csv(path)
    followed = (raw["OS_MONTHS"] > 0) & raw["VITAL_STATUS"].notna() & raw["COHORT"].notna()
    assert without == int(raw.loc[followed, names(path, "mut_")].isna().all(axis=1).sum()) > 100
    assert codes(found.report, "post-baseline") == {"CHEMOTHERAPY"}
    assert found.report.fits


def test_metabric_declared_in_years_is_refused_because_months_would_fit(real_data: Path) -> None:
    frame = read_table(real_data / "metabric_clin_mut" / "patients.csv")
    grade = Feature(name="GRADE", kind="categorical", categories=("1", "2", "3"), source=SOURCE)
    protocol = protocol_of(survival("OS_MONTHS", "VITAL_STATUS", "years", 40, 20), (grade,), "PATIENT_ID")
    refused = check(protocol, frame).refusals
    assert [(finding.code, finding.column) for finding in refused] == [("unit", "OS_MONTHS")]
    assert "in months" in refused[0].message


def test_fed_tcga_brca_by_region_with_its_repeated_stage_columns_and_treatment_flags(real_data: Path) -> None:
    path = real_data / "fed_tcga_brca" / "patients.csv"
    flags = pd.read_csv(path, nrows=0).columns[9:-2]
    features = tuple(Feature(name=name, kind="binary", source=SOURCE) for name in flags)
    protocol = protocol_of(survival("T", "E", "days", 10_000, 4000), features, "pid")
    found = cohorts(protocol, path, "region")
    assert len(found.cohorts) == 6
    assert len(found.left_out) == 1
    assert "tumor_stage_stage iia" in codes(found.report, "identical-columns")
    assert "treatment_or_therapy_yes" in codes(found.report, "post-baseline")
    wrong = protocol_of(survival("T", "E", "months", 400, 130), features, "pid")
    refused = check(wrong, read_table(path)).refusals
    assert [(finding.code, finding.column) for finding in refused] == [("unit", "T")]
    assert "in days" in refused[0].message
