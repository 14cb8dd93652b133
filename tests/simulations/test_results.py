"""`results.json` keeps every number, writes null where JSON has none, and refuses what it does not know."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wardround.common.errors import StorageError, UsageError
from wardround.simulations.evidencerows import BinRow, CalibrationRow, GapRow, NetBenefitRow, WorstGroupRow
from wardround.simulations.observers import EVERYBODY_ELSE, SERVER, TOLERATED
from wardround.simulations.resultrows import (
    CapRow,
    CohortRow,
    CurveRow,
    EpsilonRow,
    EvaluationRow,
    GainRow,
    SubgroupRow,
)
from wardround.simulations.results import Results

GOLDEN = Path(__file__).parent.parent / "golden" / "results-1.json"
GOLDEN_EVIDENCE = GOLDEN.with_name("results-1-evidence.json")


def example() -> Results:
    return Results(
        study="demo-response",
        mechanism="site-noise",
        training_private=True,
        evaluation_private=False,
        delta=1e-5,
        epsilon=(
            EpsilonRow(site="Alder", adversary="server and all other sites", value=2.9997),
            EpsilonRow(site="Elm", adversary="server and all other sites", value=math.inf),
        ),
        rounds=30,
        evaluation=(
            EvaluationRow(model="federated", on="all", metric="auc", value=0.85, low=0.8, high=0.9),
            EvaluationRow(model="local:Alder", on="Alder", metric="auc", value=0.73, low=0.5, high=0.9),
        ),
        gains=(
            GainRow(
                site="Alder",
                metric="auc",
                federated=0.85,
                local=0.73,
                difference=0.12,
                low=0.03,
                high=0.21,
                probability_better=0.99,
            ),
        ),
        curves=(CurveRow(round=1, on="all", metric="auc", value=0.7),),
        subgroups=(
            SubgroupRow(
                model="federated",
                column="sex",
                group="female",
                metric="auc",
                value=0.84,
                low=0.7,
                high=0.9,
                patients=120,
            ),
        ),
        cohorts=(CohortRow(site="Alder", patients=60, held_out=18),),
        caps=(CapRow(site="Alder", cap=4.0),),
        left_out_sites=1,
        protocol_digest="ab" * 32,
        data_digest="cd" * 32,
        code_digest="ef" * 32,
        code_version="0.1.0",
        notes=("A sentence.",),
    )


def with_evidence() -> Results:
    """The same run with everything that version 1 gained about probabilities and groups."""
    where = {"model": "federated", "on": "all", "column": "", "group": "", "subject": "yes"}
    groups = {"model": "federated", "column": "sex", "metric": "auc"}
    return replace(
        example(),
        gaps=(
            GapRow(
                **groups,
                group="female",
                difference=-0.02,
                low=-0.05,
                high=0.01,
                patients=120,
                verdict="unsure",
            ),
        ),
        worst_groups=(
            WorstGroupRow(**groups, group="female", value=0.84, low=0.7, high=0.9, judged=2, too_few=1),
        ),
        calibration=(
            CalibrationRow(**where, measure="calibration_slope", value=0.9, low=0.7, high=1.1, patients=240),
        ),
        calibration_bins=(
            BinRow(
                **where,
                above=0.1,
                upto=0.2,
                patients=31,
                predicted=0.16,
                observed=0.19,
                low=0.09,
                high=0.36,
            ),
        ),
        net_benefit=(NetBenefitRow(**where, threshold=0.2, value=0.12, low=0.07, high=0.18, treat_all=0.05),),
    )


def changed(**fields: Any) -> str:
    return json.dumps({**example().as_json(), **fields})


def read(text: str) -> Results:
    return Results.from_json(text, where="a file")


def test_the_golden_file_of_version_1_is_read_for_ever() -> None:
    assert Results.load(GOLDEN) == example()


def test_the_text_of_version_1_has_not_changed() -> None:
    assert example().to_json() == GOLDEN.read_text(encoding="utf-8")


def test_what_version_1_gained_later_is_read_for_ever_and_written_alike() -> None:
    assert Results.load(GOLDEN_EVIDENCE) == with_evidence()
    assert with_evidence().to_json() == GOLDEN_EVIDENCE.read_text(encoding="utf-8")


def test_too_few_patients_to_tell_is_null_and_comes_back_as_nan() -> None:
    row = replace(
        with_evidence().gaps[0], difference=math.nan, low=math.nan, high=math.nan, verdict="too-few"
    )
    text = replace(example(), gaps=(row,)).to_json()
    assert json.loads(text)["gaps"][0]["difference"] is None
    assert math.isnan(read(text).gaps[0].difference)


def test_the_required_fields_carry_the_names_of_the_format() -> None:
    found = example().as_json()
    assert list(found)[:10] == [
        "format",
        "version",
        "study",
        "mechanism",
        "training_private",
        "evaluation_private",
        "delta",
        "epsilon",
        "rounds",
        "evaluation",
    ]
    assert found["format"] == "wardround-results"
    assert found["version"] == 1
    assert set(found["epsilon"][0]) == {"site", "adversary", "value"}
    assert set(found["evaluation"][0]) == {"model", "on", "metric", "value", "low", "high"}


def test_an_infinite_epsilon_is_null_and_comes_back_infinite() -> None:
    assert example().as_json()["epsilon"][1]["value"] is None
    assert read(example().to_json()).epsilon[1].value == math.inf


def test_a_number_that_could_not_be_computed_is_null_and_comes_back_as_nan() -> None:
    row = replace(example().evaluation[0], value=math.nan, low=math.nan, high=math.nan)
    text = replace(example(), evaluation=(row,)).to_json()
    assert json.loads(text)["evaluation"][0]["value"] is None
    assert math.isnan(read(text).evaluation[0].value)


def test_saved_and_loaded_results_are_equal(tmp_path: Path) -> None:
    example().save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == example()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (changed(version=2), "reads up to version 1"),
        (changed(format="something-else"), "wardround-results"),
        (changed(surprise=1), "unknown field surprise"),
        (changed(rounds=3.5), "rounds: found float"),
        (changed(rounds=True), "rounds: found bool"),
        (changed(training_private=1), "training_private: found int"),
        (changed(delta=None), "delta: found NoneType"),
        (changed(delta="1e-5"), "delta: found str"),
        (changed(notes=[1]), "notes: found list"),
        (changed(epsilon={}), "epsilon: expected a list"),
        (changed(epsilon=[{"site": "A", "adversary": "server"}]), r"epsilon\[0\]: field value is missing"),
        (changed(caps=[{"site": "A", "cap": None}]), r"caps\[0\]: cap: found NoneType"),
        (changed(epsilon=[{"site": "A", "adversary": "s", "value": -1}]), "epsilon >= 0"),
        (changed(curves=[{"round": 1, "on": "all", "metric": "luck", "value": 1}]), "expected a metric"),
        (changed(evaluation=[7]), r"evaluation\[0\]"),
        (changed(gaps=[{"model": "federated"}]), r"gaps\[0\]: field column"),
        (changed(gaps=[{**with_evidence().as_json()["gaps"][0], "verdict": "fair"}]), "expected verdict"),
        (
            changed(calibration=[{**with_evidence().as_json()["calibration"][0], "measure": "luck"}]),
            "measure",
        ),
        (example().to_json().replace("1e-05", "1e999"), "too large"),
        (example().to_json().replace("1e-05", "NaN"), "NaN is not JSON"),
        ("[]", "expected a JSON object"),
        ("{", "expected JSON in a file"),
    ],
)
def test_a_file_that_is_not_exactly_this_format_is_refused_by_name(text: str, why: str) -> None:
    with pytest.raises(StorageError, match=why):
        read(text)


@pytest.mark.parametrize("missing", ["study", "mechanism", "training_private", "delta", "epsilon", "rounds"])
def test_a_missing_field_is_refused(missing: str) -> None:
    found = example().as_json()
    del found[missing]
    with pytest.raises(StorageError, match=f"field {missing} is missing"):
        read(json.dumps(found))


def test_a_file_that_is_not_there_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as refusal:
        Results.load(tmp_path / "results.json")
    assert "run folder" in refusal.value.diagnostics()


@pytest.mark.parametrize("claim", [{"mechanism": "none"}, {"drafted": True}])
def test_training_without_a_guarantee_cannot_be_called_private(claim: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="training_private"):
        replace(example(), **claim)


@pytest.mark.parametrize("model", ["", "local", "local:", "central", "federated-without:", "xfederated"])
def test_a_model_without_a_meaning_is_refused(model: str) -> None:
    with pytest.raises(UsageError, match="expected federated, pooled"):
        replace(example().evaluation[0], model=model)


@pytest.mark.parametrize("model", ["federated", "pooled", "local:a:b\nc", "federated-without:Elm"])
def test_every_model_of_the_format_is_accepted(model: str) -> None:
    assert replace(example().evaluation[0], model=model).model == model


def test_frames_have_one_table_per_kind_of_row_with_columns_even_when_empty() -> None:
    frames = replace(example(), subgroups=()).frames()
    assert frames["evaluation"].loc[1, "model"] == "local:Alder"
    assert frames["gains"]["difference"].tolist() == [0.12]
    assert len(frames["subgroups"]) == 0
    assert "patients" in frames["subgroups"].columns


def test_sites_come_smallest_first_and_unknown_sizes_last() -> None:
    sizes = (
        CohortRow(site="Elm", patients=600, held_out=180),
        CohortRow(site="Alder", patients=60, held_out=18),
    )
    epsilon = (EpsilonRow(site="Zelkova", adversary="server", value=1.0), *example().epsilon)
    assert replace(example(), cohorts=sizes, epsilon=epsilon).sites == ("Alder", "Elm", "Zelkova")


def joint() -> Results:
    rows = tuple(
        EpsilonRow(site=site, adversary=name, value=value)
        for site, extra in (("Alder", 0.0), ("Elm", 0.5))
        for name, value in ((SERVER, 0.8 + extra), (TOLERATED, 1.0 + extra), (EVERYBODY_ELSE, math.inf))
    )
    return replace(example(), mechanism="joint-noise", honest_sites=2, epsilon=rows, replaced=rows)


def test_the_claim_under_joint_noise_is_that_against_the_tolerated_coalition() -> None:
    assert joint().largest() == 1.5
    assert joint().largest(SERVER) == 1.3
    assert joint().largest(EVERYBODY_ELSE) == math.inf
    assert {row.adversary for row in joint().claims} == {TOLERATED}


def test_of_other_mechanisms_every_row_is_a_claim() -> None:
    assert example().claims == example().epsilon
    assert replace(example(), epsilon=()).largest() == math.inf


def test_joint_noise_is_kept_and_read_back() -> None:
    assert read(joint().to_json()) == joint()
    assert "honest_sites" not in example().as_json()


@pytest.mark.parametrize("wrong", [{"mechanism": "joint-noise"}, {"honest_sites": 2}])
def test_joint_noise_without_its_honest_sites_is_no_claim(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="honest_sites"):
        replace(example(), **wrong)
