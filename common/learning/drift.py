"""Whether a released model still does on new patients what it did when it was released: two noised tables, compared.

Both tables were counted in the same public bins with the same model, each with its own noise. Of every measure the
difference is taken, after minus before. Its interval joins the two of the tables (Zou and Donner 2008), which hold
sampling of patients and privacy noise each; nothing else than the two tables is looked at, so nothing more is released.

The study's own measure leads, at 95%. All others together are held to 95% as well: each is judged at its share of the
remaining 5% (Bonferroni), with intervals stretched as those of a normal distribution are.

No drift seen is not the same as no drift. With each measure goes the change that this comparison would have noticed
with probability .8; where that is more than the change that matters, the answer is that there are too few patients.

Assumes that patients of both tables are others. Where some are in both, the difference varies less than is said here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from wardround.common.errors import TrustError
from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.evaluating import overall_estimates
from wardround.common.learning.histograms import Bins
from wardround.common.learning.noisytables import Estimate
from wardround.common.learning.parameters import Parameters
from wardround.common.study.evaluation import primary_of
from wardround.common.study.protocol import StudyProtocol

DriftVerdict = Literal["drifted", "steady", "too-few"]

PERFORMANCE: Final = ("auc", "c_index")
CALIBRATION: Final = ("calibration_in_the_large", "calibration_slope", "integrated_brier")
"""What is said of calibration; of survival the integrated Brier score, which is of both."""

MATTERS: Final = {
    "auc": 0.1,
    "c_index": 0.1,
    "accuracy": 0.1,
    "brier": 0.05,
    "integrated_brier": 0.05,
    "calibration_in_the_large": 0.5,
    "calibration_slope": 0.5,
}
"""The smallest change of each measure that must not go unnoticed; of the study's own measure the protocol says it."""

Numbers = NDArray[np.float64]

POWER: Final = 0.8
_LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One measure before and after; all numbers but `matters` NaN where one of the two was withheld.

    Attributes:
        subject: The class, or what the outcome asks.
        measure: As in `tableevaluation`.
        before, after: The two estimates.
        difference: After minus before.
        low, high: Its interval, of 95% for the study's own measure and corrected for their number for the others.
        noticed: Size of a true change that this comparison notices with probability `POWER`.
        matters: Size of a change that must not go unnoticed.
        verdict: `drifted` where the interval does not hold 0; `steady` where it does and a change of `matters` would
            have been noticed; else `too-few`.
    """

    subject: str
    measure: str
    before: float
    after: float
    difference: float
    low: float
    high: float
    noticed: float
    matters: float
    verdict: DriftVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The answer.

    Attributes:
        primary: The study's own measure, declared before anything was seen; its verdict is that of performance.
        calibration: The verdict on calibration: `drifted` where one of its measures did, `steady` where none did and
            all would have been noticed.
        changes: Every other measure.
    """

    primary: Change
    calibration: DriftVerdict
    changes: tuple[Change, ...]

    @property
    def drifted(self) -> bool:
        """Whether performance or calibration drifted."""
        return "drifted" in (self.primary.verdict, self.calibration)


def drift_of(protocol: StudyProtocol, model: Parameters, before: Calibration, after: Calibration) -> Drift:
    """Compare two evaluations of one model.

    Args:
        protocol: The study of the later one; its primary measure leads.
        model: As both evaluated it.
        before: The table that was released with the model.
        after: The table of new patients.

    Raises:
        TrustError: The two are not of one model, not counted in the same bins, or not of the outcome's shape.
    """
    _check_alike(before, after)
    for one in (before, after):
        one.check_fits(protocol.outcome)
    earlier, later = (overall_estimates(protocol, model, one.table) for one in (before, after))
    leading = _leading(protocol, [subject for subject, _ in later])
    others = [key for key in later if key != leading and key[1] in MATTERS]
    smallest = protocol.monitoring.smallest_change if protocol.monitoring else MATTERS[leading[1]]
    changes = tuple(
        _change(key, earlier[key], later[key], matters=MATTERS[key[1]], tests=len(others)) for key in others
    )
    return Drift(
        primary=_change(leading, earlier[leading], later[leading], matters=smallest, tests=1),
        calibration=_together([one.verdict for one in changes if one.measure in CALIBRATION]),
        changes=changes,
    )


def _check_alike(before: Calibration, after: Calibration) -> None:
    if before.model != after.model:
        raise TrustError(
            f"expected two evaluations of one model, found {before.model[:16]} and {after.model[:16]}",
            advice="compare with the calibration.json of the run that released this model",
        )
    axes = [[*one.bins, *([] if one.times is None else [one.times])] for one in (before, after)]
    check_bins(*axes)


def check_bins(before: Sequence[Bins], after: Sequence[Bins]) -> None:
    """Refuse tables whose bins differ.

    Raises:
        TrustError: They do.
    """
    edges = [[np.array(bins.edges) for bins in each] for each in (before, after)]
    if not (len(edges[0]) == len(edges[1]) and all(map(_alike, *edges))):
        raise TrustError(
            "the two evaluations are counted in different bins, and cannot be compared",
            advice="take evaluation.score_edges of the study that released the model, and its release of wardround",
        )


def _alike(one: Numbers, two: Numbers) -> bool:
    return one.shape == two.shape and bool(np.allclose(one, two))


def _leading(protocol: StudyProtocol, subjects: list[str]) -> tuple[str, str]:
    if protocol.evaluation is None:
        raise TrustError("a study without an evaluation has nothing to compare")
    return protocol.evaluation.subject or subjects[0], primary_of(protocol.evaluation, protocol.outcome)


def _change(key: tuple[str, str], before: Estimate, after: Estimate, *, matters: float, tests: int) -> Change:
    difference = after.value - before.value
    stretched = float(ndtri(1 - (1 - _LEVEL) / (2 * tests)) / ndtri((1 + _LEVEL) / 2))
    down, up = (stretched * reach for reach in _reaches(before, after))
    noticed = max(down, up) * (1 + float(ndtri(POWER) / (ndtri((1 + _LEVEL) / 2) * stretched)))
    return Change(
        subject=key[0],
        measure=key[1],
        before=before.value,
        after=after.value,
        difference=difference,
        low=difference - down,
        high=difference + up,
        noticed=noticed,
        matters=matters,
        verdict=_verdict(difference - down, difference + up, noticed, matters),
    )


def _reaches(before: Estimate, after: Estimate) -> Iterator[float]:
    """How far the interval of a difference reaches down and up, from the intervals of its two parts."""
    yield math.hypot(after.value - after.total[0], before.total[1] - before.value)
    yield math.hypot(after.total[1] - after.value, before.value - before.total[0])


def _verdict(low: float, high: float, noticed: float, matters: float) -> DriftVerdict:
    if low > 0 or high < 0:
        return "drifted"
    return "steady" if noticed <= matters else "too-few"  # NaN is too few


def _together(verdicts: list[DriftVerdict]) -> DriftVerdict:
    if "drifted" in verdicts:
        return "drifted"
    return "steady" if verdicts and set(verdicts) == {"steady"} else "too-few"
