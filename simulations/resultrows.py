"""The rows of `results.json`, and the words they may use.

Every row is frozen data. A measured number may be NaN (it could not be computed, for instance an AUC with one
class); an epsilon may be infinite (no privacy), never NaN.
"""

import math
import re
from dataclasses import dataclass
from typing import Final

from wardround.common.checks import not_negative
from wardround.common.errors import UsageError

METRICS: Final = ("auc", "accuracy", "brier", "c_index", "integrated_brier", "r2", "spearman")
PRIMARY: Final = ("auc", "c_index", "r2", "spearman", "accuracy", "brier")
"""Which metric a report leads with: the first of these that was measured."""
LOWER_IS_BETTER: Final = frozenset({"brier", "integrated_brier"})

_MODEL = re.compile(r"(federated|pooled|(local|federated-without):.+)", re.DOTALL)


def check_model(model: str) -> None:
    """Accept `federated`, `pooled`, `local:<site>` and `federated-without:<site>`.

    Raises:
        UsageError: The name is none of these.
    """
    if not _MODEL.fullmatch(model):
        raise UsageError(
            f"expected federated, pooled, local:<site> or federated-without:<site>, found {model!r}"
        )


def check_metric(metric: str) -> None:
    """Accept the metrics that this format names.

    Raises:
        UsageError: The name is not one of `METRICS`.
    """
    if metric not in METRICS:
        raise UsageError(f"expected a metric of {', '.join(METRICS)}; found {metric!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonRow:
    """What `adversary` can learn about one patient of `site`; `value` is infinite without privacy.

    The adversaries of joint noise are named in `observers.JOINT`.
    """

    site: str
    adversary: str
    value: float

    def __post_init__(self) -> None:
        """Refuse a negative or undefined epsilon."""
        if math.isnan(self.value) or self.value < 0:
            raise UsageError(f"expected epsilon >= 0 for {self.site!r}, found {self.value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapRow:
    """The lifetime epsilon cap of a site. Only for policies that the simulation itself invented."""

    site: str
    cap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """One model on the held-out patients of one site, or of `all`; a 95% interval from `low` to `high`."""

    model: str
    on: str
    metric: str
    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse models and metrics without a meaning."""
        check_model(self.model)
        check_metric(self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class GainRow:
    """Federated minus local model on the same held-out patients of a site.

    Attributes:
        site: The hospital.
        metric: One of `METRICS`.
        federated: The joint model's value.
        local: The value of the model trained at this site alone.
        difference: Federated minus local, in units of the metric.
        low: Lower end of the paired 95% interval of the difference; NaN where there were too few patients to tell
            (`common.learning.enough`).
        high: Upper end; likewise.
        probability_better: Share of resamples, 0 to 1, in which the joint model is the better one; likewise.
    """

    site: str
    metric: str
    federated: float
    local: float
    difference: float
    low: float
    high: float
    probability_better: float

    def __post_init__(self) -> None:
        """Refuse a metric without a meaning."""
        check_metric(self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveRow:
    """The joint model after a round (0: before the first) on the held-out patients of a site or of `all`."""

    round: int
    on: str
    metric: str
    value: float

    def __post_init__(self) -> None:
        """Refuse a metric without a meaning."""
        check_metric(self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupRow:
    """A model on the held-out patients with `column` = `group`; `patients` is their exact number.

    The value is NaN where there were too few patients to tell; see `common.learning.enough`.
    """

    model: str
    column: str
    group: str
    metric: str
    value: float
    low: float
    high: float
    patients: int

    def __post_init__(self) -> None:
        """Refuse models and metrics without a meaning."""
        check_model(self.model)
        check_metric(self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRow:
    """Exact numbers of patients of a site: in all, and held out. Exists in simulation only."""

    site: str
    patients: int
    held_out: int

    def __post_init__(self) -> None:
        """Refuse negative counts."""
        not_negative(patients=self.patients, held_out=self.held_out)


Row = EpsilonRow | CapRow | EvaluationRow | GainRow | CurveRow | SubgroupRow | CohortRow
