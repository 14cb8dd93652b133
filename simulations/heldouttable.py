"""The calibration table of a simulated run: held-out patients counted and noised as a study's sites would.

One person holds all tables here, so nothing is charged and the file says `simulation`. The noise is that of one private
evaluation at `EPSILON` under the study's own mechanism; a study without privacy takes joint noise with one curious
member, so that what a hospital sees of uncertainty is what a real study could show it.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.conformal import DISTANCES
from wardround.common.learning.data import PatientRows
from wardround.common.learning.histograms import (
    Bins,
    Courses,
    survival_table,
)
from wardround.common.learning.noisytables import NoisedTable
from wardround.common.learning.parameters import Parameters, parameters_digest
from wardround.common.learning.predictions import predict, survival_of
from wardround.common.learning.referencebins import reference_bins
from wardround.common.learning.released import ReleasedModel
from wardround.common.learning.tablebins import time_bins
from wardround.common.learning.tabulating import forecast_tables
from wardround.common.study.evaluation import subjects_of
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.plan_evaluation import table_deviation

Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]

EPSILON: Final = 3.0
PROBABILITIES: Final = (-5.0, -4.0, -3.0, -2.25, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.25, 3.0, 4.0, 5.0)
RISKS: Final = (-1.5, 0.0)
"""Log-odds of edges: a survival table has as many rows of time in each bin, and can have few bins only."""


def simulated_calibration(
    model: ReleasedModel,
    held_out: Sequence[PatientRows],
    rng: np.random.Generator,
    *,
    epsilon: float = EPSILON,
    bins: Bins | None = None,
) -> Calibration | None:
    """What a study of these patients could have released about its model.

    Args:
        model: Trained without these patients.
        held_out: The held-out patients of each site.
        rng: Draws the noise; a simulation's own.
        epsilon: Of the one table, per held-out patient.
        bins: Public bins of the score; those of `bins_of` if None.

    Returns:
        None for the Cox loss, which gives no probability, and where nobody is held out.
    """
    protocol, parameters = model.protocol, model.parameters
    rows = [each for each in held_out if each.n_patients]
    if not rows or protocol.model.loss == "cox":
        return None
    chosen = bins or bins_of(model)
    counts = np.sum([counted(protocol, parameters, each, chosen) for each in rows], axis=0)
    every = (chosen,) * len(subjects_of(protocol.outcome))
    deviation, mechanism = _noise(protocol, len(rows), counts.size, epsilon)
    # A patient stands in one table of each class.
    deviation *= math.sqrt(len(counts)) if isinstance(protocol.outcome, ClassOutcome) else 1.0
    noised = counts + rng.normal(0.0, deviation, counts.shape)
    return Calibration(
        protocol=protocol.digest,
        model=parameters_digest(parameters),
        table=NoisedTable(cells=noised, deviation=deviation),
        bins=every,
        times=time_bins(protocol.outcome) if isinstance(protocol.outcome, SurvivalOutcome) else None,
        epsilon=epsilon,
        delta=protocol.privacy.delta,
        mechanism=mechanism,
        sites=len(rows),
        origin="simulation",
    )


def bins_of(model: ReleasedModel) -> Bins:
    """Public bins of the score; see `calibrationfile.Calibration`."""
    match model.protocol.outcome:
        case SurvivalOutcome():
            return reference_bins(model, RISKS)
        case ContinuousOutcome():
            return DISTANCES
        case _:
            return reference_bins(model, PROBABILITIES)


def counted(protocol: StudyProtocol, model: Parameters, rows: PatientRows, bins: Bins) -> Counts:
    """The exact table of some patients, one cell each; private to whoever holds them."""
    outcome, made = protocol.outcome, predict(protocol, model, rows)
    if isinstance(outcome, ContinuousOutcome):
        distance = np.abs(made - (rows.targets.value * outcome.sd + outcome.mean)) / outcome.sd
        return np.bincount(bins.place(distance), minlength=len(bins)).astype(np.int64)
    if isinstance(outcome, SurvivalOutcome):
        return _courses(protocol, model, rows, made, bins)
    return forecast_tables(made, rows.targets, outcome=outcome, bins=(bins,) * len(subjects_of(outcome)))


def _courses(
    protocol: StudyProtocol, model: Parameters, rows: PatientRows, risk: Numbers, bins: Bins
) -> Counts:
    outcome, survival = protocol.outcome, survival_of(protocol, model, risk)
    event = rows.targets.event
    if not isinstance(outcome, SurvivalOutcome) or survival is None or event is None:
        raise UsageError("a survival table needs a model with baseline hazards", advice="not the Cox loss")
    by_last = Courses(1 - survival[:, -1], rows.targets.value, event)
    return survival_table(by_last, risks=bins, times=time_bins(outcome))


def _noise(protocol: StudyProtocol, sites: int, cells: int, epsilon: float) -> tuple[float, str]:
    """Standard deviation in each cell of the sum at sensitivity 1, and whose noise it is."""
    terms = protocol.privacy
    alone = terms.mechanism == "site-noise" or sites < 2
    honest = 0 if alone else min(terms.honest_sites or sites - 1, sites - 1)
    deviation = table_deviation(sites=sites, honest=honest, epsilon=epsilon, delta=terms.delta, cells=cells)
    return deviation, "site-noise" if alone else "joint-noise"
