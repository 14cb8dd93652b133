"""Checks of the outcome: readable, in its range and unit, and enough of it to learn from.

Patients without a usable outcome are left out and counted. Numbers of patients appear in messages because the
check-up runs at the site for its own staff; they are never sent.
"""

import numpy as np
from numpy.typing import NDArray

from wardround.client.findings import Finding, Severity
from wardround.client.prepared import Flags, Floats, Patients, PreparedTable, outcome_codes
from wardround.client.spellings import differs_in_case, number_advice
from wardround.client.units import fitting_unit, unit_by_horizon
from wardround.common.study.outcomes import (
    BinaryOutcome,
    ClassOutcome,
    ContinuousOutcome,
    Outcome,
    SurvivalOutcome,
)
from wardround.common.study.protocol import StudyProtocol

LEFT_OUT_AT_MOST = 0.25
"""Largest share of undeclared outcome spellings that are left out; above, the table is refused."""


def outcome_findings(table: PreparedTable, patients: Patients) -> list[Finding]:
    """Cells of the outcome that cannot be used, and patients who are left out."""
    protocol = table.protocol
    if any(name not in table.frame.columns for name in protocol.outcome_columns):
        return []
    return [
        *_unreadable(table),
        *_unknown_event(table),
        *_negative_time(table),
        *_left_out(table, patients),
    ]


def _unreadable(table: PreparedTable) -> list[Finding]:
    flags, name = table.outcomes.unreadable, table.protocol.outcome_columns[0]
    count = int(flags.sum())
    if not count:
        return []
    codes = (
        {} if isinstance(table.protocol.outcome, SurvivalOutcome) else outcome_codes(table.protocol.outcome)
    )
    if codes:
        return [_undeclared(table, name, codes, flags)]
    return [
        Finding(
            code="not-a-number",
            column=name,
            count=count,
            message=f"{count} cells are not finite numbers",
            advice=number_advice(table.cells(name), flags),
        )
    ]


def _undeclared(
    table: PreparedTable,
    name: str,
    codes: dict[str, float],
    flags: Flags,
) -> Finding:
    count = int(flags.sum())
    alike = differs_in_case(table.cells(name), codes, flags)
    many = count > LEFT_OUT_AT_MOST * len(table)
    severity: Severity = "refuse" if alike or many else "warn"
    listed = ", ".join(list(codes)[:10])
    message = f"{count} rows hold no declared outcome"
    if alike:
        message += f"; {alike} differ from one only in upper and lower case or spaces"
    return Finding(
        code="unknown-category" if severity == "refuse" else "undeclared-outcome",
        severity=severity,
        column=name,
        count=count,
        message=message if severity == "refuse" else f"{message} and are left out",
        advice=f"declared spellings: {listed}",
    )


def _unknown_event(table: PreparedTable) -> list[Finding]:
    outcome, flags = table.protocol.outcome, table.outcomes.unknown_event
    count = int(flags.sum())
    if not count or not isinstance(outcome, SurvivalOutcome):
        return []
    return [
        Finding(
            code="unknown-category",
            column=outcome.event_column,
            count=count,
            message=f"{count} cells say neither that the event was observed nor that it was not",
            advice="declared spellings: " + ", ".join([*outcome.event_values, *outcome.censored_values][:10]),
        )
    ]


def _negative_time(table: PreparedTable) -> list[Finding]:
    if not isinstance(table.protocol.outcome, SurvivalOutcome):
        return []
    count = int((table.outcomes.value < 0).sum())
    if not count:
        return []
    return [
        Finding(
            code="negative-time",
            column=table.protocol.outcome.time_column,
            count=count,
            message=f"{count} times are below zero: the end of follow-up lies before the index date",
            advice="check which two dates were subtracted",
        )
    ]


def _left_out(table: PreparedTable, patients: Patients) -> list[Finding]:
    at_zero = np.zeros(len(patients.ids), np.bool_)
    named = patients.number >= 0
    np.logical_or.at(at_zero, patients.number[named], table.outcomes.no_follow_up[named])
    without = ~np.isfinite(patients.value) | ~np.isfinite(patients.event)
    counts = {
        "no-follow-up": (int((without & at_zero).sum()), "patients have a follow-up time of zero"),
        "no-outcome": (int((without & ~at_zero).sum()), "patients have no usable outcome"),
    }
    return [
        Finding(
            code=code,
            severity="warn",
            column=table.protocol.outcome_columns[0],
            count=count,
            message=f"{count} {words} and are left out",
        )
        for code, (count, words) in counts.items()
        if count
    ]


def outcome_range_findings(protocol: StudyProtocol, value: Floats, site: str = "") -> list[Finding]:
    """Outcome values outside the declared range, and the unit that would fit; `value` has one per patient."""
    match protocol.outcome:
        case SurvivalOutcome() as outcome:
            found = _outside(outcome.time_column, value[value > 0], outcome.unit, 0.0, outcome.high, site)
            return found or _beyond_horizon(outcome, value[value > 0], site)
        case ContinuousOutcome() as outcome:
            return _outside(outcome.column, value, outcome.unit, outcome.low, outcome.high, site)
        case _:
            return []


def _outside(column: str, value: Floats, unit: str, low: float, high: float, site: str) -> list[Finding]:
    count = int(((value < low) | (value > high)).sum())
    if not count:
        return []
    reading = fitting_unit(value, unit=unit, low=low, high=high)
    message = f"{count} of {len(value)} patients lie outside the plausible range {low:g} to {high:g} {unit}"
    if reading:
        message += f"; nearly all would fit if {reading}"
    return [
        Finding(
            code="unit" if reading else "outside-range",
            column=column,
            count=count,
            site=site,
            message=message,
            advice=f"convert the column to {unit}" if reading else "correct the values, or leave them empty",
        )
    ]


def _beyond_horizon(outcome: SurvivalOutcome, times: Floats, site: str) -> list[Finding]:
    reading = unit_by_horizon(times, unit=outcome.unit, high=outcome.high, cuts=outcome.cut_points)
    if not reading:
        return []
    return [
        Finding(
            code="unit",
            severity="warn",
            column=outcome.time_column,
            site=site,
            message=f"the times do not suit the study's cut points, and would if {reading}",
            advice=f"the protocol declares {outcome.unit}; check before you go on",
        )
    ]


def eligibility(protocol: StudyProtocol, value: Floats, event: Floats, minimum: int) -> list[Finding]:
    """Whether a site has enough patients, of each class or with an event.

    Args:
        protocol: The study.
        value: Outcome per patient, shape (n,), without missing ones.
        event: Whether the event was observed, shape (n,), 1 or 0.
        minimum: Fewest patients, from protocol and policy together.
    """
    findings = []
    if len(value) < minimum:
        findings.append(_few(len(value), minimum))
    return findings + _enough_of_each(protocol.outcome, value, event, protocol.cohort.minimum_per_class)


def _few(count: int, minimum: int) -> Finding:
    return Finding(
        code="few-patients",
        count=count,
        message=f"expected at least {minimum} patients with a usable outcome, found {count}",
        advice="a smaller site can join with others, grouped by a public column such as the region",
    )


def _enough_of_each(outcome: Outcome, value: Floats, event: Floats, fewest: int) -> list[Finding]:
    names: tuple[str, ...]
    match outcome:
        case SurvivalOutcome():
            return _enough_events(outcome.event_column, int(event.sum()), fewest)
        case BinaryOutcome():
            names = ("negative", "positive")
        case ClassOutcome():
            names = outcome.classes
        case _:
            return []
    counts = np.bincount(value.astype(np.int64), minlength=len(names))
    return _enough_per_class(outcome.column, names, counts, fewest)


def _enough_events(column: str, events: int, fewest: int) -> list[Finding]:
    if events and events >= fewest:
        return []
    severity: Severity = "refuse" if fewest else "warn"
    return [
        Finding(
            code="few-events" if events else "no-events",
            severity=severity,
            column=column,
            count=events,
            message=f"expected at least {fewest} events, found {events}"
            if events
            else "no event was observed",
            advice="check the spellings that mean 'observed'; otherwise wait for longer follow-up",
        )
    ]


def _enough_per_class(
    column: str, names: tuple[str, ...], counts: NDArray[np.int64], fewest: int
) -> list[Finding]:
    severity: Severity = "refuse" if fewest else "warn"
    there = counts > 0
    if there.sum() < 2:
        message = "all patients have one and the same outcome" if there.any() else "no patient has an outcome"
        return [
            Finding(
                code="one-class",
                severity=severity,
                column=column,
                message=message,
                advice="check the declared spellings; a site with one class cannot tell two apart",
            )
        ]
    small = [name for name, count in zip(names, counts.tolist(), strict=True) if 0 < count < fewest]
    absent = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
    return [_small_class(column, name, fewest) for name in small] + _absent_classes(column, absent)


def _small_class(column: str, name: str, fewest: int) -> Finding:
    return Finding(
        code="small-class",
        column=column,
        count=1,
        message=f"class {name!r} has fewer than the declared minimum of {fewest} patients",
    )


def _absent_classes(column: str, absent: list[str]) -> list[Finding]:
    if not absent:
        return []
    return [
        Finding(
            code="absent-class",
            severity="warn",
            column=column,
            count=len(absent),
            message=f"nobody has class {', '.join(map(repr, absent[:5]))}; the site can still take part",
        )
    ]
