"""What `wardround predict` says of its own answers: on the screen, and at the head of a JSON or Parquet file."""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from wardround.client.answers import ANSWERED, UNLIKE, WITHHELD, Answered, outcome_in_words
from wardround.client.modelbeside import OpenedModel
from wardround.client.predicting import Predicted
from wardround.common.learning.attribution import TOLERANCE, Explanations
from wardround.common.learning.conformal import CONFIDENCE, CoverageFound
from wardround.common.learning.uncertainty import NO_TABLE, SURVIVAL_SET, Uncertainty
from wardround.common.study.outcomes import ContinuousOutcome, SurvivalOutcome

IS_NOT = (
    "Assistive: a statistical model of a study, no diagnosis, no recommendation, and no medical device.",
    "It knows nothing of a patient but the columns of the study, and was checked at the study's sites only.",
)
INTERVAL = (
    "95% interval of the share, among held-out patients of the study with a prediction in the same bin, to whom it "
    "happened (survival: who had no event by then), sampling and privacy noise included. It need not contain the "
    "predicted probability: where it does not, the model was wrong on such patients."
)


def about(opened: OpenedModel, sure: Uncertainty | None) -> dict[str, Any]:
    """What the answers mean, in public terms."""
    protocol = opened.model.protocol
    return {
        "study": protocol.study.name,
        "question": protocol.study.question,
        "intended_use": protocol.study.intended_use,
        "outcome": outcome_in_words(protocol.outcome),
        "is_not": list(IS_NOT),
        "protocol": protocol.digest,
        "model": opened.digest,
        "compared_with": list(opened.compared),
        "interval": interval_says(opened),
        "set": set_says(opened, sure),
        "calibration": _calibration(opened),
    }


def _calibration(opened: OpenedModel) -> dict[str, Any] | None:
    found = opened.calibration
    if found is None:
        return None
    return {
        "origin": found.origin,
        "sites": found.sites,
        "held_out_patients": round(float(patients(opened))),
        "noise_per_cell": found.table.deviation,
        "mechanism": found.mechanism,
        "epsilon": found.epsilon,
        "delta": found.delta,
    }


def patients(opened: OpenedModel) -> float:
    """How many held-out patients the noised table shows; several classes count each patient once per class."""
    if opened.calibration is None:
        return 0.0
    cells = opened.calibration.table.cells
    subjects = cells.shape[0] if cells.ndim == 3 and opened.calibration.times is None else 1
    return float(cells.sum()) / subjects


def interval_says(opened: OpenedModel) -> str:
    """What an interval covers, or why there is none."""
    if opened.calibration is None:
        return f"no interval: {NO_TABLE}"
    if isinstance(opened.model.protocol.outcome, ContinuousOutcome):
        return "the conformal interval: see set"
    return INTERVAL


def set_says(opened: OpenedModel, sure: Uncertainty | None) -> str:
    """What a set promises, or why there is none."""
    if isinstance(opened.model.protocol.outcome, SurvivalOutcome):
        return f"no set: {SURVIVAL_SET}"
    if sure is None:
        return f"no set: {NO_TABLE}"
    return (
        f"conformal: holds the truth for at least {sure.coverage:.0%} of patients like the study's held-out ones, on "
        f"average over all of them; privacy noise makes it too small with probability at most {1 - CONFIDENCE:.0%}. "
        "Not promised for a subgroup, nor at a hospital whose patients differ."
    )


def report(
    opened: OpenedModel,
    found: Predicted,
    answered: Answered,
    sure: Uncertainty | None,
    explanations: Explanations | None,
    coverage: CoverageFound | None,
) -> Iterator[str]:
    """The lines of the command, for the hospital's own screen: counts, never a patient."""
    protocol = opened.model.protocol
    yield f"Study: {protocol.study.name} (protocol {protocol.digest[:16]}), model {opened.digest[:16]}"
    compared = ", ".join(opened.compared) or "NOTHING: give --digest to know that it is the released one"
    yield f"Model compared with: {compared}"
    yield (
        f"{len(found.ids)} patients in {found.rows} rows: {answered.count(ANSWERED)} answered, "
        f"{answered.count(UNLIKE)} {UNLIKE}, {answered.count(WITHHELD)} {WITHHELD}"
    )
    yield from _reasons(found)
    yield from (f"  [{finding.code}] {finding.message}" for finding in found.warnings)
    yield f"Interval: {interval_says(opened)}"
    yield f"Set: {set_says(opened, sure)}"
    if opened.calibration is not None and opened.calibration.origin == "simulation":
        yield "Calibration: from a simulation; sites of a real study released nothing."
    if explanations is not None:
        yield _explained(explanations)
    if coverage is not None:
        yield coverage_says(coverage)
    yield from IS_NOT
    yield f"Intended use: {protocol.study.intended_use}"


def _reasons(found: Predicted) -> Iterator[str]:
    counts = Counter(reason for said in found.reasons.values() for reason in said)
    for reason, count in counts.most_common(10):
        yield f"  {WITHHELD}, {count}: {reason}"
    if len(counts) > 10:
        yield f"  and {len(counts) - 10} more reasons, in the file"


def _explained(found: Explanations) -> str:
    short = int((~found.complete).sum())
    said = f"contributions add up to the difference from the public reference within {TOLERANCE:.0%}"
    return f"Explanations: {said} for {len(found.complete) - short} of {len(found.complete)} patients"


def coverage_says(found: CoverageFound) -> str:
    """Local coverage in words; a miss is said, not explained away."""
    share = found.covered / found.patients if found.patients else 0.0
    said = (
        f"Coverage here: {share:.1%} of {found.patients} patients with a known outcome "
        f"({found.low:.1%} to {found.high:.1%}), declared {found.declared:.0%}: {found.verdict}"
    )
    if found.verdict == "below":
        return f"{said}. THE SETS ARE TOO SMALL HERE: these patients differ from the study's; do not rely on them"
    return said


def progress(share: float, rows: int) -> None:
    """One line on a terminal's standard error that says how far the table is read."""
    if sys.stderr.isatty():
        end = "\n" if share >= 1.0 else ""
        print(f"\r{share:4.0%}, {rows} rows", end=end, file=sys.stderr, flush=True)
