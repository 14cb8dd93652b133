"""The arms of the comparison on real cohorts spend what they say and differ in nothing but the noise."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import times
from wardround.common.study.reader import load
from wardround.common.study.schema import DRAFTED
from wardround.simulations.joint_recipe import CLIPPING, joint_recipe
from wardround.simulations.utility import UtilityRow
from wardround.simulations.utility_cases import (
    CASES,
    STUDIES,
    central_noise,
    declared,
    joint_arm,
    plain_arm,
    site_arm,
)
from wardround.simulations.utility_page import page

METABRIC = [str(number) for number in range(1, 6)]
SITES = {
    "metabric-pam50-joint": METABRIC,
    "metabric-survival-joint": METABRIC,
    "pancan-msi-joint": [f"{number:03d}" for number in range(150)],
}


def test_every_protocol_has_a_case() -> None:
    assert {path.stem for path in STUDIES.glob("*.toml")} == {case.study for case in CASES}


@pytest.mark.parametrize("name", SITES)
def test_protocols_are_set_by_the_recipe_and_nothing_comes_from_their_table(name: str) -> None:
    protocol = load(STUDIES / f"{name}.toml")
    assert DRAFTED not in {feature.source for feature in protocol.features}
    length = protocol.privacy.clipping_norm / CLIPPING
    patients = 6000 if name == "pancan-msi-joint" else declared(protocol, SITES[name])
    recipe = joint_recipe(epsilon=1.0, delta=1e-5, patients=patients, length=length)
    terms = protocol.federation
    assert terms.rounds == recipe.rounds
    assert terms.learning_rate == pytest.approx(recipe.learning_rate, rel=0.01)
    assert epsilon(times(protocol.event(), terms.rounds), 1e-5) == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("wanted", [1.0, 3.0, 8.0])
def test_arms_spend_the_same_in_the_same_steps(name: str, wanted: float) -> None:
    sites = SITES[name]
    joint = joint_arm(load(STUDIES / f"{name}.toml"), sites, epsilon=wanted)
    site = site_arm(joint, sites, epsilon=wanted)
    for arm in (joint, site):
        spent = epsilon(times(arm.event(), arm.federation.rounds), arm.privacy.delta)
        assert wanted - 0.01 <= spent <= wanted
    assert joint.privacy.honest_sites == len(sites) - 1
    assert site.federation.learning_rate == joint.federation.learning_rate
    assert site.privacy.clipping_norm == joint.privacy.clipping_norm
    assert central_noise(joint, epsilon=wanted) == pytest.approx(joint.privacy.noise_multiplier, rel=1e-3)


def test_site_noise_weighs_sites_by_their_declared_sizes() -> None:
    joint = joint_arm(load(STUDIES / "metabric-pam50-joint.toml"), METABRIC, epsilon=1.0)
    site = site_arm(joint, METABRIC, epsilon=1.0)
    weights = site.federation.weights(tuple(METABRIC))
    assert weights == {name: joint.reference_patients(name) for name in METABRIC}


def test_plain_has_no_noise() -> None:
    assert not plain_arm(load(STUDIES / "pancan-msi-joint.toml")).private


def rows(joint: float, central: float) -> pd.DataFrame:
    def of(arm: str, value: float, at: float = math.nan, draw: int = 0) -> UtilityRow:
        return UtilityRow(study="S", sites=5, epsilon=at, arm=arm, draw=draw, value=value)

    drawn = [
        of(arm, value + shift, 1.0, draw)
        for arm, value in {"joint": joint, "central": central, "site": 0.6}.items()
        for draw, shift in enumerate((-0.01, 0.01))
    ]
    exact = [of("none", 0.8), of("alone", 0.7), of("alone at home", 0.71)]
    return pd.DataFrame([asdict(row) for row in (*drawn, *exact)])


@pytest.mark.parametrize(("joint", "word"), [(0.735, "yes"), (0.72, "no")])
def test_the_page_says_whether_joint_noise_keeps_up(joint: float, word: str) -> None:
    line = page(rows(joint, 0.75)).splitlines()[-1]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == ["S", "5", "1", "2"]
    assert cells[4].startswith(f"{joint:.3f}".removeprefix("0"))
    assert cells[7:9] == [f"{joint - 0.75:+.3f}", word]
    assert cells[9:] == [".800", ".700", ".710"]
    assert np.isclose(float(cells[4].split("(")[1].rstrip(")")), 0.0141, atol=1e-3)
