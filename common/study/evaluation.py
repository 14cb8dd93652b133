"""The public terms of a private evaluation: one table of held-out patients per site, counted once and noised.

Patients are kept out of training by `[cohort] test_fraction`. After the last round every site counts its held-out
patients in one fully crossed table: score bin by outcome by group, and for survival risk bin by time bin by event by
group. What leaves is the table under noise, charged to the held-out patients alone.

A patient is in one cell, so a table has sensitivity 1 for adding or removing a patient, whatever the model is; several
classes are as many tables of the same patients, with sensitivity sqrt(classes). Replacing a patient moves two cells of
a table: sqrt(2) of that, which the factor of two in the stated epsilon covers.

Source: rule 11 of the privacy design.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final, Literal

from wardround.common.checks import in_range, not_negative, one_of, positive
from wardround.common.errors import ProtocolError
from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.study.outcomes import ClassOutcome, ContinuousOutcome, Outcome, SurvivalOutcome

SCORE_SPREADS: Final = (-1.8, -0.9, -0.3, 0.3, 0.9, 1.8)
"""Edges of predicted probability, in units of how far the released model's log-odds spread over imagined patients; .5
is one more, so that there are eight bins (`learning.tablebins`)."""

RISK_SPREADS: Final = (-1.2, -0.4, 0.4, 1.2)
"""Five bins of a survival model's risk score, in the same units. Wider than fifths: a spread that is not known well is
better taken for too small."""

MOST_TIMES: Final = 4
"""Inner edges of time: the study's own cut points, or as many of them."""

MOST_CELLS: Final = 1024
"""Cells of all tables of one site together. Each carries the full noise: more cells say less."""

MEASURES: Final = ("auc", "accuracy", "brier", "calibration_slope", "c_index", "integrated_brier")
"""What a study may declare as its primary measure."""

Direction = Literal["at-least", "at-most"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationGroup:
    """A column whose values split the table.

    Attributes:
        column: One of `[cohort] subgroups`.
        values: The groups, spelled as in the column; everybody else is counted together, as not declared.
    """

    column: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse no group, and one listed twice."""
        if not self.values or len(set(self.values)) != len(self.values):
            raise ProtocolError(f"evaluation: groups of {self.column!r} need distinct values")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTerms:
    """How held-out patients are counted, what that costs them, and what it is to show.

    Attributes:
        epsilon: Of one evaluation, per held-out patient, at `delta`: the noise follows from it. Or give
            `noise_multiplier`; exactly one of the two.
        noise_multiplier: Noise standard deviation divided by the sensitivity, under `joint-noise` that of any
            `honest_sites` shares together.
        delta: The delta at which `epsilon` is stated.
        attempts: Largest number of attempts; each that a site answers costs its held-out patients once more.
        score_edges: Inner edges of the bins of predicted probability, increasing, in (0, 1); for survival of the
            predicted chance of the event by the last time bin. Empty for the defaults: eight bins, for survival five
            of risk, that lie where the released model's answers do (`learning.tablebins`).
        groups: Columns that split the table.
        external_sites: Members that are evaluated and never train; all their patients count as held out.
        measure: The one measure that the study is judged by, decided before anything is seen; empty for `auc`, and
            for survival `c_index`.
        subject: The class that `measure` is about, where there are several.
        direction: Whether `measure` has to be at least or at most `threshold`.
        threshold: See `direction`.
        source: Where edges and threshold come from; never the held-out patients.
    """

    epsilon: float = 0.0
    noise_multiplier: float = 0.0
    delta: float = 1e-5
    attempts: int = 2
    score_edges: tuple[float, ...] = ()
    groups: tuple[EvaluationGroup, ...] = ()
    external_sites: tuple[str, ...] = ()
    measure: str = ""
    subject: str = ""
    direction: Direction = "at-least"
    threshold: float = 0.5
    source: str = "framework default"

    def __post_init__(self) -> None:
        """Refuse terms without a price, edges that do not increase, and names listed twice."""
        not_negative(epsilon=self.epsilon, noise_multiplier=self.noise_multiplier)
        if bool(self.epsilon) == bool(self.noise_multiplier):
            raise ProtocolError(
                "evaluation: give either epsilon or noise_multiplier",
                advice="epsilon = 1.0 is a good start; `wardround study plan` shows what it tells",
            )
        positive(delta=self.delta, attempts=self.attempts)
        in_range(0, 0.1, delta=self.delta)
        one_of(("at-least", "at-most"), direction=self.direction)
        if self.measure:
            one_of(MEASURES, measure=self.measure)
        edges = (0.0, *self.score_edges, 1.0)
        if not all(low < high for low, high in pairwise(edges)):
            raise ProtocolError("evaluation: score_edges must increase and lie between 0 and 1")
        for name, listed in (
            ("groups", [one.column for one in self.groups]),
            ("external_sites", self.external_sites),
        ):
            if len(set(listed)) != len(listed):
                raise ProtocolError(f"evaluation: {name} names one twice")


def score_bins_of(terms: EvaluationTerms, outcome: Outcome) -> int:
    """How many bins the score has."""
    if terms.score_edges:
        return len(terms.score_edges) + 1
    return len(RISK_SPREADS) + 1 if isinstance(outcome, SurvivalOutcome) else len(SCORE_SPREADS) + 2


def time_edges(outcome: SurvivalOutcome) -> tuple[float, ...]:
    """Inner edges of time: the cut points, or `MOST_TIMES` of them spread evenly, the last one included.

    Example:
        >>> time_edges(SurvivalOutcome(
        ...     time_column="t", event_column="e", event_values=("1",), censored_values=("0",), unit="months",
        ...     high=99.0, cut_points=(6.0, 12.0, 24.0, 36.0, 48.0, 60.0), source="s",
        ... ))
        (12.0, 24.0, 48.0, 60.0)
    """
    cuts = outcome.cut_points
    asked = min(MOST_TIMES, len(cuts))
    return tuple(cuts[-(-len(cuts) * (number + 1) // asked) - 1] for number in range(asked))


def subjects_of(outcome: Outcome) -> tuple[str, ...]:
    """What the tables of one site are about: each class, or the one question of another outcome."""
    return outcome.classes if isinstance(outcome, ClassOutcome) else ("",)


def table_shape(terms: EvaluationTerms, outcome: Outcome) -> tuple[int, ...]:
    """Tables, score bins, (time bins,) happened or not, and one axis per column of groups."""
    scores = score_bins_of(terms, outcome)
    middle = (scores, len(time_edges(outcome)) + 1) if isinstance(outcome, SurvivalOutcome) else (scores,)
    return (len(subjects_of(outcome)), *middle, 2, *(len(group.values) + 1 for group in terms.groups))


def table_privacy(terms: EvaluationTerms, outcome: Outcome, privacy: PrivacyTerms) -> PrivacyTerms:
    """What one table costs, in the words of a training release: C is its sensitivity, q is 1."""
    return PrivacyTerms(
        mechanism=privacy.mechanism,
        clipping_norm=math.sqrt(len(subjects_of(outcome))),
        noise_multiplier=terms.noise_multiplier or _noise(terms.epsilon, terms.delta, privacy.honest_sites),
        delta=terms.delta,
        reference_patients=privacy.reference_patients,
        honest_sites=privacy.honest_sites,
        most_patients=privacy.most_patients,
        source=terms.source,
    )


@lru_cache(maxsize=64)
def _noise(epsilon: float, delta: float, honest: int) -> float:
    if not honest:
        return noise_multiplier_for(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=1)
    return joint_noise_multiplier_for(
        epsilon=epsilon, delta=delta, steps=1, honest=honest, coordinates=LARGEST_SUM
    )


def check_evaluation(
    terms: EvaluationTerms, outcome: Outcome, subgroups: tuple[str, ...], test_fraction: float
) -> None:
    """Refuse an evaluation that the rest of a protocol does not allow.

    Raises:
        ProtocolError: There is no table for the outcome, nobody is held out, a column of groups is not declared, the
            primary measure does not fit, or the table is too large.
    """
    if isinstance(outcome, ContinuousOutcome):
        raise ProtocolError("evaluation: there is no table for a continuous outcome", advice="leave it out")
    if not test_fraction:
        raise ProtocolError("evaluation: cohort.test_fraction is 0, so nobody is held out")
    if unknown := sorted({group.column for group in terms.groups} - set(subgroups)):
        raise ProtocolError(f"evaluation: groups name {', '.join(unknown)}, not in cohort.subgroups")
    cells = math.prod(table_shape(terms, outcome))
    if cells > MOST_CELLS:
        raise ProtocolError(
            f"evaluation: {cells} cells, at most {MOST_CELLS} are counted",
            advice="cross fewer groups or use fewer bins: each cell carries the whole noise",
        )
    _check_measure(terms, outcome)


def primary_of(terms: EvaluationTerms, outcome: Outcome) -> str:
    """The measure that the study is judged by."""
    return terms.measure or ("c_index" if isinstance(outcome, SurvivalOutcome) else "auc")


def _check_measure(terms: EvaluationTerms, outcome: Outcome) -> None:
    survival = primary_of(terms, outcome) in ("c_index", "integrated_brier")
    if survival != isinstance(outcome, SurvivalOutcome):
        raise ProtocolError(f"evaluation: measure {terms.measure!r} does not belong to this outcome")
    if primary_of(terms, outcome) == "accuracy" and terms.score_edges and 0.5 not in terms.score_edges:
        raise ProtocolError("evaluation: accuracy needs .5 among the score_edges")
    several = isinstance(outcome, ClassOutcome)
    if several != bool(terms.subject) or (several and terms.subject not in subjects_of(outcome)):
        classes = ", ".join(subjects_of(outcome)) if several else "none, there is one question"
        raise ProtocolError(f"evaluation: subject is the class that `measure` is about: {classes}")
