"""Numbers as plain sentences: is the joint model better than ours, by how much, and how sure are we?

A verdict speaks only where there were patients enough to tell (`common.learning.enough`), and the whole 95% interval
lies on one side of zero. Everything else is "no difference we can be sure of", which is not "no difference". Signs are
turned once, here, for metrics where lower is better.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

from wardround.common.wording import METRIC_NAMES, TOO_FEW, interval, number, signed
from wardround.simulations.resultrows import LOWER_IS_BETTER, GainRow

Word = Literal["better", "worse", "unsure", "unknown"]

_NO_WIDTH: Final = 1e-9
SYMBOLS: Final = {"better": "▲", "worse": "▼", "unsure": "○", "unknown": "?"}
MANY: Final = 20
"""With more hospitals, pages lead with those that gain or lose and fold long lists away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """A difference with its sign turned so that positive always means: the joint model is better."""

    value: float
    low: float
    high: float

    @property
    def word(self) -> Word:
        """The verdict.

        >>> Gain(value=0.12, low=0.03, high=0.21).word, Gain(value=0.12, low=-0.01, high=0.2).word
        ('better', 'unsure')

        An interval without width says that no draw of so few patients differed, and nothing of how sure one can be.

        >>> Gain(value=0.08, low=0.08, high=0.08).word
        'unsure'
        """
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            return "unknown"
        if self.high - self.low < _NO_WIDTH:
            return "unsure"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "unsure"


def gain_of(row: GainRow) -> Gain:
    """The gain of a hospital.

    >>> row = GainRow(
    ...     site="A", metric="brier", federated=0.1, local=0.2,
    ...     difference=-0.1, low=-0.15, high=-0.05, probability_better=1.0,
    ... )
    >>> gain_of(row)
    Gain(value=0.1, low=0.05, high=0.15)
    """
    if row.metric in LOWER_IS_BETTER:
        return Gain(value=-row.difference, low=-row.high, high=-row.low)
    return Gain(value=row.difference, low=row.low, high=row.high)


def difference(row: GainRow) -> str:
    """A difference with its interval, in the metric's own sign.

    >>> row = GainRow(
    ...     site="A", metric="auc", federated=0.9, local=0.7,
    ...     difference=0.2, low=math.nan, high=math.nan, probability_better=math.nan,
    ... )
    >>> difference(row)
    '+.20, too few patients to tell'
    """
    if gain_of(row).word == "unknown":
        return f"{signed(row.difference)}, {TOO_FEW}"
    return f"{signed(row.difference)} {interval(row.low, row.high)}"


def sentence(row: GainRow) -> str:
    """What the run says about one hospital, without its name.

    >>> row = GainRow(
    ...     site="Alder", metric="auc", federated=0.85, local=0.73,
    ...     difference=0.12, low=0.03, high=0.21, probability_better=0.99,
    ... )
    >>> sentence(row).replace(chr(160), " ")
    'the joint model is better than its own: AUC .85 against .73, a difference of +.12 [.03 to .21].'
    """
    gain = gain_of(row)
    values = f"{METRIC_NAMES[row.metric]} {number(row.federated)} against {number(row.local)}"
    change = f"a difference of {difference(row)}"
    match gain.word:
        case "better":
            return f"the joint model is better than its own: {values}, {change}."
        case "worse":
            return f"the joint model is worse than its own: {values}, {change}."
        case "unsure":
            return f"no difference we can be sure of: {values}, {change}."
        case "unknown":
            return f"{TOO_FEW} which model is better: {values}."


def summary(rows: list[GainRow]) -> str:
    """The whole run in one sentence.

    >>> summary([])
    'No hospital could be compared.'
    >>> row = GainRow(
    ...     site="A", metric="auc", federated=0.8, local=0.7,
    ...     difference=0.1, low=0.05, high=0.15, probability_better=1.0,
    ... )
    >>> summary([row, row])
    'The joint model is better at 2 of 2 hospitals.'
    """
    if not rows:
        return "No hospital could be compared."
    words = [gain_of(row).word for row in rows]
    hospitals = f"{len(rows)} hospitals" if len(rows) > 1 else "1 hospital"
    sayings: tuple[tuple[Word, str], ...] = (
        ("better", "better"),
        ("worse", "worse"),
        ("unsure", "no difference we can be sure of"),
        ("unknown", TOO_FEW),
    )
    (first, count), *rest = [(saying, words.count(word)) for word, saying in sayings if word in words]
    subject = "the joint model is " if first in ("better", "worse") else ""
    parts = [f"{subject}{first} at {count} of {hospitals}", *(f"{saying} at {n}" for saying, n in rest)]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."
