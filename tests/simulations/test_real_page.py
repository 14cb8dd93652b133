"""The page of the real cohorts: means over hospitals, what counts as reached, and published splits."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import TAKING_PART, open_run, private_run, study, table, write

from wardround.simulations.real import with_published_folds
from wardround.simulations.real_cases import Case, PublishedFolds, Reference
from wardround.simulations.real_page import Run, mean_over_sites, page
from wardround.simulations.recruitment import from_table
from wardround.simulations.resultrows import CohortRow, EvaluationRow
from wardround.simulations.results import Results

VALUES = {"north": (0.5, 10), "south": (0.8, 20), "west": (math.nan, 100)}


def results(of: Path) -> Results:
    return Results.load(of / "results.json")


def measured() -> Results:
    """Three hospitals, of which one has nothing to measure."""
    rows = [("federated", site, value) for site, (value, _) in VALUES.items()]
    rows += [("pooled", "all", 0.7), ("federated", "all", 0.71)]
    cohorts = tuple(CohortRow(site=site, patients=200, held_out=n) for site, (_, n) in VALUES.items())
    evaluation = tuple(
        EvaluationRow(model=model, on=on, metric="auc", value=value, low=value - 0.05, high=value + 0.05)
        for model, on, value in rows
    )
    return replace(results(open_run()), cohorts=cohorts, evaluation=evaluation)


def case(value: float = math.nan) -> Case:
    return Case(
        name="a case",
        study="small",
        table="patients.csv",
        site_column="hospital",
        reference=Reference(metric="auc", value=value),
    )


def test_a_mean_over_hospitals_is_weighted_by_held_out_patients_and_skips_what_was_not_measured() -> None:
    found = measured()
    assert mean_over_sites(found, "auc", lambda row: row.model == "federated") == pytest.approx(0.7)
    even = mean_over_sites(found, "auc", lambda row: row.model == "federated", weighted=False)
    assert even == pytest.approx(0.65)
    assert math.isnan(mean_over_sites(found, "auc", lambda row: row.model == "pooled"))


@pytest.mark.parametrize(("value", "word"), [(0.6, "yes"), (0.75, "yes"), (0.751, "no")])
def test_the_reference_is_reached_up_to_the_end_of_the_pooled_interval(value: float, word: str) -> None:
    run = Run(case=case(value), results=measured(), seconds=1.0)
    private = Run(case=case(), results=results(private_run()), seconds=1.0)
    text = page([run, private], {}, minutes=1.0, jobs=1)
    (row,) = [line for line in text.splitlines() if line.startswith("| a case | AUC | 5-fold |")]
    assert row.split(" | ")[-2] == word
    assert "| .700 [.650 to .750] | .710 [.660 to .760] | .700 |" in row


def test_a_private_run_states_epsilon_and_delta() -> None:
    private = results(private_run())
    text = page([Run(case=case(), results=private, seconds=1.0)], {}, minutes=1.0, jobs=1)
    largest = max(row.value for row in private.epsilon)
    assert f"| {largest:.4f} | 1e-05 |" in text


def test_a_published_split_trains_and_tests_as_its_column_says(tmp_path: Path) -> None:
    frame = table()
    # The second sample of a patient must not be split from the first: the fold follows the identifier.
    fold = ["train" if int(patient) % 3 else "test" for patient in frame["patient"]]
    fold = ["unused" if int(p) % 5 == 0 else f for p, f in zip(frame["patient"], fold, strict=True)]
    _, path = write(tmp_path, study(), frame.assign(fold=fold))
    consortium = from_table(
        study(), tmp_path, path, site_column="hospital", out=tmp_path / "run", cohort="synthetic", seed=0
    )
    split = PublishedFolds(column="fold", train=("train",), test="test")
    changed = with_published_folds(consortium, study(), path, split)
    assert changed.data_digest != consortium.data_digest
    assert [hospital.name for hospital in changed.hospitals] == list(TAKING_PART)
    for hospital in changed.hospitals:
        numbers = [int(patient) for patient in hospital.ids]
        assert all(numbers[i] % 3 and numbers[i] % 5 for i in hospital.train)
        assert all(numbers[i] % 3 == 0 and numbers[i] % 5 for i in hospital.test)
        unused = sum(number % 5 == 0 for number in numbers)
        assert len(hospital.train) + len(hospital.test) + unused == len(numbers)
