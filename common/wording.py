"""Numbers and metrics as every page writes them."""

import math
from collections.abc import Mapping
from typing import Any, Final

METRIC_NAMES: Final = {
    "auc": "AUC",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "c_index": "C-index",
    "integrated_brier": "integrated Brier score",
    "r2": "R²",
    "spearman": "Spearman correlation",
}
METRIC_MEANINGS: Final = {
    "auc": "chance that a patient with the outcome is ranked above one without it; .5 is a coin",
    "accuracy": "share of patients put into the right class",
    "brier": "mean squared error of the predicted probabilities; lower is better",
    "c_index": "chance that of two patients the one who dies first had the higher predicted risk; .5 is a coin",
    "integrated_brier": "mean squared error of predicted survival over the horizons; lower is better",
    "r2": "share of the outcome's variance that the model explains; below zero is worse than the mean",
    "spearman": "agreement of predicted and true ranks, from -1 to 1",
}
CALIBRATION_NAMES: Final = {
    "calibration_slope": "calibration slope",
    "calibration_intercept": "calibration intercept",
    "calibration_in_the_large": "calibration in the large",
    "expected_calibration_error": "expected calibration error",
}
TOO_FEW: Final = "too few patients to tell"
GAPS: Final = {
    "better": "better than for all",
    "worse": "worse than for all",
    "unsure": "no difference we can be sure of",
    "too-few": TOO_FEW,
}
"""What a group's verdict means; see `evidencerows.GapRow`."""
JUDGEMENTS: Final = {
    "met": "met: the whole interval for the population is on the right side",
    "not-met": "not met: the whole interval for the population is on the wrong side",
    "unsure": "undecided: the interval for the population holds the threshold",
    "withheld": "withheld: too few patients for so much noise",
}
"""What a study's verdict on its own measure means; see `evaluating.Judgement`."""
DRIFTS: Final = {
    "drifted": "drifted",
    "steady": "no drift seen",
    "too-few": TOO_FEW,
}
"""What a change since release means; see `drift.Change`."""
NOTHING: Final = "n/a"
_MINUS: Final = "\N{MINUS SIGN}"
_TIE: Final = "\N{NO-BREAK SPACE}"


def number(value: float) -> str:
    """Two decimals without a leading zero; three where two would hide it; `n/a` where there is none.

    >>> number(0.853), number(0.004), number(1.0), number(float("nan"))
    ('.85', '.004', '1.00', 'n/a')
    """
    if not math.isfinite(value):
        return NOTHING
    decimals = 3 if 0 < abs(value) < 0.01 else 2
    text = f"{value:.{decimals}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"
    return "0" if text in (".00", "-.00", ".000", "-.000") else text.replace("-", _MINUS)


def signed(value: float) -> str:
    """As `number`, with a plus sign where it is positive."""
    text = number(value)
    return f"+{text}" if value > 0 and text not in ("0", NOTHING) else text


def interval(low: float, high: float) -> str:
    """An interval in words, so that a minus sign is never read as a dash; it does not break across lines.

    >>> interval(0.03, 0.21).replace(chr(160), " ")
    '[.03 to .21]'
    """
    return f"[{number(low)}{_TIE}to{_TIE}{number(high)}]"


def change_in_words(change: Mapping[str, Any]) -> str:
    """A change of a measure since release, with what it would have taken to be noticed.

    Args:
        change: A `drift.Change` as JSON.
    """
    word = DRIFTS[change["verdict"]]
    if change["difference"] is None:
        return f"{word}: withheld, because of the noise"
    both = f"{number(change['before'])} before, {number(change['after'])} now"
    moved = f"{signed(change['difference'])} {interval(change['low'], change['high'])}"
    found = f"{word}: {both}, a change of {moved}"
    if change["verdict"] == "drifted":
        return found
    return f"{found}; a change of {number(change['noticed'])} would have been noticed in 4 of 5 cases"


def measure_name(measure: str) -> str:
    """A measure of a released table in words; thresholds and bins are named where they stand.

    >>> measure_name("auc"), measure_name("net_benefit_at_0.2"), measure_name("observed_3")
    ('AUC', 'net benefit at 0.2', 'share to whom it happened, bin 4')
    """
    if measure.startswith("observed_"):
        return f"share to whom it happened, bin {int(measure.removeprefix('observed_')) + 1}"
    return {**METRIC_NAMES, **CALIBRATION_NAMES}.get(measure, measure.replace("_", " "))
