"""What a private evaluation would cost, and how sure its answer could be, before a patient is looked at.

From public numbers: the sites, their reference sizes, the share of patients that the protocol holds out, an epsilon
and a mechanism. Imagined patients are tabulated, noised and evaluated as real ones would be. The evaluation is one
release about held-out patients, and is charged to them alone. Where the study has an `[evaluation]`, it is that one,
with its own epsilon, edges and groups, under each mechanism that is compared.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from wardround.client.adversaries import evaluation_epsilon
from wardround.common.errors import PrivacyError, ProtocolError
from wardround.common.learning.evaluated import cell_deviation as table_noise
from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.excess import noise_ratio
from wardround.common.privacy.plan import PlanTerms
from wardround.common.study.evaluation import primary_of
from wardround.common.study.outcomes import ContinuousOutcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.wording import measure_name
from wardround.simulations.plan_imagined import half_widths, table_bins
from wardround.simulations.study_plan import Option, chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """One evaluation that could be asked for.

    Attributes:
        mechanism: Whose noise.
        honest: h under joint noise; else 1.
        epsilon: Of the one table, per held-out patient, at `delta`.
        reserved: Of all attempts that the study approves; of one where it declares none.
        delta: As above.
        patients: Held out at all sites together, expected.
        metric: What would be estimated.
        deviation: Standard deviation of the noise in each cell of the sum.
        private: Expected half width of the 95% interval for these patients: the price of privacy.
        total: Likewise for the population; both NaN where the answer would be withheld.
        column: A column of groups, of which this is about one; empty for all patients.
    """

    mechanism: str
    honest: int
    epsilon: float
    reserved: float
    delta: float
    patients: int
    metric: str
    deviation: float
    private: float
    total: float
    column: str = ""


def previews(protocol: StudyProtocol, options: Sequence[Option]) -> tuple[Preview, ...]:
    """The study's own evaluation under each mechanism and number of honest sites among the options.

    Where it declares none, one that could be: at each target epsilon too; none where nobody is held out, where noise
    and not epsilon was asked for, and for a continuous outcome, for which there is no table.
    """
    if protocol.evaluation is not None:
        return tuple(_own(protocol, options))
    share = protocol.cohort.test_fraction
    if not share or isinstance(protocol.outcome, ContinuousOutcome):
        return ()
    found: dict[tuple[str, int, float], Preview] = {}
    for option in options:
        terms, key = option.terms, (option.terms.mechanism, option.terms.honest, option.target)
        if option.target and key not in found:
            # Reference sizes are of patients who train.
            patients = round(sum(terms.patients.values()) * share / (1 - share))
            found[key] = _preview(protocol, terms, option.target, patients)
    return tuple(found.values())


def cell_deviation(terms: PlanTerms, *, epsilon: float, cells: int) -> float:
    """Standard deviation of the noise in each cell of the sum over all sites, for one table at this epsilon."""
    honest = terms.honest if terms.joint else 0
    return table_deviation(
        sites=len(terms.patients), honest=honest, epsilon=epsilon, delta=terms.delta, cells=cells
    )


def table_deviation(*, sites: int, honest: int, epsilon: float, delta: float, cells: int) -> float:
    """As `cell_deviation`, of so many sites; `honest` is h under joint noise, 0 where each adds its own full noise."""
    if not honest:
        each = noise_multiplier_for(epsilon=epsilon, delta=delta, sample_rate=1.0, steps=1)
        return float(each * np.sqrt(sites))
    shared = joint_noise_multiplier_for(
        epsilon=epsilon, delta=delta, steps=1, honest=honest, coordinates=cells
    )
    return shared * noise_ratio(sites, honest)


def _preview(protocol: StudyProtocol, terms: PlanTerms, epsilon: float, patients: int) -> Preview:
    metric = "c_index" if isinstance(protocol.outcome, SurvivalOutcome) else "auc"
    deviation = cell_deviation(terms, epsilon=epsilon, cells=table_bins(protocol.outcome) * 2)
    private, total = half_widths(protocol.outcome, metric, patients, deviation)
    return Preview(
        mechanism=terms.mechanism,
        honest=terms.honest,
        epsilon=epsilon,
        reserved=epsilon,
        delta=terms.delta,
        patients=patients,
        metric=metric,
        deviation=deviation,
        private=private,
        total=total,
    )


def _own(protocol: StudyProtocol, options: Sequence[Option]) -> Iterator[Preview]:
    """The study's own evaluation, once for each mechanism and number of honest sites: all patients, then its groups."""
    known = set()
    for option in options:
        key = (option.terms.mechanism, option.terms.honest)
        if option.found is None or key in known:
            continue
        known.add(key)
        try:
            study = chosen(protocol, option)
        except (PrivacyError, ProtocolError):  # said in full when the study is written
            continue
        yield from _own_under(study, option.terms)


def _own_under(study: StudyProtocol, terms: PlanTerms) -> Iterator[Preview]:
    asked, share = study.evaluation, study.cohort.test_fraction
    if asked is None:
        return
    external = [study.reference_patients(site) for site in asked.external_sites]
    patients = round(sum(terms.patients.values()) * share / (1 - share)) + sum(external)
    each = table_noise(study, sites=len(terms.patients) + len(external))
    sizes = {group.column: len(group.values) + 1 for group in asked.groups}
    measure = primary_of(asked, study.outcome)
    for column in ("", *sizes):
        # A group of one column is summed over the others.
        summed = math.prod(size for name, size in sizes.items() if name != column)
        members = round(patients / (sizes[column] - 1)) if column else patients
        private, total = half_widths(
            study.outcome, measure, members, each * math.sqrt(summed), asked.score_edges
        )
        yield Preview(
            mechanism=terms.mechanism,
            honest=terms.honest,
            epsilon=evaluation_epsilon(study, 1),
            reserved=evaluation_epsilon(study, asked.attempts),
            delta=asked.delta,
            patients=members,
            metric=measure,
            deviation=each * math.sqrt(summed),
            private=private,
            total=total,
            column=column,
        )


def lines(protocol: StudyProtocol, found: Sequence[Preview]) -> Iterator[str]:
    """The previews in words, or why there are none."""
    yield ""
    if not found:
        yield f"No private evaluation can be shown: {_why_none(protocol)}."
        return
    yield from _head(protocol, found[0])
    for each in found:
        honest = f", {each.honest} honest" if each.mechanism == "joint-noise" else ""
        name, group = measure_name(each.metric), f", a group of {each.column}" if each.column else ""
        sure = (
            "too few patients for so much noise; it would be withheld"
            if np.isnan(each.private)
            else f"{name} ± {each.private:.3f} for these patients"
            + ("" if np.isnan(each.total) else f", ± {each.total:.3f} for the population")
        )
        yield f"  {each.mechanism}{honest}, epsilon {each.epsilon:.4g}{group}: {sure}"


def _why_none(protocol: StudyProtocol) -> str:
    if isinstance(protocol.outcome, ContinuousOutcome):
        return "there is no table for a continuous outcome"
    if not protocol.cohort.test_fraction:
        return "cohort.test_fraction is 0, so nobody is held out"
    if protocol.evaluation is not None:
        return "the study's other terms do not fit the mechanism"
    return "the study has no [evaluation], and a noise multiplier of training says nothing of one; ask for --epsilon"


def _head(protocol: StudyProtocol, first: Preview) -> Iterator[str]:
    asked = protocol.evaluation
    charged = "charged to them alone and not in the epsilons above."
    if asked is None:
        yield (
            "The study declares no [evaluation]. One with these epsilons: "
            f"one table of about {first.patients} held-out patients, {charged}"
        )
        yield (
            "Expected 95% intervals, from imagined patients without groups; each further model or class is charged "
            "again."
        )
        return
    attempts = (
        f"; at most {first.reserved:.4g} in all {asked.attempts} attempts" if asked.attempts > 1 else ""
    )
    yield (
        f"The study's own [evaluation]: one table of {protocol.table_cells} cells, about {first.patients} held-out "
        f"patients, {charged}"
    )
    yield (
        f"Epsilon {first.epsilon:.4g} at delta {first.delta:g}{attempts}. Judged by: {measure_name(first.metric)} "
        f"{asked.direction.replace('-', ' ')} {asked.threshold:g}."
    )
    groups = ", groups of a column alike in size" if asked.groups else ""
    yield f"Expected 95% intervals, from imagined patients{groups}:"


def as_json(found: Sequence[Preview]) -> list[dict[str, object]]:
    """The previews as JSON; null where the answer would be withheld."""
    return [
        {name: None if value != value else value for name, value in asdict(each).items()} for each in found
    ]
