"""Pictures of calibration, decisions and groups are well-formed, say every value in words, and take names literally."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from wardround.simulations import evidence_plots
from wardround.simulations.evidencerows import BinRow, GapRow, NetBenefitRow
from wardround.simulations.resultrows import SubgroupRow

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<b>& $\\frac{1}{0}$"
SUBJECTS = ("12 months", HOSTILE)


def place(subject: str) -> dict[str, str]:
    return {"model": "federated", "on": "all", "column": "", "group": "", "subject": subject}


def calibration() -> str:
    rows = [
        BinRow(
            **place(subject),
            above=p - 0.1,
            upto=p,
            patients=31,
            predicted=p - 0.04,
            observed=0.19,
            low=0.09,
            high=0.36,
        )
        for subject in SUBJECTS
        for p in (0.1, 0.7)
    ]
    return evidence_plots.calibration(rows)


def decisions() -> str:
    rows = [
        NetBenefitRow(**place(subject), threshold=t, value=0.3 - t / 2, low=0.01, high=0.3, treat_all=0.3 - t)
        for subject in SUBJECTS
        for t in (0.1, 0.5)
    ]
    return evidence_plots.decisions(rows)


def groups() -> str:
    values = [
        SubgroupRow(
            model="federated",
            column="sex",
            group=group,
            metric="auc",
            value=value,
            low=value - 0.1,
            high=value + 0.1,
            patients=patients,
        )
        for group, value, patients in (("12 months", 0.81, 120), (HOSTILE, math.nan, 7))
    ]
    gap = GapRow(
        model="federated",
        column="sex",
        group="12 months",
        metric="auc",
        difference=-0.05,
        low=-0.09,
        high=-0.01,
        patients=120,
        verdict="worse",
    )
    return evidence_plots.groups(values, [gap], "auc", 0.86)


ALL = pytest.mark.parametrize("draw", [calibration, decisions, groups])


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own text


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in parsed(svg).iter(f"{SVG}text")]


@ALL
def test_equal_input_gives_equal_bytes(draw: Callable[[], str]) -> None:
    assert draw() == draw()


@ALL
def test_a_hostile_name_stays_text_and_is_no_formula(draw: Callable[[], str]) -> None:
    assert not list(parsed(draw()).iter(f"{SVG}b"))
    assert any(HOSTILE in text for text in texts(draw()))


@ALL
def test_a_screen_reader_hears_every_question_or_group(draw: Callable[[], str]) -> None:
    said = next(node.text or "" for node in parsed(draw()) if node.tag == f"{SVG}desc")
    assert all(name in said for name in SUBJECTS)


def test_a_screen_reader_hears_every_number() -> None:
    assert "0.66 predicted, 0.19 happened (31 patients)" in calibration()
    assert (
        "at 0.50 .05 [.01\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}.30], everybody \N{MINUS SIGN}.20"
        in decisions()
    )


def test_a_group_with_too_few_patients_is_said_and_not_drawn() -> None:
    assert "too few patients to tell, n = 7" in texts(groups())
    assert any(text.startswith(".81 [.71") for text in texts(groups()))


def test_many_classes_share_a_row_by_threes_and_long_names_are_cut_in_titles_only() -> None:
    long = "a class with a name that is much longer than its panel"
    rows = [
        BinRow(
            **place(name),
            above=0.1,
            upto=0.2,
            patients=9,
            predicted=0.15,
            observed=0.2,
            low=0.1,
            high=0.4,
        )
        for name in (long, "b", "c", "d")
    ]
    picture = evidence_plots.calibration(rows)
    assert {"b", "c", "d"} < set(texts(picture))
    assert long not in texts(picture)
    assert long in picture
