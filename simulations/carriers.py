"""Which inputs carry the released model's prediction beyond chance: a test on patients that it never saw.

The contribution of an input to a patient is the model's score minus the score with that input at its public reference.
If the outcome has nothing to do with the inputs (the null; for survival: time and event), outcomes may
be exchanged between the patients of a hospital without changing anything, for the model is fixed and these patients did
not train it. So how well contributions follow outcomes is compared with the same after exchanging outcomes within each
hospital. The p-value is valid for any model and sample size and whatever correlations inputs have; hospitals that
differ in inputs and outcomes do not make it small.

What is tested is association, not cause; an input that the model uses because a related one matters is a carrier too.
Only the inputs whose contributions vary most over these patients are tested, chosen without looking at outcomes, as
many as the permutations can judge; Holm's correction is over them. Exact patients are needed: simulation only.

Sources: Fisher (1935) for the permutation test; Besag and Clifford (1991) for stopping it early; Holm (1979).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.learning.predictions import scores
from wardround.common.learning.reference import reference_features
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.outcomes import ClassOutcome, SurvivalOutcome, Targets
from wardround.simulations.evidencerows import CarrierRow
from wardround.simulations.hospitals import Hospital

LEVEL: Final = 0.001
MOST_TESTED: Final = 20
MOST_PERMUTATIONS: Final = 99_999
_CELLS: Final = 400_000_000
"""Outcomes exchanged in all: bounds the time on large cohorts."""
_CHUNK: Final = 4_000_000
_PLENTY: Final = 30
"""Permutations above the sample after which an input needs no more of them: its p-value is known well enough."""
_TIE: Final = 1e-9

METHOD: Final = (
    "On held-out patients, by exchanging outcomes within each hospital; Holm's correction over the inputs tested, "
    f"level {LEVEL:g}. Association, not cause."
)

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What the test needs of n patients that did not train the model.

    Attributes:
        names: Of the m inputs.
        contributions: Shape (n, outputs, m).
        outcome: Shape (n, outputs): what contributions should follow.
        hospital: Shape (n,), the number of the hospital.
    """

    names: tuple[str, ...]
    contributions: Numbers = field(repr=False)
    outcome: Numbers = field(repr=False)
    hospital: NDArray[np.int64] = field(repr=False)


def carrier_rows(
    model: ReleasedModel, hospitals: Sequence[Hospital], rng: np.random.Generator
) -> tuple[CarrierRow, ...]:
    """Test the inputs of a model.

    Args:
        model: The released model.
        hospitals: Its hospitals; their held-out patients are used, which must not have trained it.
        rng: Draws the permutations.
    """
    return permutation_tests(held_out(model, hospitals), rng)


def held_out(model: ReleasedModel, hospitals: Sequence[Hospital]) -> HeldOut:
    """Contributions and outcomes of the held-out patients."""
    groups = _inputs(model)
    parts = [_contributions(model, hospital, groups) for hospital in hospitals]
    targets = [hospital.held_out().targets for hospital in hospitals]
    sizes = [len(each) for each in targets]
    return HeldOut(
        names=tuple(groups),
        contributions=np.concatenate(parts),
        outcome=np.concatenate([_outcome(model, each) for each in targets]),
        hospital=np.repeat(np.arange(len(sizes)), sizes),
    )


def _inputs(model: ReleasedModel) -> Mapping[str, tuple[NDArray[np.int64], Numbers]]:
    """Feature, or component of loadings -> its places among the model's inputs, and its reference there."""
    path = model.path
    places = {name: place for place, name in enumerate(path.names)}
    means = {
        path.columns[column].name: value
        for feature in reference_features(path)
        for column, value in zip(feature.columns, feature.mean, strict=True)
    }
    owner = {column.name: column.feature for column in path.columns}
    found: dict[str, list[str]] = {}
    for name in path.names:
        if name in owner or not name.startswith("present:"):
            found.setdefault(owner.get(name, name), []).append(name)
    scaled = path.inputs.norm == "unit"  # rows were scaled since: the reference is then zero
    return {
        group: (
            np.array([places[name] for name in names], np.int64),
            np.array([0.0 if scaled else means.get(name, 0.0) for name in names]),
        )
        for group, names in found.items()
    }


def _contributions(
    model: ReleasedModel, hospital: Hospital, groups: Mapping[str, tuple[NDArray[np.int64], Numbers]]
) -> Numbers:
    rows = hospital.held_out()
    whole = scores(model.protocol, model.parameters, rows.inputs)
    result = np.zeros((rows.n_patients, whole.shape[1], len(groups)))
    counts = np.bincount(rows.patient, minlength=rows.n_patients).astype(np.float64)
    for number, (places, reference) in enumerate(groups.values()):
        without = rows.inputs.copy()
        without[:, places] = reference
        np.add.at(
            result[:, :, number], rows.patient, whole - scores(model.protocol, model.parameters, without)
        )
    return result / counts[:, None, None]


def _outcome(model: ReleasedModel, targets: Targets) -> Numbers:
    """What contributions should follow: higher where the score should be higher."""
    match model.protocol.outcome:
        case ClassOutcome(classes=classes):
            return np.eye(len(classes))[targets.value.astype(np.int64)]
        case SurvivalOutcome():
            return martingale_residuals(targets)[:, None]
        case _:
            return targets.value[:, None].astype(np.float64)


def martingale_residuals(targets: Targets) -> Numbers:
    """Observed minus expected events of each patient, by the Nelson-Aalen estimate: high where death came early.

    >>> found = martingale_residuals(Targets(value=np.array([1.0, 2.0]), event=np.array([True, False])))
    >>> found.tolist()
    [0.5, -0.5]
    """
    event = np.zeros(len(targets)) if targets.event is None else targets.event.astype(np.float64)
    times, place = np.unique(targets.value, return_inverse=True)
    died = np.bincount(place, event, len(times))
    at_risk = len(targets) - np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(times)))[:-1]])
    expected: Numbers = np.cumsum(died / np.maximum(at_risk, 1))[place]
    return event - expected


def permutation_tests(sample: HeldOut, rng: np.random.Generator) -> tuple[CarrierRow, ...]:
    """The test of each input, the one with the smallest p-value first.

    Args:
        sample: Contributions and outcomes.
        rng: Draws the permutations.
    """
    patients = len(sample.hospital)
    most = min(MOST_PERMUTATIONS, _CELLS // max(patients, 1))
    centred = _centred(sample.contributions, sample.hospital)
    vary = np.square(centred).sum(axis=(0, 1))
    chosen = np.argsort(-vary, kind="stable")[: min(MOST_TESTED, int(LEVEL * (most + 1) / 2))]
    chosen = chosen[vary[chosen] > 0]
    if not patients or not len(chosen):
        return ()
    flat = centred[:, :, chosen].reshape(-1, len(chosen))
    outcome = _centred(sample.outcome[:, :, None], sample.hospital)[:, :, 0]
    above, drawn = _exceedances(outcome, flat, sample.hospital, most, rng)
    p = (above + 1) / (drawn + 1)
    adjusted = holm(p)
    statistic = _standardised(outcome, centred[:, :, chosen], sample.hospital)
    rows = [
        CarrierRow(
            feature=sample.names[number],
            statistic=float(statistic[place]),
            p=float(p[place]),
            adjusted=float(adjusted[place]),
            significant=bool(adjusted[place] <= LEVEL),
            patients=patients,
            permutations=drawn,
        )
        for place, number in enumerate(chosen)
    ]
    return tuple(sorted(rows, key=lambda row: (row.p, -row.statistic)))


def _centred(values: Numbers, hospital: NDArray[np.int64]) -> Numbers:
    """Values minus their mean at the hospital: what is equal there plays no part."""
    sums = np.zeros((int(hospital.max(initial=-1)) + 1, *values.shape[1:]))
    np.add.at(sums, hospital, values)
    counts = np.maximum(np.bincount(hospital, minlength=len(sums)), 1)
    result: Numbers = values - (sums.T / counts).T[hospital]
    return result


def _exceedances(
    outcome: Numbers, flat: Numbers, hospital: NDArray[np.int64], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int]:
    """How many permutations follow each input at least as well as the sample does, and how many were drawn."""
    found = outcome.reshape(1, -1) @ flat
    bound = found - _TIE * np.abs(outcome).sum() * np.abs(flat).max()
    above, drawn = np.zeros(flat.shape[1], np.int64), 0
    places = [np.flatnonzero(hospital == number) for number in np.unique(hospital)]
    while drawn < most and (above < _PLENTY).any():
        count = min(most - drawn, max(1, _CHUNK // outcome.size), max(999, drawn))
        order = np.tile(np.arange(len(outcome)), (count, 1))
        for own in places:
            order[:, own] = rng.permuted(order[:, own], axis=1)
        above += (outcome[order].reshape(count, -1) @ flat >= bound).sum(axis=0)
        drawn += count
    return above, drawn


def _standardised(outcome: Numbers, contributions: Numbers, hospital: NDArray[np.int64]) -> Numbers:
    """Each statistic in standard deviations of its permutations; exact for one output."""
    found = np.einsum("nk,nkm->m", outcome, contributions)
    variance = np.zeros(contributions.shape[2])
    for number in np.unique(hospital):
        own = hospital == number
        if own.sum() > 1:
            spread = outcome[own].T @ outcome[own] / (own.sum() - 1)
            variance += np.einsum("kl,nkm,nlm->m", spread, contributions[own], contributions[own])
    result: Numbers = np.divide(found, np.sqrt(variance), out=np.zeros(len(variance)), where=variance > 0)
    return result


def holm(p: Numbers) -> Numbers:
    """Holm's step-down correction.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    result = np.empty_like(p)
    result[order] = np.minimum(steps, 1.0)
    return result
