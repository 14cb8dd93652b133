"""From the table of a study's private evaluation to the calibration that travels with its model.

Nothing further is released: groups are summed, whose noise is that of as many cells, and risks of survival are said as
the chance of the event by the last horizon, which the released model's baseline gives.
"""

import numpy as np

from wardround.common.errors import ProtocolError
from wardround.common.learning.calibrationfile import Calibration, Origin
from wardround.common.learning.censoring import survival_curves
from wardround.common.learning.evaluated import Evaluated, cell_deviation
from wardround.common.learning.histograms import Bins
from wardround.common.learning.noisytables import NoisedTable
from wardround.common.learning.parameters import Parameters, parameters_digest
from wardround.common.learning.tablebins import risk_bins, score_bins, time_bins
from wardround.common.privacy.accounting import epsilon
from wardround.common.study.evaluation import EvaluationTerms, table_shape
from wardround.common.study.outcomes import SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol


def calibration_of(
    protocol: StudyProtocol, model: Parameters, released: Evaluated, *, origin: Origin = "study"
) -> Calibration:
    """What a study released about its model.

    Args:
        protocol: With an evaluation.
        model: As it was evaluated.
        released: The table of that evaluation.
        origin: Whether sites released it, or a simulation of them.

    Raises:
        ProtocolError: The study declares no evaluation, or the table is not of its shape.
    """
    terms = protocol.evaluation
    if terms is None or released.table.shape != (protocol.table_cells,):
        raise ProtocolError(f"expected an evaluation of {protocol.table_cells} cells, found another table")
    crossed = NoisedTable(
        cells=released.table.reshape(table_shape(terms, protocol.outcome)),
        deviation=cell_deviation(protocol, sites=len(released.sites)),
    )
    last = crossed.cells.ndim
    whole = crossed.over(tuple(range(last - len(terms.groups), last)))
    survival = isinstance(protocol.outcome, SurvivalOutcome)
    return Calibration(
        protocol=protocol.digest,
        model=parameters_digest(model),
        table=NoisedTable(cells=whole.cells[0], deviation=whole.deviation) if survival else whole,
        bins=bins_of(protocol, terms, model),
        times=time_bins(protocol.outcome) if isinstance(protocol.outcome, SurvivalOutcome) else None,
        epsilon=epsilon([protocol.event_of(protocol.federation.rounds + 1)], terms.delta),
        delta=terms.delta,
        mechanism=protocol.privacy.mechanism,
        sites=len(released.sites),
        origin=origin,
    )


def bins_of(protocol: StudyProtocol, terms: EvaluationTerms, model: Parameters) -> tuple[Bins, ...]:
    """The bins of the score that a study's calibration will have: as `Calibration.bins`."""
    if not isinstance(protocol.outcome, SurvivalOutcome):
        return score_bins(protocol, terms, model)
    risks = np.array(risk_bins(protocol, terms, protocol.outcome, model).edges)
    chances = 1 - survival_curves(risks, model["hazard.bias"].astype(np.float64))[:, -1]
    return (Bins(edges=tuple(map(float, chances)), low=0.0, high=1.0, source=terms.source),)
