"""The price of privacy: means over hospitals with honest intervals, claims on the axis, a picture that can be read."""

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.simulations.test_report import HOSTILE, Page

from wardround.simulations.comparison import comparison_report
from wardround.simulations.observers import EVERYBODY, EVERYBODY_ELSE, SERVER, TOLERATED
from wardround.simulations.resultrows import CohortRow, EpsilonRow, EvaluationRow, GainRow
from wardround.simulations.results import Results
from wardround.simulations.tradeoff import mean, tradeoff
from wardround.simulations.tradeoff_plot import draw, in_words

SVG = "{http://www.w3.org/2000/svg}"
SITES = ("Alder", "Birch", "Cedar")


def run(
    mechanism: str, epsilon: float, joint: float, *, study: str = "response", own: float = 0.7
) -> Results:
    """Three hospitals; the joint model is `joint` at the first and a little better at each next."""
    rows = [
        row
        for place, site in enumerate(SITES)
        for row in (
            estimate("federated", site, joint + place / 100, 0.02),
            estimate(f"local:{site}", site, own, 0.05),
            estimate("pooled", site, 0.93, 0.02),
        )
    ]
    gains = tuple(
        GainRow(
            site=site,
            metric="auc",
            federated=joint + place / 100,
            local=own,
            difference=joint + place / 100 - own,
            low=0.01,
            high=0.2,
            probability_better=0.99,
        )
        for place, site in enumerate(SITES)
    )
    claims = {
        "none": {EVERYBODY: math.inf},
        "site-noise": {EVERYBODY: epsilon},
        "joint-noise": {SERVER: 0.8 * epsilon, TOLERATED: epsilon, EVERYBODY_ELSE: 2 * epsilon},
    }[mechanism]
    return Results(
        study=study,
        mechanism=mechanism,
        training_private=mechanism != "none",
        evaluation_private=False,
        delta=1e-5,
        epsilon=tuple(
            EpsilonRow(site=site, adversary=name, value=value)
            for site in SITES
            for name, value in claims.items()
        ),
        rounds=2,
        evaluation=(*rows, estimate("federated", "all", joint, 0.01), estimate("pooled", "all", 0.93, 0.01)),
        gains=gains,
        cohorts=tuple(CohortRow(site=site, patients=60, held_out=20) for site in SITES),
        honest_sites=2 if mechanism == "joint-noise" else 0,
    )


def estimate(model: str, on: str, value: float, half: float) -> EvaluationRow:
    return EvaluationRow(model=model, on=on, metric="auc", value=value, low=value - half, high=value + half)


RUNS = (
    run("none", math.inf, 0.90),
    run("joint-noise", 1.0, 0.84),
    run("joint-noise", 8.0, 0.89),
    run("site-noise", 1.0, 0.60),
    run("site-noise", 8.0, 0.80),
)


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    return ["".join(node.itertext()).strip() for node in root.iter(f"{SVG}text")]


def test_each_hospital_counts_the_same() -> None:
    found = tradeoff(RUNS)
    assert found is not None
    assert found.unprotected.value == pytest.approx(0.91)
    assert found.own.value == pytest.approx(0.7)
    assert [round(point.estimate.value, 3) for point in found.points] == [0.85, 0.90, 0.61, 0.81]


def test_the_interval_is_that_of_a_mean_of_independent_estimates() -> None:
    """Against a plain simulation: three normal estimates with the half-widths of the rows."""
    rng = np.random.default_rng(0)
    halves = np.array([0.02, 0.05, 0.11])
    rows = tuple(estimate("federated", site, 0.8, half) for site, half in zip(SITES, halves, strict=True))
    found = mean(replace(RUNS[0], evaluation=rows), lambda _: "federated", "auc", SITES)
    drawn = rng.normal(0.8, halves / 1.959964, (200_000, 3)).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-4)


def test_on_the_axis_stands_the_claim_not_the_best_case() -> None:
    found = tradeoff(RUNS)
    assert found is not None
    assert [(point.mechanism, point.epsilon) for point in found.points] == [
        ("joint-noise", 1.0),
        ("joint-noise", 8.0),
        ("site-noise", 1.0),
        ("site-noise", 8.0),
    ]
    assert found.honest == (2, 3)


def test_a_hospital_that_one_run_could_not_measure_counts_in_none() -> None:
    broken = replace(RUNS[1], evaluation=RUNS[1].evaluation[1:])  # the joint model at Alder is not there
    found = tradeoff([RUNS[0], broken])
    assert found is not None
    assert found.unprotected.value == pytest.approx((0.91 + 0.92) / 2)
    undefined = replace(RUNS[0].evaluation[0], value=math.nan, low=math.nan, high=math.nan)
    found = tradeoff([replace(RUNS[0], evaluation=(undefined, *RUNS[0].evaluation[1:])), RUNS[1]])
    assert found is not None
    assert found.points[0].estimate.value == pytest.approx((0.85 + 0.86) / 2)


@pytest.mark.parametrize("runs", [RUNS[:1], RUNS[1:], ()])
def test_without_both_sides_there_is_no_price(runs: tuple[Results, ...]) -> None:
    assert tradeoff(runs) is None


def test_a_run_that_is_not_private_is_no_point() -> None:
    found = tradeoff([RUNS[0], RUNS[1], replace(RUNS[2], training_private=False)])
    assert found is not None
    assert [point.epsilon for point in found.points] == [1.0]


def test_the_picture_says_every_value_and_names_both_yardsticks() -> None:
    found = tradeoff(RUNS)
    assert found is not None
    said = in_words([found]).replace("\N{NO-BREAK SPACE}", " ")
    assert "without privacy .91 [.90 to .92]" in said
    assert "every hospital's own model .70 [.67 to .73]" in said
    assert "joint noise at epsilon 1 .85" in said
    assert "site noise at epsilon 8 .81" in said
    shown = " ".join(texts(draw([found])))
    for part in ("joint noise", "site noise", "privacy .91", "model .70", "epsilon: smaller is more private"):
        assert part in shown


def test_mechanisms_differ_by_line_shape_and_fill_as_well_as_by_colour() -> None:
    found = tradeoff(RUNS)
    assert found is not None
    joint = tuple(point for point in found.points if point.mechanism == "joint-noise")
    site = tuple(point for point in found.points if point.mechanism == "site-noise")
    round_, square = (without_colour(draw([replace(found, points=points)])) for points in (joint, site))
    assert len(round_["shapes"] ^ square["shapes"]) >= 2
    assert round_["dashes"] != square["dashes"]
    assert "#ffffff" in square["fills"] - round_["fills"]


def without_colour(svg: str) -> dict[str, set[str]]:
    """What is left of a picture for somebody who sees no colour."""
    root = ET.fromstring(svg)  # noqa: S314 - our own text
    styles = " ".join(node.attrib.get("style", "") for node in root.iter())
    defined = [path for defs in root.iter(f"{SVG}defs") for path in defs.iter(f"{SVG}path")]
    return {
        "shapes": {" ".join(path.attrib["d"].split()) for path in defined},
        "dashes": set(re.findall(r"stroke-dasharray: ([^;]+)", styles)),
        "fills": set(re.findall(r"fill: (#[0-9a-f]{6})", styles)),
    }


def test_the_same_studies_give_the_same_picture_and_names_stay_text() -> None:
    hostile = tradeoff([replace(one, study=HOSTILE) for one in RUNS])
    assert hostile is not None
    assert draw([hostile]) == draw([hostile])
    assert HOSTILE in texts(draw([hostile]))


def page(tmp_path: Path, study: str = "response") -> Page:
    runs = [
        (replace(one, study=study), f"run {number}", tmp_path / f"r {number}")
        for number, one in enumerate(RUNS)
    ]
    other = (run("site-noise", 3.0, 0.8, study="survival"), "alone", tmp_path / "s" / "report.html")
    return Page(comparison_report([*runs[:2], other, *runs[2:]], tmp_path).read_text(encoding="utf-8"))


def test_the_page_leads_with_the_price_in_words(tmp_path: Path) -> None:
    text = page(tmp_path).text
    assert (
        "At the average hospital the joint model reaches AUC .91 without privacy, and every hospital's own model .70. "
        "The joint model reaches .85 and .90 with joint noise at epsilon 1 and 8; .61 and .81 with site noise at "
        "epsilon 1 and 8." in text
    )


def test_the_page_says_against_whom_the_epsilons_on_the_axis_hold(tmp_path: Path) -> None:
    text = page(tmp_path).text
    assert (
        "Epsilon of joint noise holds while at least 2 of 3 hospitals are honest; if all others collude it is 2 "
        "instead of 1, 16 instead of 8. Epsilon of site noise holds against everybody else together." in text
    )
    assert (
        "epsilon 1 at delta 1e-5 per patient of a hospital, while at least 2 of 3 hospitals are honest; 2 if"
        in text
    )


def test_every_run_is_linked_by_study_and_every_hospital_has_a_cell(tmp_path: Path) -> None:
    found = page(tmp_path)
    links = [value for name, value in found.attributes if name == "href"]
    assert links == [*(f"r%20{number}/report.html" for number in range(5)), "s/report.html"]
    assert found.text.count("▲") >= 6 * 3
    assert "Run Alder Birch Cedar All " in found.text


def test_a_hostile_study_and_label_are_escaped_in_the_comparison(tmp_path: Path) -> None:
    found = page(tmp_path, study=HOSTILE)
    assert "script" not in found.tags
    assert found.open == []
    assert found.text.count(HOSTILE) >= 3
