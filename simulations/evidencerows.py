"""The rows of `results.json` about calibration, decisions and groups of patients.

`subject` names the question that was asked: a class, or a horizon of survival. `column` and `group` are empty for all
patients. A number is NaN where it could not be computed, or where there were too few patients to tell.
"""

from dataclasses import dataclass
from typing import Final

from wardround.common.checks import in_range, not_negative, one_of
from wardround.common.learning.questions import MEASURES
from wardround.simulations.resultrows import check_metric, check_model

INTEGRATED: Final = "integrated_brier"
CALIBRATION_MEASURES: Final = (*MEASURES, INTEGRATED)
VERDICTS: Final = ("better", "worse", "unsure", "too-few")
"""Of a group against all patients; `too-few` patients to tell is an answer of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRow:
    """One measure of a model's probabilities on the held-out patients of a site, or of `all`; 95% interval."""

    model: str
    on: str
    column: str
    group: str
    subject: str
    measure: str
    value: float
    low: float
    high: float
    patients: int

    def __post_init__(self) -> None:
        """Refuse models and measures without a meaning."""
        check_model(self.model)
        one_of(CALIBRATION_MEASURES, measure=self.measure)
        not_negative(patients=self.patients)


@dataclass(frozen=True, slots=True, kw_only=True)
class BinRow:
    """One bin of a calibration curve: probabilities above `above` and up to `upto`.

    Attributes:
        model: As in other rows; as are `on`, `column`, `group` and `subject`.
        on: A site, or `all`.
        column: Of the group.
        group: Of patients.
        subject: The question.
        above: Lower edge, public.
        upto: Upper edge, public.
        patients: In the bin, those who were lost before the horizon not counted.
        predicted: Their mean probability.
        observed: Share to whom it happened.
        low: Lower end of its 95% interval (Wilson, at the effective number of patients).
        high: Upper end.
    """

    model: str
    on: str
    column: str
    group: str
    subject: str
    above: float
    upto: float
    patients: int
    predicted: float
    observed: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse models without a meaning, and an edge that is no probability."""
        check_model(self.model)
        in_range(0, 1, above=self.above, upto=self.upto)
        not_negative(patients=self.patients)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetBenefitRow:
    """Net benefit per patient of treating those at or above a threshold; `treat_all` of treating everybody."""

    model: str
    on: str
    column: str
    group: str
    subject: str
    threshold: float
    value: float
    low: float
    high: float
    treat_all: float

    def __post_init__(self) -> None:
        """Refuse models without a meaning, and a threshold that is no probability."""
        check_model(self.model)
        in_range(0, 1, threshold=self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """A metric in one group minus the same metric in all patients together, in units of the metric.

    Attributes:
        model: Of the metric.
        column: Names the grouping.
        group: The group.
        metric: One of `METRICS`.
        difference: Group minus all.
        low: Lower end of the 95% interval, from the same draws of patients for both.
        high: Upper end.
        patients: In the group, exactly.
        verdict: Whether the model is better or worse for this group; see `VERDICTS`.
    """

    model: str
    column: str
    group: str
    metric: str
    difference: float
    low: float
    high: float
    patients: int
    verdict: str

    def __post_init__(self) -> None:
        """Refuse words without a meaning."""
        check_model(self.model)
        check_metric(self.metric)
        one_of(VERDICTS, verdict=self.verdict)
        not_negative(patients=self.patients)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstGroupRow:
    """The group of a column for which a metric is worst, of the `judged` ones; `too_few` others had too few patients.

    The interval is of the worst value over groups, whichever group that is in a draw.
    """

    model: str
    column: str
    metric: str
    group: str
    value: float
    low: float
    high: float
    judged: int
    too_few: int

    def __post_init__(self) -> None:
        """Refuse words without a meaning."""
        check_model(self.model)
        check_metric(self.metric)
        not_negative(judged=self.judged, too_few=self.too_few)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierRow:
    """Whether an input of the released model carries its prediction on held-out patients; see `carriers`.

    Attributes:
        feature: The feature, or the component of public loadings.
        statistic: Standard deviations by which the outcome follows the input's contribution more than by chance.
        p: One-sided, by permutation within hospitals.
        adjusted: The same after Holm's correction for all inputs tested.
        significant: Whether `adjusted` is at most the level.
        patients: Held-out patients.
        permutations: Drawn.
    """

    feature: str
    statistic: float
    p: float
    adjusted: float
    significant: bool
    patients: int
    permutations: int

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        in_range(0, 1, p=self.p, adjusted=self.adjusted)
        not_negative(patients=self.patients, permutations=self.permutations)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossRow:
    """The primary metric of a model on the held-out patients of one hospital, its own or another; 95% interval.

    Attributes:
        model: As in other rows.
        on: The hospital whose patients they are.
        metric: One of `METRICS`.
        value: NaN where there are too few patients to tell.
        low, high: Its interval.
        patients: Held out there, exactly.
    """

    model: str
    on: str
    metric: str
    value: float
    low: float
    high: float
    patients: int

    def __post_init__(self) -> None:
        """Refuse words without a meaning."""
        check_model(self.model)
        check_metric(self.metric)
        not_negative(patients=self.patients)


EvidenceRow = CalibrationRow | BinRow | NetBenefitRow | GapRow | WorstGroupRow | CarrierRow | CrossRow
