"""A plan says what a private evaluation would cost and how sure it would be, from public numbers alone."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluating import evaluated
from tests.runs import PUBLIC, SURVIVAL, command, private_study, study, weighted

from wardround.common.learning.evaluated import cell_deviation as noise_of_a_table
from wardround.common.privacy.accounting import epsilon, second_opinion
from wardround.common.privacy.events import GaussianSteps, JointGaussianSteps
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome, Outcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.writer import dumps
from wardround.simulations.plan_evaluation import Preview, cell_deviation, lines, previews
from wardround.simulations.plan_imagined import survival_bins
from wardround.simulations.study_plan import Wish, chosen, options, public_terms

NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=99, mean=40, sd=10, source=PUBLIC)
SITES = dict.fromkeys("abcde", 1.0)


def protocol(outcome: Outcome | None = None, *, patients: int = 240, held_out: float = 0.3) -> StudyProtocol:
    found = weighted(study(outcome) if outcome else study(), SITES)
    return replace(
        found,
        privacy=replace(found.privacy, reference_patients=patients),
        cohort=replace(found.cohort, test_fraction=held_out),
    )


def declared(outcome: Outcome | None = None, **terms: object) -> StudyProtocol:
    """The same with an evaluation of its own by sex, under site noise."""
    made = protocol(outcome)
    noise = replace(private_study().privacy, reference_patients=made.privacy.reference_patients)
    return evaluated(made.with_privacy(noise), **terms)


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
    assert any("it would be withheld" in line for line in lines(protocol(), made))


@pytest.mark.parametrize(
    ("made", "wish", "why"),
    [
        (protocol(held_out=0.0), {}, "nobody is held out"),
        (protocol(NUMBER), {}, "no table for a continuous outcome"),
        (protocol(), {"noises": (4.0,)}, "ask for --epsilon"),
    ],
)
def test_where_nothing_can_be_shown_it_is_said_why(
    made: StudyProtocol, wish: dict[str, object], why: str
) -> None:
    assert found(made, **wish) == ()
    assert why in " ".join(lines(made, ()))


def test_a_study_is_shown_its_own_evaluation_whatever_is_asked_of_training() -> None:
    made = declared(epsilon=2.0, attempts=3, threshold=0.7, external_sites=("far",))
    shown = found(made, epsilons=(1.0, 8.0))
    assert [(each.mechanism, each.column) for each in shown] == [
        ("joint-noise", ""), ("joint-noise", "sex"), ("site-noise", ""), ("site-noise", "sex"),
    ]  # fmt: skip
    assert found(made, noises=(4.0,)) == shown
    everybody = shown[0]
    assert everybody.epsilon == pytest.approx(2.0, abs=0.01)
    assert everybody.epsilon < everybody.reserved < 3 * everybody.epsilon
    assert everybody.patients == round(5 * 240 * 0.3 / 0.7) + 240
    said = " ".join(lines(made, shown))
    assert "The study's own [evaluation]: one table of 48 cells, about 754 held-out patients" in said
    assert "in all 3 attempts. Judged by: AUC at least 0.7." in said


def test_the_noise_that_is_shown_is_the_noise_of_the_table() -> None:
    made = declared(noise_multiplier=3.0)
    shown = found(made, mechanisms=("site-noise",), epsilons=(1.0,))
    assert [each.deviation for each in shown] == pytest.approx([3 * math.sqrt(5 * 3), 3 * math.sqrt(5)])
    (under,) = options(made, Wish(mechanisms=("site-noise",), epsilons=(1.0,)), coordinates=7)
    assert shown[1].deviation == pytest.approx(noise_of_a_table(chosen(made, under), sites=5))


def test_a_group_of_fewer_patients_is_less_sure_and_so_are_edges_far_from_the_model() -> None:
    wish: dict[str, object] = {"mechanisms": ("joint-noise",), "epsilons": (1.0,)}
    everybody, group = found(declared(), **wish)
    assert group.total > everybody.total
    narrow = found(declared(score_edges=(0.9, 0.95, 0.99)), **wish)[0]
    assert not narrow.private < 1.3 * everybody.private  # or withheld


@pytest.mark.parametrize(
    ("outcome", "terms"),
    [
        (SURVIVAL, {"measure": "integrated_brier", "score_edges": (0.2, 0.5, 0.8)}),
        (None, {"measure": "brier", "direction": "at-most"}),
        (ClassOutcome(column="kind", classes=("a", "b", "c"), source=PUBLIC), {"subject": "a"}),
    ],
)
def test_the_declared_measure_of_every_outcome_is_shown(
    outcome: Outcome | None, terms: dict[str, object]
) -> None:
    made = declared(outcome, **terms)
    shown = found(made, epsilons=(1.0,))
    assert {each.metric for each in shown} == {terms.get("measure", "auc")}
    assert all(0 < each.private <= each.total < 0.5 for each in shown if not each.column)


def test_the_command_prints_it_and_gives_it_as_json(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(dumps(protocol()), encoding="utf-8")
    words = ("study", "plan", tmp_path / "study.toml", "--mechanism", "joint-noise", "--epsilon", 1)
    said = command(*words)
    assert "one table of about 514 held-out patients, charged to them alone" in said.out
    assert "joint-noise, 4 honest, epsilon 1: AUC ± 0.0" in said.out
    (row,) = json.loads(command(*words, "--json").out)["evaluation"]
    assert (row["mechanism"], row["epsilon"], row["metric"]) == ("joint-noise", 1.0, "auc")
    assert f"± {row['private']:.3f} for these patients" in said.out
