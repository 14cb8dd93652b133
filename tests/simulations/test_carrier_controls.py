"""The controls that were planned before they were run; `docs/results/controls.md` has the figures of every run."""

import pytest

from wardround.simulations.controls import controls, run_all, the_plan, verdict


def test_the_plan_has_twenty_seeds_of_each_kind_and_none_twice() -> None:
    wanted = the_plan()
    seeds = [*wanted["shuffled"], *wanted["planted"]]
    assert len(wanted["shuffled"]) == len(wanted["planted"]) == 20
    assert len(set(seeds)) == 40
    assert (wanted["fewest_intervals"], wanted["most_false_carriers"], wanted["fewest_found"]) == (17, 0, 19)
    planted = [one for one in controls(wanted) if one.kind == "planted"]
    assert all(one.planted.startswith("expr_G0") for one in planted)
    assert len({one.planted for one in planted}) > 3


@pytest.mark.slow
def test_shuffled_labels_have_no_carriers_and_a_planted_one_is_found() -> None:
    wanted = {**the_plan(), "reported": []}
    found = verdict(run_all(wanted), "none")
    assert found.passed(wanted), found
