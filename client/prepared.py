"""A site's table after one pass of parsing: numbers, codes, outcomes, and which patient each row belongs to.

Parsing is paid once; the tables of single sites are then slices. Everything here is private to a site.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.client.spellings import compare, identifiers, lookup, parse_numbers
from wardround.common.errors import CohortError
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import ROW_IS_PATIENT

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcomes:
    """The outcome of each row, before rows are joined into patients.

    Attributes:
        value: Shape (rows,). Binary: 0 or 1. Class: index. Continuous: in the outcome's unit. Survival: time.
            NaN where missing or unreadable.
        event: Shape (rows,), 1 or 0, NaN where missing or unknown; all zero unless survival.
        unreadable: Shape (rows,), the value is there but is no number, or no declared spelling.
        unknown_event: Shape (rows,), the event is there but is no declared spelling.
        no_follow_up: Shape (rows,), a survival time of zero: it says nothing, so `value` is NaN.
    """

    value: Floats = field(repr=False)
    event: Floats = field(repr=False)
    unreadable: Flags = field(repr=False)
    unknown_event: Flags = field(repr=False)
    no_follow_up: Flags = field(repr=False)

    @property
    def usable(self) -> Flags:
        """Rows that say what happened to the patient."""
        return np.isfinite(self.value) & np.isfinite(self.event)

    def take(self, rows: NDArray[np.int64]) -> "RowOutcomes":
        """The outcomes of some rows."""
        return RowOutcomes(
            value=self.value[rows],
            event=self.event[rows],
            unreadable=self.unreadable[rows],
            unknown_event=self.unknown_event[rows],
            no_follow_up=self.no_follow_up[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patients:
    """Rows joined into patients.

    Attributes:
        ids: Shape (n,), sorted. Never shown.
        number: Shape (rows,), the patient of each row, -1 where the row has no identifier.
        value, event: Shape (n,), as in `RowOutcomes`; NaN where no row of the patient has an outcome.
        conflict: Shape (n,), True where rows of the patient disagree about the outcome.
    """

    ids: NDArray[np.object_] = field(repr=False)
    number: NDArray[np.int64] = field(repr=False)
    value: Floats = field(repr=False)
    event: Floats = field(repr=False)
    conflict: Flags = field(repr=False)

    @property
    def usable(self) -> Flags:
        """Patients with one clear outcome, shape (n,)."""
        return np.isfinite(self.value) & np.isfinite(self.event) & ~self.conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedTable:
    """One table, parsed for one protocol.

    Attributes:
        protocol: The public terms it was parsed for.
        frame: The whole table under the protocol's column names.
        at: Shape (rows,), which rows of `frame` these are.
        ids: Shape (rows,), patient identifiers as text, empty where missing.
        values: Shape (rows, features): numbers; 0 or 1; the index of a category; NaN where missing or unreadable.
        unreadable: Shape (rows, features), a cell is there but cannot be read.
        present: Shape (features,), the column exists.
        outcomes: Outcome of each row.
    """

    protocol: StudyProtocol
    frame: pd.DataFrame = field(repr=False)
    at: NDArray[np.int64] = field(repr=False)
    ids: NDArray[np.object_] = field(repr=False)
    values: Floats = field(repr=False)
    unreadable: Flags = field(repr=False)
    present: Flags = field(repr=False)
    outcomes: RowOutcomes = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: NDArray[np.int64]) -> "PreparedTable":
        """Some rows of the table; nothing is parsed again."""
        return replace(
            self,
            at=self.at[rows],
            ids=self.ids[rows],
            values=self.values[rows],
            unreadable=self.unreadable[rows],
            outcomes=self.outcomes.take(rows),
        )

    def cells(self, name: str) -> "pd.Series[Any]":
        """One column as it was read, of these rows."""
        return self.frame[name].iloc[self.at]

    def patients(self) -> Patients:
        """Join rows with one identifier into one patient."""
        number, ids = numbered(self.ids)
        value, value_conflict = _joined(self.outcomes.value, number, len(ids), self.outcomes.usable)
        event, event_conflict = _joined(self.outcomes.event, number, len(ids), self.outcomes.usable)
        return Patients(
            ids=ids,
            number=number,
            value=value,
            event=event,
            conflict=value_conflict | event_conflict,
        )

    def features_frame(self) -> pd.DataFrame:
        """The table as the feature path reads it: numbers, and the declared spelling of each code."""
        frame = pd.DataFrame(self.values, columns=[feature.name for feature in self.protocol.features])
        coded = {
            feature.name: _declared(feature, self.values[:, place])
            for place, feature in enumerate(self.protocol.features)
            if feature.categories
        }
        return frame.assign(**coded) if coded else frame


def prepare(
    protocol: StudyProtocol, frame: pd.DataFrame, *, columns: Mapping[str, str] | None = None
) -> PreparedTable:
    """Parse a table once.

    Args:
        protocol: The study.
        frame: The site's table as `read_table` gives it.
        columns: The site's own mapping from the protocol's column name to its own.

    Raises:
        CohortError: The mapping names a column that is not there, or would give two columns one name.
    """
    mapped = _with_row_numbers(protocol, renamed(frame, columns or {}))
    missing = np.full(len(mapped), np.nan)
    values = np.empty((len(mapped), len(protocol.features)), order="F")
    unreadable = np.zeros(values.shape, np.bool_, order="F")
    present = np.zeros(len(protocol.features), np.bool_)
    series = dict(mapped.items())
    for place, feature in enumerate(protocol.features):
        present[place] = feature.name in series
        values[:, place] = missing
        if present[place]:
            values[:, place], unreadable[:, place] = _feature(series[feature.name], feature)
    ids = series.get(protocol.cohort.patient_column)
    return PreparedTable(
        protocol=protocol,
        frame=mapped,
        at=np.arange(len(mapped)),
        ids=np.full(len(mapped), "", dtype=object) if ids is None else identifiers(ids),
        values=values,
        unreadable=unreadable,
        present=present,
        outcomes=_outcomes(protocol.outcome, mapped),
    )


def _with_row_numbers(protocol: StudyProtocol, frame: pd.DataFrame) -> pd.DataFrame:
    if protocol.cohort.patient_column != ROW_IS_PATIENT:
        return frame
    return frame.assign(**{ROW_IS_PATIENT: [f"{number:09d}" for number in range(len(frame))]})


def renamed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """The table under the protocol's names.

    Raises:
        CohortError: The mapping names a column that is not there, or would give two columns one name.
    """
    absent = [own for own in columns.values() if own not in frame.columns]
    if absent:
        raise CohortError(
            f"the site's column mapping names {len(absent)} columns that are not there: {absent[0]!r}",
            advice="correct [columns] in site.toml",
        )
    mapped = frame.rename(columns={own: name for name, own in columns.items()})
    twice = mapped.columns[mapped.columns.duplicated()]
    if len(twice):
        raise CohortError(
            f"two columns would be called {twice[0]!r}",
            advice="the table has a column of that name and [columns] maps another one to it; remove one",
        )
    return mapped


def feature_codes(feature: Feature) -> dict[str, float]:
    """The number of each spelling of a coded feature."""
    return {name: float(number) for number, name in enumerate(feature.categories)}


def _feature(series: "pd.Series[Any]", feature: Feature) -> tuple[Floats, Flags]:
    if feature.categories:
        return lookup(series, feature_codes(feature))
    values, unreadable = parse_numbers(series)
    if feature.kind == "binary":
        strange = np.isfinite(values) & (values != 0) & (values != 1)
        return np.where(strange, np.nan, values), unreadable | strange
    return values, unreadable


def _declared(feature: Feature, numbers: Floats) -> NDArray[np.object_]:
    spellings = np.array([*feature.categories, np.nan], dtype=object)
    places = np.where(np.isfinite(numbers), numbers, -1).astype(np.int64)
    return spellings[places]


def outcome_codes(outcome: Outcome) -> dict[str, float]:
    """The number of each declared spelling of a binary, class or event column; empty for a number."""
    match outcome:
        case BinaryOutcome():
            return {**dict.fromkeys(outcome.positive, 1.0), **dict.fromkeys(outcome.negative, 0.0)}
        case ClassOutcome():
            return {name: float(number) for number, name in enumerate(outcome.classes)}
        case SurvivalOutcome():
            return {
                **dict.fromkeys(outcome.event_values, 1.0),
                **dict.fromkeys(outcome.censored_values, 0.0),
            }
        case _:
            return {}


def _column(frame: pd.DataFrame, name: str) -> "pd.Series[Any]":
    return frame[name] if name in frame.columns else pd.Series(np.full(len(frame), np.nan), dtype=object)


def _outcomes(outcome: Outcome, frame: pd.DataFrame) -> RowOutcomes:
    known = np.zeros(len(frame))
    none = np.zeros(len(frame), np.bool_)
    if isinstance(outcome, SurvivalOutcome):
        time, unreadable = parse_numbers(_column(frame, outcome.time_column))
        event, unknown = lookup(_column(frame, outcome.event_column), outcome_codes(outcome))
        return RowOutcomes(
            value=np.where(time == 0, np.nan, time),
            event=event,
            unreadable=unreadable,
            unknown_event=unknown,
            no_follow_up=time == 0,
        )
    series = _column(frame, outcome.column)
    codes = outcome_codes(outcome)
    if isinstance(outcome, BinaryOutcome) and outcome.comparison:
        value, unreadable = compare(series, *outcome.comparison)
    else:
        value, unreadable = lookup(series, codes) if codes else parse_numbers(series)
    return RowOutcomes(value=value, event=known, unreadable=unreadable, unknown_event=none, no_follow_up=none)


def numbered(codes: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """The place of each code among the sorted ones, -1 where it is empty; and the sorted codes.

    Example:
        >>> [part.tolist() for part in numbered(np.array(["b", "", "a"], dtype=object))]
        [[1, -1, 0], ['a', 'b']]
    """
    cells = codes.copy()
    cells[codes == ""] = None
    place, found = pd.factorize(cells, sort=True)
    return np.asarray(place, np.int64), np.asarray(found, dtype=object)


def _joined(values: Floats, number: NDArray[np.int64], n: int, usable: Flags) -> tuple[Floats, Flags]:
    """The one value of each patient, and whether its rows disagree."""
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    chosen = usable & (number >= 0)
    np.minimum.at(low, number[chosen], values[chosen])
    np.maximum.at(high, number[chosen], values[chosen])
    known = np.isfinite(low)
    return np.where(known, low, np.nan), known & (low < high)
