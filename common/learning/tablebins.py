"""The public bins of an evaluation's table: of the score, of time, and what a released model says in each.

Probabilities have edges of their own. Risk scores of survival have none that fit every model, so theirs follow from the
released model, which is public: as wide as it spreads imagined patients, whose standardised inputs are independent
normals; or where the study states probabilities, at the risks at which the event has them by the last time bin. Edges
are rounded, so that all machines find the same.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning.censoring import survival_curves
from wardround.common.learning.histograms import Bins
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.tablesurvival import SurvivalBins
from wardround.common.study.evaluation import PROBABILITY_EDGES, RISK_SPREADS, EvaluationTerms, time_edges
from wardround.common.study.outcomes import SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

Numbers = NDArray[np.float64]

_IMAGINED: Final = 2048
_OUTER: Final = 2.2  # spreads from the middle, where the outermost bins are taken to end
_NARROWEST: Final = 1e-3  # of a model that says the same of everybody
_DIGITS: Final = 4
_HALVINGS: Final = 60
_NORM_EPSILON: Final = 1e-5  # of torch's LayerNorm


def score_bins(terms: EvaluationTerms) -> Bins:
    """Bins of predicted probability."""
    return Bins(edges=terms.score_edges or PROBABILITY_EDGES, low=0.0, high=1.0, source=terms.source)


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
        imagined = imagined_risks(protocol, model)
        middle, spread = float(imagined.mean()), max(float(imagined.std()), _NARROWEST)
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


def imagined_risks(protocol: StudyProtocol, model: Parameters) -> Numbers:
    """The risk scores of imagined patients, by the public feature path's clamp and norm; shape (n,)."""
    width = next(iter(model.values())).shape[-1]
    rng = np.random.Generator(np.random.PCG64(0))  # of imagined patients only
    inputs = rng.standard_normal((_IMAGINED, width)).clip(-protocol.inputs.clamp, protocol.inputs.clamp)
    if protocol.inputs.norm == "unit":
        inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    for number in range(1, len(protocol.model.hidden) + 1):
        inputs = inputs @ model[f"hidden{number}.weight"].T.astype(np.float64) + model[f"hidden{number}.bias"]
        inputs -= inputs.mean(axis=1, keepdims=True)
        inputs /= np.sqrt(inputs.var(axis=1, keepdims=True) + _NORM_EPSILON)
        inputs = np.maximum(inputs, 0.0)
    return np.asarray(inputs @ model["risk.weight"][0].astype(np.float64))


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
