"""A plan says what a private evaluation would cost and how sure it would be, from public numbers alone."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import PUBLIC, SURVIVAL, command, study, weighted

from wardround.common.privacy.accounting import epsilon, second_opinion
from wardround.common.privacy.events import GaussianSteps, JointGaussianSteps
from wardround.common.study.outcomes import ContinuousOutcome, Outcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.writer import dumps
from wardround.simulations.plan_evaluation import Preview, cell_deviation, lines, previews, survival_bins
from wardround.simulations.study_plan import Wish, options, public_terms

NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=99, mean=40, sd=10, source=PUBLIC)
SITES = dict.fromkeys("abcde", 1.0)


def protocol(outcome: Outcome | None = None, *, patients: int = 240, held_out: float = 0.3) -> StudyProtocol:
    found = weighted(study(outcome) if outcome else study(), SITES)
    return replace(
        found,
        privacy=replace(found.privacy, reference_patients=patients),
        cohort=replace(found.cohort, test_fraction=held_out),
    )


def found(made: StudyProtocol, **wish: object) -> tuple[Preview, ...]:
    return previews(made, options(made, Wish(**wish), coordinates=7))  # type: ignore[arg-type]


def test_more_epsilon_is_surer_and_noise_once_is_surer_than_noise_at_every_site() -> None:
    widths = {(each.mechanism, each.epsilon): each.private for each in found(protocol(), epsilons=(1.0, 3.0))}
    assert widths["joint-noise", 3.0] < widths["joint-noise", 1.0] < widths["site-noise", 1.0]
    assert 0.035 < widths["joint-noise", 1.0] < 0.08


def test_the_total_interval_is_never_surer_than_the_noise_alone() -> None:
    assert all(each.total >= each.private for each in found(protocol()))


def test_the_noise_is_what_the_accountant_says_for_one_table() -> None:
    terms = public_terms(protocol(), mechanism="site-noise", coordinates=7)
    each = cell_deviation(terms, epsilon=1.0, cells=16) / math.sqrt(5)
    event = GaussianSteps(noise_multiplier=each, sample_rate=1.0, steps=1)
    assert 0.999 < epsilon([event], 1e-5) <= 1.0
    joint = public_terms(protocol(), mechanism="joint-noise", coordinates=7)
    shared = cell_deviation(joint, epsilon=1.0, cells=16) / math.sqrt(5 / 4)
    counted = JointGaussianSteps(noise_multiplier=shared, honest=4, coordinates=16, steps=1)
    assert second_opinion([counted], 1e-5) == pytest.approx(1.0, abs=0.01)


def test_survival_is_planned_over_its_own_cut_points_in_at_most_five_by_five_bins() -> None:
    bins = survival_bins(replace(SURVIVAL, cut_points=(6.0, 12.0, 18.0, 24.0, 36.0, 48.0)))
    assert bins.times.edges == (12.0, 18.0, 36.0, 48.0)
    assert bins.survival.shape == (5, 5)
    (only,) = found(protocol(SURVIVAL), mechanisms=("joint-noise",), epsilons=(1.0,))
    assert only.metric == "c_index"
    assert only.patients == round(5 * 240 * 0.3 / 0.7)


def test_too_few_patients_for_the_noise_are_said_to_be_withheld() -> None:
    made = found(protocol(patients=21), mechanisms=("site-noise",), epsilons=(0.5,))
    assert any("it would be withheld" in line for line in lines(made))


def test_nothing_is_said_where_nobody_is_held_out_or_no_table_exists() -> None:
    assert found(protocol(held_out=0.0)) == ()
    assert found(protocol(NUMBER)) == ()
    assert found(protocol(), noises=(4.0,)) == ()
    assert list(lines(())) == []


def test_the_command_prints_it_and_gives_it_as_json(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(dumps(protocol()), encoding="utf-8")
    words = ("study", "plan", tmp_path / "study.toml", "--mechanism", "joint-noise", "--epsilon", 1)
    said = command(*words)
    assert "one table of about 514 held-out patients, charged to them alone" in said.out
    assert "joint-noise, 4 honest, epsilon 1: AUC ± 0.0" in said.out
    (row,) = json.loads(command(*words, "--json").out)["evaluation"]
    assert (row["mechanism"], row["epsilon"], row["metric"]) == ("joint-noise", 1.0, "auc")
    assert f"± {row['private']:.3f} for these patients" in said.out
