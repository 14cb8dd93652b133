"""Tables of several hospitals: who takes part, and whether the hospital gives the outcome away."""

import numpy as np
import pandas as pd
import pytest
from tests.hospital import RESPONSE, SURVIVAL, found, gives_away, hospital, only, study, text_of

from wardround.client.prepared import prepare
from wardround.client.sites import check_sites, plan_sites
from wardround.common.errors import CohortError
from wardround.common.study.outcomes import Outcome


def hospitals(sizes: dict[str, int], outcome: Outcome = RESPONSE) -> pd.DataFrame:
    frame = only(hospital(sum(sizes.values())), outcome)
    return frame.assign(site=np.repeat(list(sizes), list(sizes.values())))


def test_sites_below_the_minimum_are_left_out_counted_and_do_not_refuse() -> None:
    frame = hospitals({"north": 40, "south": 30, "tiny": 19, "speck": 1})
    plan = plan_sites(prepare(study(), frame), "site")
    assert list(plan.rows) == ["north", "south"]
    assert set(plan.left_out) == {"tiny", "speck"}
    assert "few-patients" in plan.left_out["tiny"]
    finding = found(plan.report, "sites-left-out")
    assert (finding.count, finding.severity) == (2, "warn")
    assert plan.report.fits
    assert gives_away(text_of(plan.report), frame) == []


def test_a_site_without_events_is_left_out_of_a_survival_study() -> None:
    frame = hospitals({"north": 40, "south": 30}, SURVIVAL)
    frame.loc[frame["site"] == "south", "status"] = "alive"
    plan = plan_sites(prepare(study(SURVIVAL), frame), "site")
    assert plan.left_out == {"south": ("no-events",)}


def test_no_site_large_enough_is_a_refusal() -> None:
    report = check_sites(study(), hospitals({"a": 10, "b": 12}), "site")
    assert found(report, "no-site").severity == "refuse"


def test_the_rows_of_a_site_are_exactly_its_patients_with_an_outcome() -> None:
    frame = hospitals({"north": 40, "south": 30}).sample(frac=1, random_state=3)
    frame["response"] = frame["response"].where(np.arange(70) >= 5)
    plan = plan_sites(prepare(study(), frame), "site")
    for name, rows in plan.rows.items():
        expected = (frame["site"] == name) & frame["response"].notna()
        assert rows.tolist() == np.flatnonzero(expected).tolist()


def test_a_wrong_unit_at_one_site_is_found_at_that_site() -> None:
    frame = hospitals({"north": 400, "south": 20}, SURVIVAL)
    at = frame["site"] == "south"
    frame.loc[at, "months"] = [f"{float(cell) * 30.4375:.3f}" for cell in frame.loc[at, "months"]]
    finding = found(check_sites(study(SURVIVAL), frame, "site"), "unit")
    assert finding.site == "south"
    assert "in days" in finding.message


def test_a_site_that_nearly_determines_the_outcome_is_refused() -> None:
    frame = hospitals({"clinic": 100, "screening": 100})
    ill = np.where(frame["site"] == "clinic", "yes", "no")
    ill[:3] = "no"
    ill[-3:] = "yes"
    report = check_sites(study(), frame.assign(response=ill), "site")
    assert found(report, "site-leak").severity == "refuse"
    assert {f.site for f in report.findings if f.code == "one-sided-site"} == {"clinic", "screening"}


def test_one_site_with_nearly_one_class_is_named_and_the_others_are_not() -> None:
    frame = hospitals({"north": 100, "south": 100, "swiss": 40})
    one_sided = frame["response"].to_numpy().copy()
    one_sided[-40:] = "yes"
    one_sided[-2:] = "no"
    report = check_sites(study(), frame.assign(response=one_sided), "site")
    assert found(report, "one-sided-site").site == "swiss"
    assert report.fits


def test_lost_zeros_of_hospital_codes_show_beside_codes_with_letters() -> None:
    codes = {"3B": 30, "DX": 30, "5": 30}
    assert found(check_sites(study(), hospitals(codes), "site"), "leading-zeros").column == "site"
    kept = {"3B": 30, "DX": 30, "05": 30}
    assert "leading-zeros" not in check_sites(study(), hospitals(kept), "site").codes()


def test_patients_at_two_sites_and_rows_without_a_site_are_counted() -> None:
    frame = hospitals({"north": 40, "south": 40})
    moved = frame.iloc[:3].assign(site="south", gene0="0.125")
    frame["site"] = frame["site"].where(np.arange(80) < 70)
    report = check_sites(study(), pd.concat([frame, moved], ignore_index=True), "site")
    assert found(report, "several-sites").count == 3
    assert found(report, "no-site-name").count == 10


def test_a_site_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(CohortError, match="'hospital'"):
        check_sites(study(), hospitals({"north": 40}), "hospital")
