"""A verdict speaks only where the interval does, and its signs mean the same for every metric."""

import math

import pytest

from wardround.common.wording import METRIC_MEANINGS, METRIC_NAMES, number, signed
from wardround.simulations.resultrows import METRICS, GainRow
from wardround.simulations.verdicts import gain_of, sentence, summary


def gain(low: float, high: float, *, metric: str = "auc", site: str = "Alder") -> GainRow:
    middle = (low + high) / 2
    return GainRow(
        site=site,
        metric=metric,
        federated=0.5 + middle,
        local=0.5,
        difference=middle,
        low=low,
        high=high,
        probability_better=0.5,
    )


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.01, 0.2, "better"),
        (-0.2, -0.01, "worse"),
        (-0.01, 0.2, "unsure"),
        (0.0, 0.2, "unsure"),
        (-0.2, 0.0, "unsure"),
        (math.nan, 0.2, "unknown"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side_of_zero(low: float, high: float, word: str) -> None:
    assert gain_of(gain(low, high)).word == word


@pytest.mark.parametrize(("low", "high", "word"), [(0.01, 0.2, "worse"), (-0.2, -0.01, "better")])
def test_a_lower_brier_score_is_better(low: float, high: float, word: str) -> None:
    assert gain_of(gain(low, high, metric="brier")).word == word


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.853, ".85"),
        (0.0, "0"),
        (0.004, ".004"),
        (0.0001, "0"),
        (-0.0001, "0"),
        (0.999, "1.00"),
        (1.0, "1.00"),
        (-1.2, "\N{MINUS SIGN}1.20"),
        (0.1, ".10"),
        (-0.05, "\N{MINUS SIGN}.05"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_numbers_read_as_a_journal_prints_them(value: float, text: str) -> None:
    assert number(value) == text


def test_zero_and_nothing_carry_no_plus_sign() -> None:
    assert [signed(v) for v in (0.0001, math.nan, 0.2)] == ["0", "n/a", "+.20"]


def test_a_sentence_gives_both_values_the_difference_and_its_interval() -> None:
    text = sentence(gain(0.03, 0.21)).replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "the joint model is better than its own: AUC .62 against .50, a difference of +.12 [.03 to .21]."
    )
    assert sentence(gain(-0.1, 0.2)).startswith("no difference we can be sure of")
    assert sentence(gain(-0.3, -0.2)).startswith("the joint model is worse")
    assert "too few patients to tell which" in sentence(gain(math.nan, math.nan))


@pytest.mark.parametrize(
    ("gains", "text"),
    [
        ([], "No hospital could be compared."),
        ([(-1, 1)], "No difference we can be sure of at 1 of 1 hospital."),
        ([(-1, 1)] * 3, "No difference we can be sure of at 3 of 3 hospitals."),
        (
            [(0.1, 1), (-1, 1), (-1, -0.1), (math.nan, 1)],
            "The joint model is better at 1 of 4 hospitals; worse at 1; no difference we can be "
            "sure of at 1; too few patients to tell at 1.",
        ),
    ],
)
def test_the_summary_counts_every_hospital_once(gains: list[tuple[float, float]], text: str) -> None:
    assert summary([gain(low, high) for low, high in gains]) == text


def test_every_metric_has_a_name_and_a_meaning() -> None:
    assert set(METRIC_NAMES) == set(METRIC_MEANINGS) == set(METRICS)
