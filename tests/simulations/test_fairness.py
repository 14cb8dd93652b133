"""The effect of fairness in training is measured on the same patients, and the page says what was measured."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from wardround.common.wording import number
from wardround.simulations.fairness import compare, page, run_metabric
from wardround.simulations.fairness_cases import DIFFERENT, invented, invented_arms


@pytest.mark.slow
def test_weights_and_a_worst_site_objective_help_those_they_are_for(tmp_path: Path) -> None:
    protocol, table = invented(np.random.default_rng(1), tmp_path)
    found = compare(protocol, tmp_path, table, "hospital", invented_arms())
    by = {(one.arm, one.place): one for one in found}
    assert by["plain", "all"].difference == 0
    assert by["group weights", "group: b"].difference_low > 0
    assert by["worst site, q = 4", DIFFERENT].difference > 0
    for arm in ("plain", "group weights"):
        groups = [by[arm, place].value for place in ("group: a", "group: b")]
        assert by[arm, "worst group"].value == min(groups)
    stored = {number(value) for one in found for value in (one.value, one.low, one.high)}
    shown = {each for line in page(found).splitlines() for each in re.findall(r"\| (\.\d+) \[", line)}
    assert shown
    assert shown <= stored


@pytest.mark.slow
@pytest.mark.real_data
def test_metabric_is_measured_in_every_cohort(real_data: Path) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = run_metabric(real_data)
    places = {one.place for one in found}
    assert {"all", "worst hospital", "1", "2", "3", "4", "5"} <= places
    assert all(0.5 < one.value < 1 for one in found if one.place == "all")
