"""Whether so few patients can say how good a model is for them: one rule for hospitals and for groups.

Patients are judged where there are `FEWEST` with the most common outcome and `FEWEST` with any other (survival: so many
observed events; continuous: twice as many patients). With fewer, the standard error of an AUC of .8 is above .1 (Hanley
and McNeil 1982, formula 2: .11 at 9 and 9), so even a model as good as .8 cannot be told from one of .6; an interval
would suggest knowledge that is not there, and percentile intervals of so few patients are too narrow.
"""

from typing import Final

import numpy as np

from wardround.common.study.outcomes import ContinuousOutcome, Outcome, SurvivalOutcome, Targets

FEWEST: Final = 10


def enough(outcome: Outcome, targets: Targets) -> bool:
    """Whether some patients are enough to be judged; see the head of this module."""
    match outcome:
        case ContinuousOutcome():
            return len(targets) >= 2 * FEWEST
        case SurvivalOutcome():
            return targets.event is not None and int(targets.event.sum()) >= FEWEST
        case _:
            most = int(np.unique(targets.value, return_counts=True)[1].max(initial=0))
            return min(most, len(targets) - most) >= FEWEST
