"""What a private evaluation would cost, and how sure its answer could be, before a patient is looked at.

From public numbers: the sites, their reference sizes, the share of patients that the protocol holds out, an epsilon
and a mechanism. Imagined patients are tabulated, noised and evaluated as real ones would be. The evaluation is one
release about held-out patients, and is charged to them alone; a table that is crossed with groups of patients has
wider intervals than stated here, and every further model, class or view of the same patients is charged again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from scipy.special import expit

from wardround.common.learning.histograms import (
    Bins,
    Courses,
    Forecasts,
    binary_table,
    survival_table,
)
from wardround.common.learning.noisytables import Estimate, NoisedTable
from wardround.common.learning.tablebins import spread_bins, time_bins
from wardround.common.learning.tableevaluation import evaluate_courses, evaluate_forecasts
from wardround.common.learning.tablesurvival import SurvivalBins
from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.excess import noise_ratio
from wardround.common.privacy.plan import PlanTerms
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.wording import METRIC_NAMES
from wardround.simulations.study_plan import Option

IMAGINED: Final = 5
REPLICATES: Final = 200
SPREAD: Final = 1.6
"""Standard deviation of imagined log-odds: with half of the patients ill, an AUC of about .8."""

RISKS: Final = Bins(
    edges=(-0.84, -0.25, 0.25, 0.84), low=-2.0, high=2.0, source="fifths of a standard normal risk score"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """One evaluation that could be asked for.

    Attributes:
        mechanism: Whose noise.
        honest: h under joint noise; else 1.
        epsilon: Of the one table, per held-out patient, at `delta`.
        delta: As above.
        patients: Held out at all sites together, expected.
        metric: What would be estimated.
        deviation: Standard deviation of the noise in each cell of the sum.
        private: Expected half width of the 95% interval for these patients: the price of privacy.
        total: Likewise for the population; both NaN where the answer would be withheld.
    """

    mechanism: str
    honest: int
    epsilon: float
    delta: float
    patients: int
    metric: str
    deviation: float
    private: float
    total: float


def previews(protocol: StudyProtocol, options: Sequence[Option]) -> tuple[Preview, ...]:
    """One for each mechanism, number of honest sites and target epsilon among the options.

    None where nobody is held out, where noise and not epsilon was asked for, and for a continuous outcome, for which
    there is no table.
    """
    share = protocol.cohort.test_fraction
    if not share or isinstance(protocol.outcome, ContinuousOutcome):
        return ()
    found: dict[tuple[str, int, float], Preview] = {}
    for option in options:
        terms, key = option.terms, (option.terms.mechanism, option.terms.honest, option.target)
        if option.target and key not in found:
            # Reference sizes are of patients who train.
            patients = round(sum(terms.patients.values()) * share / (1 - share))
            found[key] = _preview(protocol, terms, option.target, patients)
    return tuple(found.values())


def cell_deviation(terms: PlanTerms, *, epsilon: float, cells: int) -> float:
    """Standard deviation of the noise in each cell of the sum over all sites, for one table at this epsilon."""
    honest = terms.honest if terms.joint else 0
    return table_deviation(
        sites=len(terms.patients), honest=honest, epsilon=epsilon, delta=terms.delta, cells=cells
    )


def table_deviation(*, sites: int, honest: int, epsilon: float, delta: float, cells: int) -> float:
    """As `cell_deviation`, of so many sites; `honest` is h under joint noise, 0 where each adds its own full noise."""
    if not honest:
        each = noise_multiplier_for(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=1)
        return float(each * np.sqrt(sites))
    shared = joint_noise_multiplier_for(
        epsilon=epsilon, delta=delta, steps=1, honest=honest, coordinates=cells
    )
    return shared * noise_ratio(sites, honest)


def _preview(protocol: StudyProtocol, terms: PlanTerms, epsilon: float, patients: int) -> Preview:
    rng = np.random.default_rng(0)  # of imagined patients only
    if isinstance(protocol.outcome, SurvivalOutcome):
        axes = survival_bins(protocol.outcome)
        metric, cells = "c_index", axes.survival.size * 2
        deviation = cell_deviation(terms, epsilon=epsilon, cells=cells)
        made = [_course(axes, patients, deviation, rng) for _ in range(IMAGINED)]
    else:
        classes = len(protocol.outcome.classes) if isinstance(protocol.outcome, ClassOutcome) else 2
        bins = spread_bins(-np.log(classes - 1), SPREAD)
        metric, deviation = "auc", cell_deviation(terms, epsilon=epsilon, cells=len(bins) * 2)
        made = [_forecast(bins, classes, patients, deviation, rng) for _ in range(IMAGINED)]
    return Preview(
        mechanism=terms.mechanism,
        honest=terms.honest,
        epsilon=epsilon,
        delta=terms.delta,
        patients=patients,
        metric=metric,
        deviation=deviation,
        private=float(np.median([each.private[1] - each.value for each in made])),
        total=float(np.median([each.total[1] - each.value for each in made])),
    )


def _forecast(
    bins: Bins, classes: int, patients: int, deviation: float, rng: np.random.Generator
) -> Estimate:
    """An AUC of imagined patients of whom one in `classes` has the outcome."""
    odds = rng.normal(-np.log(classes - 1), SPREAD, patients)
    people = Forecasts(expit(odds), (rng.random(patients) < expit(odds)).astype(np.float64))
    exact = binary_table(people, bins=bins)
    table = NoisedTable(cells=exact + rng.normal(0, deviation, exact.shape), deviation=deviation)
    found = evaluate_forecasts(table, bins, (), rng=rng, replicates=REPLICATES, only=("auc",))
    return found[""]["auc"]


def _course(bins: SurvivalBins, patients: int, deviation: float, rng: np.random.Generator) -> Estimate:
    """A C-index of imagined patients, half of whom die by the last horizon."""
    last, end = bins.times.edges[-1], bins.times.high
    risk = rng.normal(0, 1, patients)
    dies = rng.exponential(last / np.log(2) * np.exp(-risk))
    lost = rng.uniform(last / 4, end, patients)
    people = Courses(risk, np.minimum(dies, lost), dies <= lost)
    exact = survival_table(people, risks=bins.risks, times=bins.times)
    table = NoisedTable(cells=exact + rng.normal(0, deviation, exact.shape), deviation=deviation)
    found = evaluate_courses(table, bins, rng=rng, replicates=REPLICATES, only=("c_index",))
    return found["c_index"]


def survival_bins(outcome: SurvivalOutcome) -> SurvivalBins:
    """Public bins of an imagined survival study: fifths of risk, the study's own bins of time."""
    times = time_bins(outcome)
    hazard = np.log(2) / times.edges[-1]
    return SurvivalBins(
        risks=RISKS,
        times=times,
        survival=np.exp(-hazard * np.exp(RISKS.middles)[:, None] * times.ends[1:]),
    )


def lines(found: Sequence[Preview]) -> Iterator[str]:
    """The previews in words."""
    if not found:
        return
    yield ""
    yield (
        f"A private evaluation: one table of about {found[0].patients} held-out patients, "
        "charged to them alone and not in the epsilons above."
    )
    yield "Expected 95% intervals, from imagined patients without groups; each further model or class is charged again."
    for each in found:
        honest = f", {each.honest} honest" if each.mechanism == "joint-noise" else ""
        name = METRIC_NAMES[each.metric]
        sure = (
            "too few patients for so much noise; it would be withheld"
            if np.isnan(each.private)
            else f"{name} ± {each.private:.3f} for these patients, ± {each.total:.3f} for the population"
        )
        yield f"  {each.mechanism}{honest}, epsilon {each.epsilon:g}: {sure}"


def as_json(found: Sequence[Preview]) -> list[dict[str, object]]:
    """The previews as JSON; null where the answer would be withheld."""
    return [
        {name: None if value != value else value for name, value in asdict(each).items()} for each in found
    ]
