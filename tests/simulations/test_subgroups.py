"""Groups of patients, with answers known beforehand."""

import numpy as np
import pytest
from tests.runs import RESPONSE, SURVIVAL

from wardround.common.learning.metrics import auc
from wardround.common.study.outcomes import Targets
from wardround.simulations.evaluation import Board
from wardround.simulations.subgroups import GroupTables, group_tables

Patients = tuple[np.ndarray, np.ndarray, np.ndarray]


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def board(sex: np.ndarray, truth: np.ndarray, made: np.ndarray) -> Board:
    """The same patients at two hospitals."""
    found = Board(
        outcome=RESPONSE,
        truth={site: Targets(value=truth) for site in ("north", "south")},
        groups={site: {"sex": sex} for site in ("north", "south")},
    )
    for site in ("north", "south"):
        found.add("federated", site, made)
    return found


def patients(men: int = 20, women: int = 20) -> Patients:
    """The model is right for women, a coin for men; each group is half ill."""
    sex = np.array(["f"] * women + ["m"] * men, dtype=object)
    truth = np.arange(men + women) % 2.0
    right = np.where(truth == 1, 0.9, 0.1)
    return sex, truth, np.where(sex == "f", right, np.tile([0.4, 0.4, 0.6, 0.6], men + women)[: men + women])


def tables(*arguments: np.ndarray) -> GroupTables:
    return group_tables(board(*arguments), rng())


def test_values_gaps_and_the_worst_group_are_those_of_the_patients() -> None:
    sex, truth, made = patients()
    found = tables(sex, truth, made)
    values = {row.group: row for row in found.values if row.metric == "auc"}
    assert (values["f"].value, values["m"].value) == (1.0, 0.5)
    assert values["m"].patients == 40
    whole = auc(np.tile(truth, 2), np.tile(made, 2))
    gaps = {row.group: row for row in found.gaps if row.metric == "auc"}
    assert gaps["m"].difference == pytest.approx(0.5 - whole)
    assert gaps["m"].low < gaps["m"].difference < gaps["m"].high < 0
    assert (gaps["f"].verdict, gaps["m"].verdict) == ("better", "worse")
    worst = next(row for row in found.worst if row.metric == "auc")
    assert (worst.group, worst.value, worst.judged, worst.too_few) == ("m", 0.5, 2, 0)


def test_a_larger_brier_score_is_the_worse_one() -> None:
    found = tables(*patients())
    gap = next(row for row in found.gaps if (row.metric, row.group) == ("brier", "m"))
    assert gap.difference > 0
    assert gap.verdict == "worse"
    assert next(row for row in found.worst if row.metric == "brier").group == "m"


def test_a_group_that_is_nearly_everybody_has_hardly_a_gap_because_both_see_the_same_draws() -> None:
    """Two in a hundred patients are in no group: the gap is sure to be small, however wide the value's interval."""
    truth = np.arange(100) % 2.0
    made = np.random.default_rng(0).random(100)
    found = tables(np.array(["f"] * 98 + [None] * 2, dtype=object), truth, made)
    value = next(row for row in found.values if row.metric == "auc")
    gap = next(row for row in found.gaps if row.metric == "auc")
    assert value.high - value.low > 0.1
    assert gap.high - gap.low < 0.03


def test_too_few_patients_to_tell_is_an_answer_and_not_a_number() -> None:
    sex, truth, made = patients(men=8)
    found = tables(sex, truth, made)
    assert {row.patients for row in found.gaps if row.group == "m"} == {16}
    numbers = [(row.group, row.value) for row in found.values] + [
        (row.group, row.difference) for row in found.gaps
    ]
    assert all(np.isnan(number) == (group == "m") for group, number in numbers)
    assert {row.verdict for row in found.gaps if row.group == "m"} == {"too-few"}
    assert found.worst == (), "one group has no worst of several"


def test_patients_whose_group_is_unknown_count_in_no_group() -> None:
    sex, truth, made = patients()
    sex[:4] = None
    assert {row.patients for row in tables(sex, truth, made).gaps if row.group == "f"} == {32}


def test_a_model_that_does_not_cover_every_hospital_has_no_groups() -> None:
    made = board(*patients())
    made.predictions["federated"].pop("south")
    assert group_tables(made, rng()) == GroupTables(values=(), gaps=(), worst=())


def test_survival_is_compared_by_order_and_by_probability_over_horizons_that_every_group_reaches() -> None:
    time = np.tile(np.arange(1.0, 31.0), 2)
    sex = np.array(["f"] * 30 + ["m"] * 30, dtype=object)
    time[30:] = time[30:] / 2  # no man is followed beyond 15 months
    made = Board(
        outcome=SURVIVAL,
        truth={site: Targets(value=time, event=np.ones(60, bool)) for site in ("north", "south")},
        groups={site: {"sex": sex} for site in ("north", "south")},
    )
    known = (time[:, None] > np.array(SURVIVAL.cut_points)).astype(float)
    known[:, 2:] = 0.5  # beyond 15 months the model knows nothing of women either
    for site in ("north", "south"):
        made.add("federated", site, -time, np.where(sex[:, None] == "f", known, 0.5))
    values = {(row.metric, row.group): row.value for row in group_tables(made, rng()).values}
    assert values == {
        ("c_index", "f"): 1.0,
        ("c_index", "m"): 1.0,
        ("integrated_brier", "f"): 0.0,
        ("integrated_brier", "m"): 0.25,
    }


def test_equal_seeds_give_equal_tables() -> None:
    assert tables(*patients()) == tables(*patients())
