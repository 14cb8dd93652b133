"""Hundreds of hospitals: who gains or loses comes first, and nothing is left out of the page."""

from dataclasses import replace

import pytest
from tests.runs import open_run, study

from wardround.simulations.digest import in_words
from wardround.simulations.plots import forest
from wardround.simulations.report import render
from wardround.simulations.resultrows import CohortRow, GainRow
from wardround.simulations.results import Results
from wardround.simulations.verdicts import MANY


def results_of(hospitals: int) -> Results:
    """Every tenth hospital gains for sure, one loses, the others are not sure."""
    gains = tuple(gain(f"H{number:03d}", number) for number in range(hospitals))
    cohorts = tuple(CohortRow(site=row.site, patients=20, held_out=20) for row in gains)
    finished = Results.load(open_run() / "results.json")
    return replace(finished, gains=gains, cohorts=cohorts, epsilon=(), curves=())


def gain(site: str, number: int) -> GainRow:
    low, high = (0.02, 0.2) if number % 10 == 0 else (-0.1, 0.1)
    if number == 1:
        low, high = -0.2, -0.02
    middle = (low + high) / 2
    return GainRow(
        site=site,
        metric="auc",
        federated=0.7 + middle,
        local=0.7,
        difference=middle,
        low=low,
        high=high,
        probability_better=0.5,
    )


def test_with_many_hospitals_the_sure_ones_lead_and_the_others_are_folded() -> None:
    page = render(results_of(50), study())
    first, rest = page.split("<details>", maxsplit=1)
    for number in (0, 1, 10, 20, 30, 40):
        assert f"<b>H{number:03d}</b>" in first
    assert "44 hospitals without a difference we can be sure of" in rest
    for number in set(range(50)) - {0, 1, 10, 20, 30, 40}:
        assert f"<b>H{number:03d}</b>" not in first
        assert f"<b>H{number:03d}</b>" in rest
        assert f'<th scope="row">H{number:03d}</th>' in rest


def test_with_few_hospitals_nothing_is_folded() -> None:
    page = render(results_of(MANY), study())
    assert "without a difference we can be sure of</summary>" not in page
    assert page.index("<b>H002</b>") < page.index("<table>")


@pytest.mark.parametrize(("hospitals", "lines"), [(MANY, MANY), (MANY + 1, 1)])
def test_the_terminal_counts_hospitals_where_it_cannot_list_them(hospitals: int, lines: int) -> None:
    results = results_of(hospitals)
    said = [line for line in in_words(results).splitlines() if "H0" in line or "hospitals" in line]
    assert len(said) == lines


def test_a_picture_of_many_hospitals_grows_slower_than_their_number() -> None:
    def height(hospitals: int) -> float:
        results = results_of(hospitals)
        svg = forest(results.gains, results.sites, "auc")
        return float(svg.split('height="')[1].split("pt")[0])

    assert height(10 * MANY) < 6 * height(MANY)
