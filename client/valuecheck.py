"""Checks of feature values: unreadable cells, unknown categories, ranges and units, missing values.

Counts are of cells in the rows of patients who take part. No message holds a value.
"""

import numpy as np
from numpy.typing import NDArray

from wardround.client.findings import Finding
from wardround.client.prepared import Flags, PreparedTable, feature_codes
from wardround.client.spellings import differs_in_case, number_advice
from wardround.client.units import fitting_unit, named_conversions, unit_by_mean
from wardround.common.study.schema import Feature


def value_findings(table: PreparedTable) -> list[Finding]:
    """Cells that cannot be read, and missing ones where the protocol refuses them."""
    return [*_unreadable(table), *_missing(table)]


def _counted(flags: Flags) -> list[tuple[int, int]]:
    """(column, count) of each column with any flag."""
    counts = flags.sum(axis=0)
    return [(int(place), int(counts[place])) for place in np.flatnonzero(counts)]


def _unreadable(table: PreparedTable) -> list[Finding]:
    findings = []
    for place, count in _counted(table.unreadable):
        feature = table.protocol.features[place]
        numeric = feature.kind == "continuous"
        findings.append(
            _not_a_number(table, place, count) if numeric else _unknown(table, feature, place, count)
        )
    return findings


def _not_a_number(table: PreparedTable, place: int, count: int) -> Finding:
    name = table.protocol.features[place].name
    return Finding(
        code="not-a-number",
        column=name,
        count=count,
        message=f"{count} cells are not finite numbers",
        advice=number_advice(table.cells(name), table.unreadable[:, place]),
    )


def _unknown(table: PreparedTable, feature: Feature, place: int, count: int) -> Finding:
    allowed = feature.categories or ("0", "1")
    codes = feature_codes(feature) or {"0": 0.0, "1": 1.0}
    alike = differs_in_case(table.cells(feature.name), codes, table.unreadable[:, place])
    shown = ", ".join(allowed[:10]) + (", ..." if len(allowed) > 10 else "")
    advice = f"use the declared spellings: {shown}"
    return Finding(
        code="unknown-category",
        column=feature.name,
        count=count,
        message=f"{count} cells hold none of the {len(allowed)} declared categories",
        advice=f"{advice}; {alike} differ only in upper and lower case or spaces" if alike else advice,
    )


def range_findings(table: PreparedTable, site: str = "") -> list[Finding]:
    """Values outside the declared range, and the unit that would fit."""
    features = table.protocol.features
    bounded = [feature.kind == "continuous" for feature in features]
    low = np.array(
        [feature.low if kept else -np.inf for feature, kept in zip(features, bounded, strict=True)]
    )
    high = np.array(
        [feature.high if kept else np.inf for feature, kept in zip(features, bounded, strict=True)]
    )
    outside = (table.values < low) | (table.values > high)
    return [_outside(table, place, count, site) for place, count in _counted(outside)]


def _outside(table: PreparedTable, place: int, count: int, site: str) -> Finding:
    feature = table.protocol.features[place]
    values = _there(table.values[:, place])
    centre = feature.mean if feature.transform == "none" and feature.mean else float("nan")
    reading = fitting_unit(values, unit=feature.unit, low=feature.low, high=feature.high, centre=centre)
    message = (
        f"{count} of {len(values)} values lie outside the plausible range "
        f"{feature.low:g} to {feature.high:g} {feature.unit}"
    )
    if reading:
        message += f"; nearly all would fit if {reading}"
    outside = (values < feature.low) | (values > feature.high)
    return Finding(
        code="unit" if reading else "outside-range",
        column=feature.name,
        count=count,
        site=site,
        message=message,
        advice=_range_advice(reading, feature.unit, values[outside]),
    )


def _range_advice(reading: str, unit: str, outside: NDArray[np.float64]) -> str:
    if reading:
        return f"convert the column to {unit}, as the protocol declares"
    if len(outside) >= 3 and len(np.unique(outside)) == 1:
        return "all of them are one number: if it is a code for 'not known', leave those cells empty"
    return "correct the values or leave them empty; if they are right, the study's range is too narrow"


def mean_findings(table: PreparedTable, site: str = "") -> list[Finding]:
    """Columns inside the range whose median differs from the public mean by the factor of a sister unit."""
    findings = []
    for place, feature in enumerate(table.protocol.features):
        if feature.kind != "continuous" or feature.mean <= 0 or not named_conversions(feature.unit):
            continue
        values = _there(table.values[:, place])
        inside = bool(np.all((values >= feature.low) & (values <= feature.high)))
        if inside and (reading := unit_by_mean(values, feature)):
            findings.append(_far_from_mean(feature, reading, site))
    return findings


def _far_from_mean(feature: Feature, reading: str, site: str) -> Finding:
    return Finding(
        code="unit",
        severity="warn",
        column=feature.name,
        site=site,
        message=f"the values are far from the study's reference mean, and would fit if {reading}",
        advice=f"the protocol declares {feature.unit}",
    )


def _there(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _missing(table: PreparedTable) -> list[Finding]:
    features = table.protocol.features
    refused = np.array([feature.missing == "refuse" for feature in features]) & table.present
    missing = np.isnan(table.values) & ~table.unreadable & refused & ~lacking(table)
    return [
        Finding(
            code="missing-value",
            column=features[place].name,
            count=count,
            message=f"{count} values are missing, and the protocol refuses missing values here",
            advice="complete them, or leave these patients out of the table",
        )
        for place, count in _counted(missing)
    ]


def lacking(table: PreparedTable) -> Flags:
    """Cells of an optional modality that the row lacks altogether, shape (rows, features).

    Not measured is not zero: a tumour that was not sequenced is not a tumour without mutations.
    """
    result = np.zeros(table.values.shape, np.bool_)
    modalities = np.array([feature.modality for feature in table.protocol.features])
    for modality in table.protocol.cohort.optional_modalities:
        own = np.flatnonzero(modalities == modality)
        empty = np.isnan(table.values[:, own]).all(axis=1)
        result[np.ix_(empty, own)] = True
    return result


def constant_findings(table: PreparedTable) -> list[Finding]:
    """Features with one value for everybody, and features that nobody has."""
    known = np.isfinite(table.values)
    low = np.where(known, table.values, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, table.values, -np.inf).max(axis=0, initial=-np.inf)
    return [
        Finding(
            code="constant",
            severity="warn",
            column=table.protocol.features[place].name,
            message="every patient of the table has the same value",
        )
        for place in np.flatnonzero((low == high) & (known.sum(axis=0) > 1))
    ]
