"""The tables of a run, with answers known beforehand."""

import math

import numpy as np
import pytest
from tests.runs import RESPONSE, SURVIVAL

from wardround.common.learning.enough import FEWEST
from wardround.common.study.outcomes import Targets
from wardround.simulations.evaluation import Board, evaluation_rows, gain_rows
from wardround.simulations.verdicts import gain_of

TRUTH = np.array([0.0, 1.0] * 10)
RIGHT, WRONG = np.where(TRUTH == 1, 0.9, 0.1), np.where(TRUTH == 1, 0.1, 0.9)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def board() -> Board:
    """Two hospitals of 20: the joint model is right everywhere, each hospital's own is wrong everywhere."""
    sex = np.array(["f"] * 12 + ["m"] * 7 + [None], dtype=object)
    made = Board(
        outcome=RESPONSE,
        truth={site: Targets(value=TRUTH) for site in ("north", "south")},
        groups={site: {"sex": sex} for site in ("north", "south")},
    )
    for site in ("north", "south"):
        made.add("federated", site, RIGHT)
        made.add(f"local:{site}", site, WRONG)
    return made


def test_a_model_that_is_always_right_beats_one_that_is_always_wrong_by_one() -> None:
    rows = {(row.site, row.metric): row for row in gain_rows(board(), rng())}
    for site in ("north", "south"):
        found = rows[site, "auc"]
        assert (found.federated, found.local, found.difference) == (1.0, 0.0, 1.0)
        assert (found.low, found.high, found.probability_better) == (1.0, 1.0, 1.0)
        assert rows[site, "accuracy"].difference == 1.0


def test_a_hospital_with_too_few_patients_is_told_no_verdict() -> None:
    """Nine with the outcome and eleven without, and the joint model is right about all of them."""
    few = np.repeat([1.0, 0.0], [FEWEST - 1, FEWEST + 1])
    made = Board(outcome=RESPONSE, truth={"north": Targets(value=few)}, groups={"north": {}})
    made.add("federated", "north", np.where(few == 1, 0.9, 0.1))
    made.add("local:north", "north", np.where(few == 1, 0.1, 0.9))
    found = next(row for row in gain_rows(made, rng()) if row.metric == "auc")
    assert (found.federated, found.local, found.difference) == (1.0, 0.0, 1.0)
    assert all(math.isnan(end) for end in (found.low, found.high, found.probability_better))
    assert gain_of(found).word == "unknown"


def test_a_smaller_brier_score_is_the_better_one() -> None:
    row = next(row for row in gain_rows(board(), rng()) if row.metric == "brier")
    assert (row.federated, row.local) == pytest.approx((0.01, 0.81))
    assert row.difference == pytest.approx(-0.8)
    assert row.probability_better == 1.0


def test_equal_models_differ_by_nothing_and_neither_is_better() -> None:
    equal = board()
    equal.add("local:north", "north", RIGHT)
    row = next(row for row in gain_rows(equal, rng()) if (row.site, row.metric) == ("north", "auc"))
    assert (row.difference, row.low, row.high, row.probability_better) == (0.0, 0.0, 0.0, 0.5)


def test_a_model_is_judged_on_all_patients_only_where_it_covers_every_hospital() -> None:
    places = {(row.model, row.on) for row in evaluation_rows(board(), rng())}
    assert ("federated", "all") in places
    assert ("local:north", "north") in places
    assert ("local:north", "all") not in places


def test_a_model_of_two_hospitals_out_of_three_is_not_judged_on_all() -> None:
    made = board()
    made.add("pooled", "north", RIGHT)
    made.add("pooled", "south", RIGHT)
    three = Board(
        outcome=RESPONSE,
        truth={**made.truth, "west": Targets(value=TRUTH)},
        groups=made.groups,
        predictions={"pooled": made.predictions["pooled"]},
    )
    assert {row.on for row in evaluation_rows(three, rng())} == {"north", "south"}


def test_all_patients_together_are_not_the_mean_of_the_hospitals() -> None:
    """Each hospital ranks its own perfectly, but one scores everybody above the other."""
    made = board()
    made.add("federated", "north", np.where(TRUTH == 1, 0.2, 0.1))
    made.add("federated", "south", np.where(TRUTH == 1, 0.9, 0.8))
    values = {
        row.on: row.value
        for row in evaluation_rows(made, rng())
        if (row.model, row.metric) == ("federated", "auc")
    }
    assert values == {"north": 1.0, "south": 1.0, "all": 0.75}


def test_what_cannot_be_computed_is_not_a_number_and_gains_nothing() -> None:
    made = Board(outcome=RESPONSE, truth={"north": Targets(value=np.ones(6))}, groups={})
    made.add("federated", "north", np.linspace(0.1, 0.9, 6))
    made.add("local:north", "north", np.linspace(0.1, 0.9, 6))
    rows = evaluation_rows(made, rng())
    assert {row.on for row in rows} == {"north"}, "one hospital is not `all`"
    row = next(row for row in rows if row.metric == "auc")
    assert all(math.isnan(value) for value in (row.value, row.low, row.high))
    assert "auc" not in {gain.metric for gain in gain_rows(made, rng())}


def test_a_hospital_without_held_out_patients_measures_nothing_and_spoils_nothing() -> None:
    made = board()
    empty = np.empty(0)
    with_empty = Board(
        outcome=RESPONSE,
        truth={**made.truth, "void": Targets(value=empty)},
        groups={**made.groups, "void": {"sex": np.empty(0, dtype=object)}},
        predictions=made.predictions,
    )
    with_empty.add("federated", "void", empty)
    with_empty.add("local:void", "void", empty)
    rows = evaluation_rows(with_empty, rng())
    assert all(math.isnan(row.value) for row in rows if row.on == "void")
    assert [row.value for row in rows if (row.model, row.on, row.metric) == ("federated", "all", "auc")] == [
        1.0
    ]
    assert "void" not in {row.site for row in gain_rows(with_empty, rng())}


def test_survival_is_judged_by_the_order_of_deaths() -> None:
    time = np.arange(1.0, 21.0)
    made = Board(
        outcome=SURVIVAL,
        truth={site: Targets(value=time, event=np.ones(20, bool)) for site in ("north", "south")},
        groups={"north": {}, "south": {}},
    )
    for site in ("north", "south"):
        made.add("federated", site, -time)
    values = {(row.on, row.metric): row.value for row in evaluation_rows(made, rng())}
    assert values == {(on, "c_index"): 1.0 for on in ("north", "south", "all")}


def test_equal_seeds_give_equal_tables() -> None:
    assert evaluation_rows(board(), rng()) == evaluation_rows(board(), rng())
