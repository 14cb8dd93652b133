"""A first protocol from a table of the study's own patients.

It saves typing, nothing more: every constant is marked `DRAFTED`, no result with one may be called private, and
a person replaces them by public ones (textbook ranges, a published cohort's moments) before a study with real
hospitals. Needs pandas and scipy, imported on use.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.privacy.terms import FEWEST_HONEST, LARGEST_SUM, Mechanism, PrivacyTerms
from wardround.common.study.draft_features import feature, modalities, often_absent, remarks, unusable
from wardround.common.study.draft_table import DraftTable, is_blank, read_columns
from wardround.common.study.outcomes import ContinuousOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.rounding import significant
from wardround.common.study.schema import DRAFTED, Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, ModelTerms, StudyTerms

if TYPE_CHECKING:
    import pandas as pd

EPSILON: Final = 3.0
DELTA: Final = 1e-5
ROUNDS: Final = 30
MINIMUM_PATIENTS: Final = 20
TEST_FRACTION: Final = 0.25
TO_WRITE: Final = "to be written"
"""Stands where only a person can write: the question and the purpose."""

_SUBGROUPS: Final = ("sex", "gender", "race", "ethnicity", "ancestry")
_MOST_GROUPS: Final = 10
_NAMED: Final = 8
"""Columns that a note names before it only counts the rest."""


def draft(
    frame: "pd.DataFrame",
    *,
    name: str,
    outcome: Outcome,
    patient_column: str,
    site_column: str,
    exclude: Collection[str] = (),
    mechanism: Mechanism = "site-noise",
) -> StudyProtocol:
    """A protocol for a table: a linear model under `site-noise` of epsilon 3 at delta 1e-5 over 30 rounds.

    Left out, each with a note in `study.notes`: constant columns, identifiers, dates, follow-up, columns that
    name the site, and columns that nearly determine the outcome. Site sizes are not written.

    Args:
        frame: One row per sample, as `client.tables.read_table` gives it; see `draft_outcome` for the outcome.
        name: The study's name: letters, digits and hyphens.
        outcome: What to predict.
        patient_column: Identifier of the patient of each row.
        site_column: Identifier of the hospital of each row.
        exclude: Columns that must not become features.
        mechanism: How the study is to be private; `joint-noise` counts on all sites that can take part but one.

    Raises:
        UsageError: A named column is absent, no column is left, or there are too few sites for joint noise.
        ProtocolError: `name` cannot be a study's name.
    """
    taken = {patient_column, site_column, *_columns(outcome)}
    _refuse_absent(frame, [*taken, *exclude])
    names = [str(each) for each in frame.columns if each not in taken and each not in exclude]
    table = read_columns(frame, names)
    features, left_out = _features(table, frame, outcome, site_column)
    if not features:
        raise UsageError("no column of the table is left as a feature", advice="see --exclude")
    notes = [*_left_out_notes(left_out), *_remark_notes(table, features)]
    federation = FederationTerms(rounds=ROUNDS, learning_rate=_learning_rate(outcome))
    return StudyProtocol(
        study=StudyTerms(name=name, question=TO_WRITE, purpose=TO_WRITE, notes=tuple(notes)),
        outcome=outcome,
        features=tuple(features),
        cohort=_cohort(table, features, patient_column),
        privacy=_privacy(mechanism, _sizes(frame, patient_column, site_column), federation),
        inputs=InputTerms(norm="unit"),
        model=ModelTerms(),
        federation=federation,
    )


def _columns(outcome: Outcome) -> tuple[str, ...]:
    if isinstance(outcome, SurvivalOutcome):
        return (outcome.time_column, outcome.event_column)
    return (outcome.column,)


def _refuse_absent(frame: "pd.DataFrame", wanted: Sequence[str]) -> None:
    absent = [name for name in dict.fromkeys(wanted) if name not in frame.columns]
    if absent:
        raise UsageError(
            f"the table has no column {', '.join(map(repr, absent))}", advice="names are case-sensitive"
        )


def _features(
    table: DraftTable, frame: "pd.DataFrame", outcome: Outcome, site_column: str
) -> tuple[list[Feature], Mapping[str, list[str]]]:
    """Usable columns as features, and the others by reason."""
    guard = _Guard(frame, outcome, site_column)
    assays = modalities(table.names)
    features: list[Feature] = []
    left_out: dict[str, list[str]] = defaultdict(list)
    for place, name in enumerate(table.names):
        reason = unusable(table, place) or guard.reason(table.codes[:, place])
        if reason:
            left_out[reason].append(name)
        else:
            features.append(feature(table, place, assays[place]))
    return features, left_out


class _Guard:
    """Holds the outcome and the sites of the rows while columns are judged against them."""

    def __init__(self, frame: "pd.DataFrame", outcome: Outcome, site_column: str) -> None:
        import pandas as pd

        self._sites: NDArray[np.int64] = pd.factorize(frame[site_column].astype(str))[0].astype(np.int64)
        columns = list(_columns(outcome))
        targets = read_columns(frame, columns)
        codes = targets.column(columns[-1])
        self._rows = np.isfinite(codes)
        self._numbers = targets.column(columns[0]) if _has_number(outcome) else None
        self._classes: NDArray[np.int64] | None = None
        if not isinstance(outcome, ContinuousOutcome):
            self._classes = np.unique(codes[self._rows], return_inverse=True)[1].astype(np.int64)

    def reason(self, codes: NDArray[np.float64]) -> str:
        """Why a column is no feature of this study; empty if it can be one."""
        from wardround.common.study.draft_leaks import tells_classes, tells_number, tells_site

        if self._classes is not None and tells_classes(codes[self._rows], self._classes):
            return "nearly tells the outcome"
        if self._numbers is not None and tells_number(codes, self._numbers):
            return "nearly tells the outcome"
        return "names the site" if tells_site(codes, self._sites) else ""


def _has_number(outcome: Outcome) -> bool:
    return isinstance(outcome, ContinuousOutcome | SurvivalOutcome)


def _cohort(table: DraftTable, features: Sequence[Feature], patient_column: str) -> CohortTerms:
    words = dict(zip(table.names, table.words, strict=True))
    groups = [
        each.name
        for each in features
        if each.name.casefold() in _SUBGROUPS
        and (each.kind == "binary" or 0 < len(words[each.name]) <= _MOST_GROUPS)
    ]
    return CohortTerms(
        patient_column=patient_column,
        minimum_patients=MINIMUM_PATIENTS,
        optional_modalities=often_absent(table, features),
        test_fraction=TEST_FRACTION,
        subgroups=tuple(groups),
    )


def _privacy(mechanism: Mechanism, sizes: NDArray[np.float64], federation: FederationTerms) -> PrivacyTerms:
    from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for

    steps, patients = federation.rounds * federation.local_steps, _reference_patients(sizes)
    if mechanism == "none":
        return PrivacyTerms(mechanism="none", delta=DELTA, reference_patients=patients, source=DRAFTED)
    if mechanism == "site-noise":
        noise, honest = noise_multiplier_for(epsilon=EPSILON, delta=DELTA, sample_rate=1.0, steps=steps), 0
    else:
        honest = _honest_sites(sizes)
        noise = joint_noise_multiplier_for(
            epsilon=EPSILON, delta=DELTA, steps=steps, honest=honest, coordinates=LARGEST_SUM
        )
    return PrivacyTerms(
        mechanism=mechanism,
        noise_multiplier=noise,
        delta=DELTA,
        reference_patients=patients,
        honest_sites=honest,
        source=DRAFTED,
    )


def _honest_sites(sizes: NDArray[np.float64]) -> int:
    """All sites that can take part but one: a member knows its own noise, so its share never counts."""
    able = int((sizes >= MINIMUM_PATIENTS).sum())
    if able <= FEWEST_HONEST:
        raise UsageError(
            f"joint-noise needs at least {FEWEST_HONEST + 1} hospitals with {MINIMUM_PATIENTS} patients, "
            f"found {able}",
            advice="use site-noise, or group small hospitals by a public column",
        )
    return able - 1


def _sizes(frame: "pd.DataFrame", patient_column: str, site_column: str) -> NDArray[np.float64]:
    """Patients of each site."""
    named = frame[~is_blank(frame[site_column])]
    return np.asarray(named.groupby(site_column)[patient_column].nunique(), dtype=np.float64)


def _reference_patients(sizes: NDArray[np.float64]) -> int:
    """Mean training patients of the sites that can take part, to two digits.

    The mean, because equal weights then add up to the same step as the pooled gradient.
    """
    large = sizes[sizes >= MINIMUM_PATIENTS]
    typical = float(large.mean() if len(large) else sizes.max(initial=1.0))
    return max(1, round(significant(typical * (1 - TEST_FRACTION), 2)))


def _learning_rate(outcome: Outcome) -> float:
    """Below the stability limit of full-batch descent on rows of norm 1 and an intercept."""
    match outcome:
        case ContinuousOutcome():
            return 0.5
        case SurvivalOutcome():
            return 3.0
        case _:
            return 5.0


def _left_out_notes(left_out: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for reason, names in left_out.items():
        yield f"left out, {reason}: {_listed(names)}"


def _remark_notes(table: DraftTable, features: Sequence[Feature]) -> Iterator[str]:
    for remark, names in remarks(table, features):
        if names:
            yield f"{remark}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
