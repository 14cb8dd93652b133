"""Features that know too much: they nearly determine the outcome, or repeat another feature.

A feature that separates the classes almost perfectly is usually the outcome under another name (a code of
the diagnosis, a date of death, a treatment that only cases receive). This is a screen, not a test: missing values
are read as the column's mean, and a feature is named only if chance over all features is an unlikely cause.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from wardround.client.findings import Finding
from wardround.client.patientcheck import equal_neighbours
from wardround.client.prepared import Flags, Floats, Patients, PreparedTable
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

NEARLY: Final = 0.99
"""AUC, rank correlation or share of patients from which a feature determines the outcome."""
FEWEST: Final = 20
_BLOCK: Final = 1024
_SMALLEST_CLASS: Final = 10


def leak_findings(table: PreparedTable, patients: Patients) -> list[Finding]:
    """Features that nearly determine the outcome, and features that are equal column by column."""
    usable = np.flatnonzero(patients.usable)
    if len(usable) < FEWEST:
        return []
    order = np.argsort(patients.number, kind="stable")
    first = order[np.searchsorted(patients.number[order], usable)]
    values = table.values[first]
    coded = _coded(table.protocol)
    known = _known_by_rank(table.protocol, values, patients.value[usable], patients.event[usable])
    for place in np.flatnonzero(coded):
        known[place] = _known_by_code(values[:, place], _classes(table.protocol, patients, usable))
    return [_leak(table, int(place)) for place in np.flatnonzero(known)] + _equal_columns(table, values)


def _coded(protocol: StudyProtocol) -> Flags:
    return np.array([feature.kind == "categorical" for feature in protocol.features])


def _classes(protocol: StudyProtocol, patients: Patients, usable: NDArray[np.int64]) -> Floats:
    """The class of each patient; for survival whether the event was observed; NaN for a number."""
    match protocol.outcome:
        case SurvivalOutcome():
            return patients.event[usable]
        case BinaryOutcome() | ClassOutcome():
            return patients.value[usable]
        case _:
            return np.full(len(usable), np.nan)


def _known_by_rank(protocol: StudyProtocol, values: Floats, value: Floats, event: Floats) -> Flags:
    labels = event if isinstance(protocol.outcome, SurvivalOutcome) else value
    classed = isinstance(protocol.outcome, SurvivalOutcome | BinaryOutcome | ClassOutcome)
    members = _members(labels, values.shape[1]) if classed else np.empty((0, len(value)), np.bool_)
    numeric = not isinstance(protocol.outcome, BinaryOutcome | ClassOutcome)
    known = np.zeros(values.shape[1], np.bool_)
    for start in range(0, values.shape[1], _BLOCK):
        block = values[:, start : start + _BLOCK]
        missing = np.isnan(block)
        ranks = rankdata(_filled(block, missing), axis=0)
        found = _separates(ranks, members) | _gives_away(missing, members)
        if numeric:
            found |= np.abs(_correlation(ranks, rankdata(value))) > NEARLY
        known[start : start + _BLOCK] = found
    return known


def _members(labels: Floats, features: int) -> Flags:
    """One row per class that is large enough to say something, shape (classes, n)."""
    n = len(labels)
    chosen = [labels == label for label in np.unique(labels)]
    return np.array([flags for flags in chosen if _telling(int(flags.sum()), n, features)]).reshape(-1, n)


def _telling(count: int, n: int, features: int) -> bool:
    """Whether a perfect separation of `count` of n patients by one of many features cannot be chance."""
    if min(count, n - count) < _SMALLEST_CLASS:
        return False
    ways = math.lgamma(n + 1) - math.lgamma(count + 1) - math.lgamma(n - count + 1)
    return ways > math.log(2000.0 * features)


def _filled(block: Floats, missing: Flags) -> Floats:
    counts = np.maximum((~missing).sum(axis=0), 1)
    means = np.where(missing, 0.0, block).sum(axis=0) / counts
    filled: Floats = np.where(missing, means, block)
    return filled


def _separates(ranks: Floats, members: Flags) -> Flags:
    """Features whose AUC for some class is above `NEARLY` or below its mirror image."""
    found = np.zeros(ranks.shape[1], np.bool_)
    for flags in members:
        ones = int(flags.sum())
        wins = flags.astype(np.float64) @ ranks - ones * (ones + 1) / 2
        auc = wins / (ones * (len(flags) - ones))
        found |= np.maximum(auc, 1 - auc) > NEARLY
    return found


def _gives_away(missing: Flags, members: Flags) -> Flags:
    """Features that are missing for nearly all of one class and for nearly nobody else."""
    found = np.zeros(missing.shape[1], np.bool_)
    for flags in members:
        gap = missing[flags].mean(axis=0) - missing[~flags].mean(axis=0)
        found |= (1 + np.abs(gap)) / 2 > NEARLY
    return found


def _correlation(ranks: Floats, other: Floats) -> Floats:
    a = ranks - ranks.mean(axis=0)
    b = other - other.mean()
    scale = np.sqrt((a * a).sum(axis=0) * (b @ b))
    result: Floats = (b @ a) / np.where(scale > 0, scale, np.inf)
    return result


def _known_by_code(codes: Floats, labels: Floats) -> bool:
    """Whether the category gives the class away, beyond what the largest class alone would."""
    kept = np.isfinite(codes) & np.isfinite(labels)
    codes, labels = codes[kept], labels[kept]
    if len(codes) < FEWEST:
        return False
    share, base, groups = purity(codes, labels)
    return share > NEARLY and base < 0.95 and len(codes) >= 5 * groups


def purity(codes: Floats, labels: Floats) -> tuple[float, float, int]:
    """How much a grouping tells about a class.

    Args:
        codes: Group of each patient, shape (n,), finite.
        labels: Class of each patient, shape (n,), finite.

    Returns:
        Share of patients in the largest class of their group; the same with one group; number of groups.

    Example:
        >>> purity(np.array([0.0, 0.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0, 1.0]))
        (0.75, 0.75, 2)
    """
    groups, group = np.unique(codes, return_inverse=True)
    classes, label = np.unique(labels, return_inverse=True)
    table = np.zeros((len(groups), len(classes)), np.int64)
    np.add.at(table, (group, label), 1)
    return (
        float(table.max(axis=1).sum() / len(codes)),
        float(table.sum(axis=0).max() / len(codes)),
        len(groups),
    )


def _leak(table: PreparedTable, place: int) -> Finding:
    return Finding(
        code="leak",
        severity="warn",
        column=table.protocol.features[place].name,
        message="this feature, or whether it is missing, nearly determines the outcome",
        advice="it may be the outcome under another name; ask whether it is known when the model is used",
    )


def _equal_columns(table: PreparedTable, values: Floats) -> list[Finding]:
    varied = _varied(values)
    pairs = equal_neighbours(np.ascontiguousarray(values[:, varied].T))
    features = table.protocol.features
    named = sorted(sorted((int(varied[a]), int(varied[b]))) for a, b in pairs)
    return [
        Finding(
            code="identical-columns",
            severity="warn",
            column=features[second].name,
            message=f"holds the same values as {features[first].name!r}",
            advice="one of the two is enough, unless one was exported under the wrong name",
        )
        for first, second in named
    ]


def _varied(values: Floats) -> NDArray[np.int64]:
    """Columns whose equality means something: at least five patients differ from the most usual value."""
    filled = _filled(values, np.isnan(values))
    low, high = filled.min(axis=0), filled.max(axis=0)
    at_low, at_high = (filled == low).sum(axis=0), (filled == high).sum(axis=0)
    return np.flatnonzero(np.maximum(at_low, at_high) <= len(values) - 5)
