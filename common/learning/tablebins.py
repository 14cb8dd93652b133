"""The public bins of an evaluation's table: of the score, of time, and what a released model says in each.

No edges fit every model: a timid one puts nearly everybody into two bins of round numbers, and an evaluation then sees
little of how it orders patients. So edges follow from the released model, which is public: as wide as it spreads
imagined patients (`imagined`). Probabilities have them in steps of the log-odds; each class has its own, for a rare
class lies elsewhere than a common one. One half is always an edge, where accuracy is counted. A study may state
probabilities instead; for survival edges are then at the risks at which the event has them by the last time bin.
Edges are rounded, so that all machines find the same.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from wardround.common.learning.censoring import survival_curves
from wardround.common.learning.histograms import Bins
from wardround.common.learning.imagined import imagined_scores
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.tablesurvival import SurvivalBins
from wardround.common.study.evaluation import (
    RISK_SPREADS,
    SCORE_SPREADS,
    EvaluationTerms,
    subjects_of,
    time_edges,
)
from wardround.common.study.outcomes import SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

Numbers = NDArray[np.float64]

SOURCE: Final = "where the released model puts patients imagined from public constants"
_OUTERMOST: Final = 3.6  # spreads from the middle, where the outermost bins of probability are taken to end
_OUTER: Final = 2.2  # likewise of risk
_NARROWEST: Final = 1e-3  # of a model that says the same of everybody
_FLATTEST: Final = 0.02  # spread of log-odds that is taken of a model that says about the same of everybody
_STEEPEST: Final = (
    4.0  # likewise at most: beyond it probabilities are 0 and 1 in as many digits as anybody reads
)
_FARTHEST: Final = 6.0  # from even odds, where the middle is taken to be at most
_APART: Final = 0.004  # log-odds between one half and the next edge, at least
_DIGITS: Final = 4
_HALVINGS: Final = 60


def score_bins(protocol: StudyProtocol, terms: EvaluationTerms, model: Parameters) -> tuple[Bins, ...]:
    """Bins of predicted probability, for each subject of the study.

    Args:
        protocol: The study; not of survival.
        terms: Its evaluation.
        model: As it is evaluated; whatever it says, edges increase.
    """
    if terms.score_edges:
        stated = Bins(edges=terms.score_edges, low=0.0, high=1.0, source=terms.source)
        return (stated,) * len(subjects_of(protocol.outcome))
    return tuple(spread_bins(*_middle_and_spread(odds)) for odds in imagined_scores(protocol, model).T)


def spread_bins(middle: float, spread: float) -> Bins:
    """Bins for a model whose log-odds have this middle and standard deviation.

    Example:
        >>> spread_bins(-2.0, 0.5).edges
        (0.05215, 0.07944, 0.1043, 0.1359, 0.1751, 0.2497, 0.5)
    """
    centre = float(np.clip(middle, -_FARTHEST, _FARTHEST))
    unit = float(np.clip(spread, _FLATTEST, _STEEPEST))
    low, *steps, high = (centre + unit * each for each in (-_OUTERMOST, *SCORE_SPREADS, _OUTERMOST))
    apart = [float(np.copysign(max(abs(each), _APART), each)) for each in steps]
    edges = [_probability(each) for each in sorted((*apart, 0.0))]
    return Bins(edges=tuple(edges), low=_probability(low), high=_probability(high), source=SOURCE)


def _middle_and_spread(scores: Numbers) -> tuple[float, float]:
    """Of imagined patients; of those of whom a model says a number."""
    known = scores[np.isfinite(scores)]
    return (float(known.mean()), float(known.std())) if len(known) else (0.0, 0.0)


def _probability(odds: float) -> float:
    """Of log-odds, to `_DIGITS` significant digits of it or of what is missing to 1, whichever is smaller."""
    rare = float(f"{expit(-abs(odds)):.{_DIGITS - 1}e}")
    return rare if odds < 0 else round(1 - rare, 12)


def time_bins(outcome: SurvivalOutcome) -> Bins:
    """At most five intervals between the study's own cut points; the last one is open."""
    edges = time_edges(outcome)
    high = outcome.high if outcome.high > edges[-1] else edges[-1] * 1.5
    return Bins(edges=edges, low=0.0, high=high, source=outcome.source)


def risk_bins(
    protocol: StudyProtocol, terms: EvaluationTerms, outcome: SurvivalOutcome, model: Parameters
) -> Bins:
    """Bins of a survival model's risk score, higher = worse.

    Args:
        protocol: The study.
        terms: Its evaluation.
        outcome: Its outcome.
        model: As it is evaluated; any finite numbers give increasing edges.
    """
    if terms.score_edges:
        low, *_, high = terms.score_edges
        chances = [low / 4, *terms.score_edges, 1 - (1 - high) / 4]
        place = outcome.cut_points.index(time_edges(outcome)[-1])
        ends = [_risk_at(chance, model["hazard.bias"].astype(np.float64), place) for chance in chances]
    else:
        middle, spread = _middle_and_spread(imagined_scores(protocol, model)[:, 0])
        spread = max(spread, _NARROWEST)
        ends = [middle + spread * each for each in (-_OUTER, *RISK_SPREADS, _OUTER)]
    first, *inner, last = _increasing(ends)
    return Bins(edges=tuple(inner), low=first, high=last, source=terms.source)


def survival_bins(
    protocol: StudyProtocol, terms: EvaluationTerms, outcome: SurvivalOutcome, model: Parameters
) -> SurvivalBins:
    """The axes of a survival table, and what the model says in each. Args as in `risk_bins`."""
    times, risks = time_bins(outcome), risk_bins(protocol, terms, outcome, model)
    places = [outcome.cut_points.index(edge) for edge in times.edges]
    inside = survival_curves(risks.middles, model["hazard.bias"].astype(np.float64))[:, places]
    # Beyond the last edge the model says nothing: the mean hazard until then goes on.
    beyond = inside[:, -1] ** (times.high / times.edges[-1])
    survival = np.concatenate([inside, beyond[:, None]], axis=1)
    return SurvivalBins(risks=risks, times=times, survival=np.maximum(survival, 1e-12))


def _increasing(ends: list[float]) -> list[float]:
    """The ends, rounded to `_DIGITS` significant digits of their span; a span without width is widened."""
    span = max(ends[-1] - ends[0], _NARROWEST)
    step = 10.0 ** (np.floor(np.log10(span)) - _DIGITS + 1)
    rounded = [float(np.round(end / step) * step) for end in ends]
    for place in range(1, len(rounded)):
        rounded[place] = max(rounded[place], rounded[place - 1] + step)
    return rounded


def _risk_at(chance: float, baseline: Numbers, place: int) -> float:
    """The risk score at which the event happens by a cut point with this chance, by bisection."""
    low, high = -60.0, 60.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        happened = 1 - survival_curves(np.array([middle]), baseline)[0, place]
        low, high = (middle, high) if happened < chance else (low, middle)
    return (low + high) / 2
