"""Whether a table can be predicted for at all, and for which of its patients the model was not made.

A table is refused where nothing in it could be trusted: columns are missing, identifiers are missing or rows repeated,
or a whole column is in another unit. A single patient is refused, and gets no prediction, where a value that the study
requires is missing or unreadable, a whole modality is absent that the study does not call optional, or a value lies
outside the study's plausible range, whose patients the model never saw. Outcomes are not needed and not looked at.

The protocol has no further rule of inclusion; whoever uses the model reads its intended use.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.client.columncheck import missing_features
from wardround.client.findings import Finding
from wardround.client.prepared import Flags, PreparedTable
from wardround.client.units import fitting_unit, named_conversions, unit_by_mean
from wardround.client.valuecheck import lacking
from wardround.common.study.schema import Feature

ENOUGH: Final = 5
"""Values from which on a column, and not a patient, may be in another unit."""
MOST: Final = 0.5
"""Share of values outside the plausible range from which on a whole column is suspected."""
NAMED: Final = 5
"""Columns that one reason names; further ones are counted."""

Floats = NDArray[np.float64]


def table_findings(table: PreparedTable) -> list[Finding]:
    """What is wrong with the columns of a table, or of a part of it: missing ones, and other units."""
    return [*missing_features(table), *_units(table)]


def _units(table: PreparedTable) -> Iterator[Finding]:
    for place, feature in enumerate(table.protocol.features):
        if feature.kind != "continuous":
            continue
        values = table.values[:, place]
        values = values[np.isfinite(values)]
        outside = (values < feature.low) | (values > feature.high)
        if len(values) >= ENOUGH and outside.mean() > MOST:
            if reading := _reading(values, feature):
                yield _unit(
                    feature, f"most values lie outside the plausible range, and would fit if {reading}"
                )
        elif not outside.any() and (reading := unit_by_mean(values, feature)):
            yield _unit(feature, f"the values are far from the reference mean, and would fit if {reading}")


def _reading(values: Floats, feature: Feature) -> str:
    centre = feature.mean if feature.transform == "none" and feature.mean else float("nan")
    return fitting_unit(values, unit=feature.unit, low=feature.low, high=feature.high, centre=centre)


def _unit(feature: Feature, message: str) -> Finding:
    return Finding(
        code="unit",
        column=feature.name,
        message=message,
        advice=f"convert the column to {feature.unit}, as the protocol declares, or map another column to it",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReasons:
    """Why the model was not made for some rows of a table, and what else is to be known of each.

    Attributes:
        reasons: Row -> texts that name columns, never a value.
        notes: Row -> what does no harm but should be read.
    """

    reasons: dict[int, list[str]] = field(repr=False)
    notes: dict[int, list[str]] = field(repr=False)


def row_reasons(table: PreparedTable) -> RowReasons:
    """Look at every row on its own."""
    features, values = table.protocol.features, table.values
    left_out = lacking(table)
    missing = np.isnan(values) & ~table.unreadable & ~left_out
    required = np.array([feature.missing == "refuse" for feature in features])
    whole = _whole_modalities(table)
    reasons: dict[int, list[str]] = {}
    absent = np.zeros(values.shape, np.bool_)
    for modality, (rows, own) in whole.items():
        absent[np.ix_(rows, own)] = True
        _each(reasons, rows, f"modality {modality} is missing")
    _named(reasons, missing & required & ~absent, "missing, and the study requires it", features)
    _named(reasons, table.unreadable, "cannot be read", features)
    _outside(reasons, table)
    notes: dict[int, list[str]] = {}
    for modality in table.protocol.cohort.optional_modalities:
        chosen = [place for place, feature in enumerate(features) if feature.modality == modality]
        _each(notes, np.flatnonzero(left_out[:, chosen].all(axis=1)), f"without modality {modality}")
    imputed = (missing & ~required & ~absent).sum(axis=1)
    for row in np.flatnonzero(imputed):
        notes.setdefault(int(row), []).append(f"{imputed[row]} missing values are read as the reference mean")
    return RowReasons(reasons=reasons, notes=notes)


def _whole_modalities(table: PreparedTable) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Modalities that may not be missing -> rows that lack all of one, and its columns."""
    names = np.array([feature.modality for feature in table.protocol.features])
    needed = [
        name
        for name in dict.fromkeys(names.tolist())
        if name not in table.protocol.cohort.optional_modalities
    ]
    found = {}
    for name in needed:
        own = np.flatnonzero(names == name)
        rows = np.flatnonzero((np.isnan(table.values[:, own]) & ~table.unreadable[:, own]).all(axis=1))
        if len(rows):
            found[name] = (rows, own)
    return found


def _each(texts: dict[int, list[str]], rows: NDArray[np.int64], text: str) -> None:
    for row in rows.tolist():
        texts.setdefault(row, []).append(text)


def _named(texts: dict[int, list[str]], flags: Flags, what: str, features: tuple[Feature, ...]) -> None:
    for row in np.flatnonzero(flags.any(axis=1)).tolist():
        names = [features[place].name for place in np.flatnonzero(flags[row])]
        texts.setdefault(row, []).append(f"{listed(names)}: {what}")


def listed(names: list[str]) -> str:
    """Some names, and how many more.

    Example:
        >>> listed(list("abcdefgh"))
        'a, b, c, d, e and 3 more'
    """
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def _outside(texts: dict[int, list[str]], table: PreparedTable) -> None:
    features = table.protocol.features
    low, high = (np.array([getattr(feature, end) for feature in features]) for end in ("low", "high"))
    flags = (table.values < low) | (table.values > high)
    for row in np.flatnonzero(flags.any(axis=1)).tolist():
        places = np.flatnonzero(flags[row]).tolist()
        names = [
            features[place].name + _sister(table.values[row, place], features[place]) for place in places
        ]
        texts.setdefault(row, []).append(f"{listed(names)}: outside the study's plausible range")


def _sister(value: float, feature: Feature) -> str:
    """In which named unit one value outside the range would lie inside it."""
    if not named_conversions(feature.unit):
        return ""
    reading = fitting_unit(np.array([value]), unit=feature.unit, low=feature.low, high=feature.high)
    return f" (would fit if {reading})" if reading else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far rows lie from the public reference, in public standard deviations.

    Attributes:
        typical: Shape (rows,), root mean square over the known continuous features; 1 is ordinary if the reference
            describes these patients. NaN where fewer than `ENOUGH` are known.
        extreme: Row -> names of features beyond the clamp, which the model sees only as cut off.
    """

    typical: Floats = field(repr=False)
    extreme: dict[int, list[str]] = field(repr=False)


FAR: Final = 2.0
"""A typical distance from which on a patient is called unlike the reference. A rule of thumb and no probability:
features are correlated, and a reference from elsewhere has other means."""


def distances(table: PreparedTable) -> Distance:
    """Distances by the study's public means and standard deviations alone; no patient is compared with another."""
    features = table.protocol.features
    places = [place for place, feature in enumerate(features) if feature.kind == "continuous"]
    if not places:
        return Distance(typical=np.full(len(table), np.nan), extreme={})
    chosen = [features[place] for place in places]
    seen = np.clip(table.values[:, places], [f.low for f in chosen], [f.high for f in chosen])
    counts = np.flatnonzero([feature.transform == "log1p" for feature in chosen])
    seen[:, counts] = np.log1p(seen[:, counts])
    z = (seen - [feature.mean for feature in chosen]) / [feature.sd for feature in chosen]
    known = np.isfinite(z).sum(axis=1)
    squares = np.nansum(z**2, axis=1)
    typical = np.sqrt(np.divide(squares, known, out=np.full(len(z), np.nan), where=known >= ENOUGH))
    flags = np.abs(z) > table.protocol.inputs.clamp
    extreme = {
        int(row): [chosen[place].name for place in np.flatnonzero(flags[row])]
        for row in np.flatnonzero(flags.any(axis=1))
    }
    return Distance(typical=typical, extreme=extreme)


def prediction_frame(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Only the columns that are read, so that others cost nothing."""
    return frame[[name for name in columns if name in frame.columns]]
