"""Pictures are well-formed, say what they show, and take names literally."""

import math
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from wardround.simulations import plots
from wardround.simulations.resultrows import CapRow, CurveRow, EpsilonRow, GainRow

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(1)</script> & $\\frac{1}{0}$ "x"'
SITES = ("Alder", HOSTILE)


def forest() -> str:
    rows = [
        GainRow(
            site=site,
            metric="auc",
            federated=0.8,
            local=0.7,
            difference=0.1,
            low=low,
            high=0.2,
            probability_better=0.9,
        )
        for site, low in zip(SITES, (0.05, -0.1), strict=True)
    ]
    return plots.forest(rows, SITES, "auc")


def curves() -> str:
    rows = [
        CurveRow(round=r, on=on, metric="auc", value=0.5 + r / 10) for on in ("all", *SITES) for r in (1, 2)
    ]
    return plots.curves(rows, "auc")


def spent() -> str:
    rows = [EpsilonRow(site=site, adversary="server", value=2.5) for site in SITES]
    return plots.spent(rows, [CapRow(site=SITES[0], cap=4.0)], SITES)


ALL = pytest.mark.parametrize("draw", [forest, curves, spent], ids=["forest", "curves", "spent"])


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()).strip() for node in parsed(svg).iter(f"{SVG}text")]


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - our own text


@ALL
def test_equal_input_gives_equal_bytes(draw: Callable[[], str]) -> None:
    assert draw() == draw()


@ALL
def test_a_hostile_name_stays_text_and_is_no_formula(draw: Callable[[], str]) -> None:
    root = parsed(draw())
    assert not list(root.iter(f"{SVG}script"))
    assert HOSTILE in texts(draw())


@ALL
def test_a_screen_reader_gets_a_title_and_every_value(draw: Callable[[], str]) -> None:
    root = parsed(draw())
    labels = root.attrib["aria-labelledby"].split()
    named = {node.attrib["id"]: node.text or "" for node in root if node.tag in (f"{SVG}title", f"{SVG}desc")}
    assert root.attrib["role"] == "img"
    assert list(named) == labels
    assert all(site in named[labels[1]] for site in SITES)


@ALL
def test_every_reference_inside_a_picture_finds_its_target(draw: Callable[[], str]) -> None:
    root = parsed(draw())
    ids = {node.attrib["id"] for node in root.iter() if "id" in node.attrib}
    used = {
        value.removeprefix("#")
        for node in root.iter()
        for name, value in node.attrib.items()
        if name.endswith("href")
    }
    assert used
    assert used <= ids


def test_pictures_on_one_page_share_no_id_and_no_global_style() -> None:
    ids: list[str] = []
    for svg in (forest(), curves(), spent()):
        ids += {node.attrib["id"] for node in parsed(svg).iter() if "id" in node.attrib}
        assert not list(parsed(svg).iter(f"{SVG}style"))
    assert len(set(ids)) == len(ids)


def test_the_forest_plot_names_sites_in_the_given_order_with_their_gains() -> None:
    said = [text.replace("\N{NO-BREAK SPACE}", " ") for text in texts(forest())]
    assert [text for text in said if text in SITES] == list(SITES)
    assert "+.10 [.05 to .20]" in said


def test_a_gain_that_could_not_be_measured_is_said_and_not_drawn_as_zero() -> None:
    row = GainRow(
        site="Alder",
        metric="auc",
        federated=0.8,
        local=0.7,
        difference=math.nan,
        low=math.nan,
        high=math.nan,
        probability_better=math.nan,
    )
    assert "too few patients to tell" in texts(plots.forest([row], ["Alder"], "auc"))


def test_infinite_epsilon_is_said_to_be_infinite() -> None:
    rows = [EpsilonRow(site="Alder", adversary="server", value=math.inf)]
    assert "infinite" in texts(plots.spent(rows, [], ["Alder"]))


def test_of_several_adversaries_the_largest_epsilon_is_drawn() -> None:
    rows = [EpsilonRow(site="Alder", adversary=name, value=value) for name, value in (("a", 1.0), ("b", 2.5))]
    assert "2.5 of a cap of 4" in texts(plots.spent(rows, [CapRow(site="Alder", cap=4.0)], ["Alder"]))


def test_many_hospitals_are_drawn_without_a_name_each() -> None:
    rows = [CurveRow(round=r, on=f"Hospital {n}", metric="auc", value=0.5) for n in range(20) for r in (1, 2)]
    assert not any(text.startswith("Hospital") for text in texts(plots.curves(rows, "auc")))
