"""The protocols of the real cohorts: they fit their raw tables, handle the known traps, and reach the reference."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.runs import command

from wardround.client.cohort import Cohort, SiteCohorts, cohorts_by_site
from wardround.client.sites import check_sites
from wardround.client.tables import read_table
from wardround.common.errors import PrivacyError
from wardround.common.learning.features import FeaturePath
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import times
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.common.study.schema import DRAFTED, Feature
from wardround.simulations.real import STUDIES, facts, protocol_of, run_case
from wardround.simulations.real_cases import CASES, Case
from wardround.simulations.real_page import mean_over_sites, page
from wardround.simulations.results import Results

pytestmark = [pytest.mark.real_data, pytest.mark.usefixtures("quick_disk")]

RUNS: Mapping[str, Case] = {case.name: case for case in CASES}
TABLES = sorted({(case.study, case.table, case.site_column) for case in CASES})
TREATMENT = ("CHEMOTHERAPY", "HORMONE_THERAPY", "RADIO_THERAPY", "BREAST_SURGERY")
NOISE = PrivacyTerms(mechanism="site-noise", noise_multiplier=5.0, source="a test")


def study(name: str) -> StudyProtocol:
    return load(STUDIES / f"{name}.toml")


@cache
def frame_of(path: Path, site_column: str) -> pd.DataFrame:
    return read_table(path, verbatim=("pid", "PATIENT_ID", site_column))


def raw(real_data: Path, name: str) -> pd.DataFrame:
    case = next(case for case in CASES if case.study == name)
    return frame_of(real_data / case.table, case.site_column)


def sites(protocol: StudyProtocol, frame: pd.DataFrame, site_column: str) -> SiteCohorts:
    path = FeaturePath.from_protocol(protocol, None)
    return cohorts_by_site(protocol, frame, site_column, path=path)


def column(
    cohorts: tuple[Cohort, ...], protocol: StudyProtocol, name: str
) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    place = FeaturePath.from_protocol(protocol, None).names.index(name)
    return np.concatenate([cohort.rows.inputs[:, place] for cohort in cohorts])


def with_feature(protocol: StudyProtocol, name: str, *categories: str) -> StudyProtocol:
    added = Feature(name=name, kind="binary", categories=categories, source="a test")
    return replace(protocol, features=(*protocol.features, added))


@pytest.mark.parametrize(("name", "table", "site_column"), TABLES)
def test_every_protocol_fits_its_raw_table(name: str, table: str, site_column: str, real_data: Path) -> None:
    protocol = study(name)
    report = check_sites(protocol, frame_of(real_data / table, site_column), site_column)
    assert report.fits, [finding.line() for finding in report.refusals]
    assert not report.codes() & {"post-baseline", "identical-columns", "site-leak", "unit"}


def test_every_protocol_is_run_and_every_run_has_a_protocol() -> None:
    assert {path.stem for path in STUDIES.glob("*.toml")} == {case.study for case in CASES}
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_single_assay_is_the_same_study_with_a_step_that_suits_fewer_inputs() -> None:
    whole = study("tcga-brca-pam50")
    part, _ = protocol_of(RUNS["TCGA-BRCA PAM50, mrna only"])
    assert {feature.modality for feature in part.features} == {"mrna"}
    expected = whole.federation.learning_rate * len(whole.features) / len(part.features)
    assert (len(whole.features), len(part.features)) == (1642, 645)
    assert part.federation.learning_rate == pytest.approx(expected)


def test_treatment_is_no_feature_and_would_be_named(real_data: Path) -> None:
    for name in ("metabric-survival", "metabric-pam50", "metabric-survival-private"):
        assert not {feature.name for feature in study(name).features} & set(TREATMENT)
    frame = raw(real_data, "metabric-survival")
    tempted = with_feature(study("metabric-survival"), "CHEMOTHERAPY", "NO", "YES")
    report = check_sites(tempted, frame, "COHORT")
    assert [f.column for f in report.findings if f.code == "post-baseline"] == ["CHEMOTHERAPY"]
    for name in ("pancan-survival", "pancan-msi", "fed-tcga-brca"):
        assert not [feature.name for feature in study(name).features if "treatment" in feature.name]


def test_not_sequenced_stays_missing_and_is_not_no_mutation(real_data: Path) -> None:
    protocol = study("metabric-survival")
    found = sites(protocol, raw(real_data, "metabric-survival"), "COHORT").cohorts
    present = column(found, protocol, "present:mutation")
    mutated = column(found, protocol, "mut_PIK3CA")
    assert (len(present), int((present == 0).sum())) == (1978, 114)
    assert not mutated[present == 0].any()
    assert 0.4 < mutated[present == 1].mean() < 0.45


def test_pam50_from_mrna_is_said_to_be_circular() -> None:
    assert any("computed from mRNA" in note for note in study("tcga-brca-pam50").study.notes)


def test_constants_of_the_publisher_s_pooled_data_are_marked_and_never_private() -> None:
    omics = study("tcga-brca-pam50")
    assert omics.drafted
    assert {feature.source for feature in omics.features} == {DRAFTED}
    assert omics.with_privacy(NOISE).drafted
    assert not study("metabric-survival-private").drafted
    assert not study("pancan-msi-private").drafted


@pytest.mark.parametrize("name", ["metabric-survival-private", "pancan-msi-private"])
def test_private_protocols_cost_epsilon_three_over_all_their_rounds(name: str) -> None:
    protocol = study(name)
    spent = epsilon(times(protocol.event(), protocol.federation.rounds), protocol.privacy.delta)
    assert 2.99 < spent <= 3.0


def test_race_that_mixes_in_ethnicity_is_named_and_is_no_input(real_data: Path) -> None:
    for name, site_column in (("pancan-survival", "tss"), ("tcga-brca-pam50", "tss")):
        protocol = study(name)
        assert "race" in protocol.cohort.subgroups
        assert "race" not in {feature.name for feature in protocol.features}
        report = check_sites(protocol, raw(real_data, name), site_column)
        assert [f.column for f in report.findings if f.code == "race-ethnicity"] == ["race"]


def test_hospital_codes_keep_their_zeros_and_one_is_called_na(real_data: Path) -> None:
    protocol = study("pancan-survival")
    small = replace(protocol, cohort=replace(protocol.cohort, minimum_patients=5))
    names = {cohort.site for cohort in sites(small, raw(real_data, "pancan-survival"), "tss").cohorts}
    assert {"NA", "02", "06"} <= names
    assert not {"2", "6"} & names


def test_lost_zeros_are_suspected(real_data: Path) -> None:
    frame = raw(real_data, "pancan-survival")
    stripped = frame.assign(tss=[code.lstrip("0") or "0" for code in frame["tss"]])
    assert "leading-zeros" in check_sites(study("pancan-survival"), stripped, "tss").codes()


def test_the_swiss_hospital_is_named_as_one_sided(real_data: Path) -> None:
    report = check_sites(study("heart-disease"), raw(real_data, "heart-disease"), "site")
    assert [f.site for f in report.findings if f.code == "one-sided-site"] == ["switzerland"]


def test_cholesterol_of_zero_would_be_refused_and_is_left_out(real_data: Path) -> None:
    protocol = study("heart-disease")
    assert "chol" not in {feature.name for feature in protocol.features}
    chol = Feature(
        name="chol", kind="continuous", unit="mg/dL", low=50, high=700, mean=240, sd=50, source="s"
    )
    tempted = replace(protocol, features=(*protocol.features, chol))
    refused = check_sites(tempted, raw(real_data, "heart-disease"), "site").refusals
    # Once for Switzerland and once for VA, who write 0 for "not measured".
    assert sorted((f.code, f.site, f.count) for f in refused) == [
        ("outside-range", "switzerland", 123),
        ("outside-range", "va", 49),
    ]


def test_a_table_without_identifiers_cannot_be_studied_privately() -> None:
    with pytest.raises(PrivacyError, match="which rows are one patient"):
        study("heart-disease").with_privacy(NOISE)


def test_unscaled_age_is_scaled_by_public_constants_and_days_would_be_named(real_data: Path) -> None:
    protocol = study("fed-tcga-brca")
    frame = raw(real_data, "fed-tcga-brca")
    age = column(sites(protocol, frame, "region").cohorts, protocol, "age_at_index")
    assert abs(age.mean()) < 0.3
    assert 0.8 < age.std() < 1.2
    days = frame.assign(age_at_index=[f"{float(cell) * 365.25:.0f}" for cell in frame["age_at_index"]])
    refused = check_sites(protocol, days, "region").refusals
    assert {(f.code, f.column) for f in refused} == {("unit", "age_at_index")}
    assert "days" in refused[0].message


def test_repeated_stage_columns_are_left_out_and_would_be_named(real_data: Path) -> None:
    tempted = with_feature(study("fed-tcga-brca"), "tumor_stage_stage iia")
    report = check_sites(tempted, raw(real_data, "fed-tcga-brca"), "region")
    assert [f.column for f in report.findings if f.code == "identical-columns"] == ["tumor_stage_stage iia"]


def test_the_region_that_the_publication_dropped_is_left_out(real_data: Path) -> None:
    found = sites(study("fed-tcga-brca"), raw(real_data, "fed-tcga-brca"), "region")
    assert set(found.left_out) == {"Other"}
    assert len(found.cohorts) == 6


@pytest.mark.parametrize("name", ["heart disease, published split", "METABRIC survival, private"])
def test_a_run_reaches_the_reference(name: str, real_data: Path, tmp_path: Path) -> None:
    results = run_case(RUNS[name], real_data, tmp_path / "run").results
    assert (tmp_path / "run" / "report.html").exists()
    if results.mechanism == "none":
        ours = mean_over_sites(results, "accuracy", lambda row: row.model == "pooled", weighted=False)
        assert ours > 0.803 - 0.01
        assert sum(row.held_out for row in results.cohorts) == 254
    else:
        assert results.training_private
        assert {round(row.value, 3) for row in results.epsilon} == {3.0}
        assert results.value("federated", "all", "c_index") > 0.66


def test_the_published_split_is_reached_with_the_treatment_flags_only(
    real_data: Path, tmp_path: Path
) -> None:
    cases = {
        flags: RUNS[f"Fed-TCGA-BRCA, published split{flags}"] for flags in ("", ", treatment flags added")
    }
    runs = {flags: run_case(case, real_data, tmp_path / f"{len(flags)}") for flags, case in cases.items()}
    pooled = [run.results.value("pooled", "all", "c_index") for run in runs.values()]
    assert pooled[0] < 0.842 < pooled[1]
    text = page(list(runs.values()), facts(real_data, list(cases.values())), minutes=1.0, jobs=1)
    row = next(line for line in text.splitlines() if line.startswith("| Fed-TCGA-BRCA, published split |"))
    assert f"| C-index | published | 6 (+ 1 left out) | 218 | .{1000 * pooled[0]:.0f} [" in row


@pytest.mark.slow
def test_hospitals_of_their_own_run_the_private_study_until_their_cap(
    real_data: Path, tmp_path: Path
) -> None:
    table = ("--table", real_data / "metabric_clin_mut" / "patients.csv", "--site-column", "COHORT")
    words = ("--epsilon-cap", "6", "--out", tmp_path / "sites")
    assert command("study", "split", *table, *words).code == 0
    private = STUDIES / "metabric-survival-private.toml"
    outs = [tmp_path / name for name in ("one", "two", "three")]
    codes = [command("simulate", private, "--sites", tmp_path / "sites", "--out", out).code for out in outs]
    # Two attempts per round are reserved and one is spent: 3.0, then 4.5 with 5.6 reserved, then 6.6 of 6.
    assert codes == [0, 0, 5]
    first, second = (Results.load(out / "results.json") for out in outs[:2])
    assert len(first.cohorts) == 5
    assert all(row.value <= 3.0 for row in first.epsilon)
    assert all(4.2 < row.value < 4.7 for row in second.epsilon)
    assert not (outs[2] / "results.json").exists()
    open_study = STUDIES / "metabric-survival.toml"
    assert (
        command("simulate", open_study, "--sites", tmp_path / "sites", "--out", tmp_path / "four").code == 5
    )


def test_hospitals_with_public_patients_run_the_study_without_privacy(
    real_data: Path, tmp_path: Path
) -> None:
    table = ("--table", real_data / "metabric_clin_mut" / "patients.csv", "--site-column", "COHORT")
    words = ("--cohort", "public", "--out", tmp_path / "sites")
    assert command("study", "split", *table, *words).code == 0
    sites_folder = tmp_path / "sites"
    for place in sites_folder.iterdir():  # else who is held out is another draw each time
        key = place / "split.key"
        key.unlink(missing_ok=True)
        key.write_bytes(bytes(32))
        key.chmod(0o600)
    open_study = STUDIES / "metabric-survival.toml"
    assert command("simulate", open_study, "--sites", sites_folder, "--out", tmp_path / "run").code == 0
    results = Results.load(tmp_path / "run" / "results.json")
    assert [row.value for row in results.epsilon] == [math.inf] * 5
    assert results.value("federated", "all", "c_index") > 0.668
