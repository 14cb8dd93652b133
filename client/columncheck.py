"""Checks of a table's columns: missing, extra, and names that warn of a trap.

Only names and public terms are looked at here, and for `race` the declared spellings.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

import numpy as np
import pandas as pd

from wardround.client.findings import ColumnReport, Finding, Role
from wardround.client.prepared import PreparedTable
from wardround.common.study.outcomes import ContinuousOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

POST_BASELINE: Final = re.compile(r"chemo|therap|treatment|radio|surger|resection|transplant", re.IGNORECASE)
_RACE: Final = re.compile(r"(^|[^a-z])race([^a-z]|$)", re.IGNORECASE)
_SUGGESTED: Final = 5


def column_findings(table: PreparedTable) -> list[Finding]:
    """Missing columns and modalities (refused), and columns that the study does not use (counted)."""
    return [
        *_missing_columns(table),
        *missing_features(table),
        *_extra_columns(table),
    ]


def named_columns(protocol: StudyProtocol) -> tuple[str, ...]:
    """Every column that the protocol names, each once: patient, outcome, features, subgroups."""
    names = (
        protocol.cohort.patient_column,
        *protocol.outcome_columns,
        *(feature.name for feature in protocol.features),
        *protocol.cohort.subgroups,
    )
    return tuple(dict.fromkeys(names))


def _missing_columns(table: PreparedTable) -> list[Finding]:
    protocol, found, free = table.protocol, set(table.frame.columns), _extra(table)
    needed = (protocol.cohort.patient_column, *protocol.outcome_columns)
    findings = [_missing(name, free) for name in needed if name not in found]
    groups = [name for name in protocol.cohort.subgroups if name not in found]
    return findings + [
        Finding(
            code="missing-subgroup",
            severity="warn",
            column=name,
            message="the column of a subgroup is not in the table; its patients count as 'not known'",
            advice=_suggestion(name, free),
        )
        for name in groups
    ]


def _missing(name: str, free: Iterable[str]) -> Finding:
    return Finding(
        code="missing-column",
        column=name,
        count=1,
        message="the protocol needs this column and the table does not have it",
        advice=_suggestion(name, free) or "add it, or map your own name in [columns] of site.toml",
    )


def missing_features(table: PreparedTable) -> list[Finding]:
    """Feature columns that the study needs and the table lacks; a modality that lacks as a whole is one finding."""
    findings: list[Finding] = []
    free, suggested = _extra(table), 0
    for modality, names in _by_modality(table).items():
        absent = [name for name, there in names if not there]
        if not absent or (
            len(absent) == len(names) and modality in table.protocol.cohort.optional_modalities
        ):
            continue
        if len(absent) == len(names) and len(names) > 1:
            findings.append(_missing_modality(modality, len(names)))
            continue
        for name in absent:
            findings.append(_missing(name, free if suggested < _SUGGESTED else []))
            suggested += 1
    return findings


def _by_modality(table: PreparedTable) -> dict[str, list[tuple[str, bool]]]:
    result: dict[str, list[tuple[str, bool]]] = {}
    for feature, there in zip(table.protocol.features, table.present.tolist(), strict=True):
        result.setdefault(feature.modality, []).append((feature.name, there))
    return result


def _missing_modality(modality: str, count: int) -> Finding:
    return Finding(
        code="missing-modality",
        column=modality,
        count=count,
        message=f"all {count} columns of modality {modality!r} are missing, and the study needs it",
        advice="add them; a study may also list the modality in optional_modalities",
    )


def _extra(table: PreparedTable) -> list[str]:
    return sorted(set(map(str, table.frame.columns)) - set(named_columns(table.protocol)))


def _extra_columns(table: PreparedTable) -> list[Finding]:
    extra = _extra(table)
    if not extra:
        return []
    shown = ", ".join(extra[:_SUGGESTED]) + (", ..." if len(extra) > _SUGGESTED else "")
    return [
        Finding(
            code="extra-columns",
            severity="warn",
            count=len(extra),
            message=f"{len(extra)} columns are not part of the study and are not read: {shown}",
        )
    ]


def _suggestion(name: str, free: Iterable[str]) -> str:
    """The column that was probably meant, among those that the study does not use under their own name."""
    own = list(free)
    folded = {column.casefold(): column for column in own}
    near = [folded[name.casefold()]] if name.casefold() in folded else []
    near = near or [column for column in own if name.casefold() in re.split(r"[^a-z0-9]+", column.casefold())]
    near = near or difflib.get_close_matches(name, own, n=1, cutoff=0.75)
    return f"did you mean {near[0]!r}? map it in [columns] of site.toml" if near else ""


def name_warnings(table: PreparedTable) -> list[Finding]:
    """Names that warn of a trap: treatment given after baseline, and a race column that mixes in ethnicity."""
    later = [
        Finding(
            code="post-baseline",
            severity="warn",
            column=feature.name,
            message="the name says treatment, which is usually given after the index date",
            advice="keep it only if it was known at the time from which the study predicts",
        )
        for feature in table.protocol.features
        if POST_BASELINE.search(feature.name)
    ]
    return later + [_mixed_race(name) for name in _race_columns(table)]


def _race_columns(table: PreparedTable) -> list[str]:
    declared = {
        feature.name for feature in table.protocol.features if any(map(_hispanic, feature.categories))
    }
    chosen = [name for name in named_columns(table.protocol) if _RACE.search(name.replace("_", " "))]
    return [name for name in chosen if name in declared or _holds_hispanic(table.frame, name)]


def _holds_hispanic(frame: pd.DataFrame, name: str) -> bool:
    return name in frame.columns and any(_hispanic(cell) for cell in pd.unique(frame[name].dropna()))


def _hispanic(cell: object) -> bool:
    return "hispanic" in str(cell).lower()


def _mixed_race(name: str) -> Finding:
    return Finding(
        code="race-ethnicity",
        severity="warn",
        column=name,
        message="the column of race also holds an ethnicity, so its groups overlap",
        advice="report the groups apart, or read 'hispanic' spellings as race not known",
    )


def column_reports(table: PreparedTable, findings: Iterable[Finding]) -> tuple[ColumnReport, ...]:
    """One entry per column that the protocol names, in its order."""
    codes: dict[str, list[str]] = {}
    for finding in findings:
        codes.setdefault(finding.column, []).append(finding.code)
    kinds = {feature.name: feature.kind for feature in table.protocol.features}
    units = {feature.name: feature.unit for feature in table.protocol.features}
    units |= _outcome_units(table.protocol)
    roles = _roles(table.protocol)
    shares = _missing_percents(table)
    return tuple(
        ColumnReport(
            name=name,
            role=roles[name],
            kind=kinds.get(name, ""),
            unit=units.get(name, ""),
            missing_percent=shares.get(name),
            codes=tuple(dict.fromkeys(codes.get(name, ()))),
        )
        for name in named_columns(table.protocol)
    )


def _roles(protocol: StudyProtocol) -> dict[str, Role]:
    roles: dict[str, Role] = dict.fromkeys(protocol.cohort.subgroups, "subgroup")
    roles |= dict.fromkeys((feature.name for feature in protocol.features), "feature")
    roles |= dict.fromkeys(protocol.outcome_columns, "outcome")
    return roles | {protocol.cohort.patient_column: "patient"}


def _outcome_units(protocol: StudyProtocol) -> dict[str, str]:
    match protocol.outcome:
        case SurvivalOutcome() as outcome:
            return {outcome.time_column: outcome.unit}
        case ContinuousOutcome() as outcome:
            return {outcome.column: outcome.unit}
        case _:
            return {}


def _missing_percents(table: PreparedTable) -> dict[str, int]:
    """Rounded share of rows without a value, of each column that is there."""
    if not len(table):
        return {}
    shares = (np.isnan(table.values) & ~table.unreadable).mean(axis=0)
    features = [feature.name for feature in table.protocol.features]
    result = dict(zip(features, shares.tolist(), strict=True))
    others = [name for name in named_columns(table.protocol) if name not in result]
    result |= {name: table.cells(name).isna().mean() for name in others if name in table.frame.columns}
    return {name: round(100 * share) for name, share in result.items() if name in table.frame.columns}
