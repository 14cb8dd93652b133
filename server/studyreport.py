"""The report of a study between real hospitals, as a page of Markdown: a view of its outcome, nothing more."""

import math
from typing import Final

from wardround.server.evaluationpage import evaluation_section
from wardround.server.markdown import cell
from wardround.server.outcome import StudyOutcome

_PRIVATE: Final = (
    "What left the hospitals is private: for each patient, with all rows and samples of that patient at a hospital, "
    "adding or removing them changes the odds of anything anybody can conclude by at most a factor e^epsilon, except "
    "with probability delta. Each hospital's own ledger is the account that counts; this page states an upper limit "
    "for this study alone."
)
_OPEN: Final = "This study is NOT private: an update or the model may tell something about a single patient."
_NOTHING_MEASURED: Final = (
    "How good the model is does not stand here: measuring it on patients would be a further release, which this study "
    "did not declare. Each hospital can apply `model.safetensors` to its own held-out patients and keep the result."
)
_HELD: Final = (
    "A hospital that did not confirm the end still holds what it reserved and did not spend; "
    "`wardround site revoke DIR STUDY` there frees it."
)


def page(outcome: StudyOutcome) -> str:
    """The page; equal outcomes give equal text."""
    parts = [
        f"# {cell(outcome.study)}",
        cell(outcome.question),
        f"{_rounds(outcome)} {len(outcome.sites)} hospitals, {outcome.void} attempts without a quorum; "
        f"from {outcome.began} to {outcome.ended} UTC.",
        "## Privacy",
        _PRIVATE if outcome.private else _OPEN,
        _epsilons(outcome),
        "## Hospitals",
        _sites(outcome),
        "## The model",
        evaluation_section(outcome.evaluation) if outcome.evaluation else _NOTHING_MEASURED,
        "## What was run",
        _facts(outcome),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _rounds(outcome: StudyOutcome) -> str:
    return f"{outcome.rounds} rounds with" if outcome.rounds else "Nothing was trained;"


def _epsilons(outcome: StudyOutcome) -> str:
    if outcome.mechanism == "none":
        return "Mechanism none: epsilon is infinite at every delta."
    if not outcome.rounds:
        return "Nothing was trained. What the evaluation cost those who were held out stands below, under its measures."
    most = max(outcome.sites, key=lambda share: share.asked)
    rows = [f"| {name} | {_number(value)} |" for name, value in most.epsilon.items()]
    lines = [
        f"Mechanism {outcome.mechanism}, delta {outcome.delta:g}, for a patient of the hospital that was asked most "
        f"often ({most.asked} releases at most):",
        "",
        "| who is curious | epsilon, at most |",
        "|---|---:|",
        *rows,
    ]
    return "\n".join(lines)


def _sites(outcome: StudyOutcome) -> str:
    head = [
        "| hospital | rounds that count it | attempts it was asked | confirmed the end | key |",
        "|---|---:|---:|---|---|",
    ]
    rows = [
        f"| {cell(share.site)} | {share.counted} | {share.asked} | {'yes' if share.confirmed else 'no'} "
        f"| {outcome.keys.get(share.site, 'not in the last roster')[:16]} |"
        for share in outcome.sites
    ]
    if all(share.confirmed for share in outcome.sites):
        return "\n".join([*head, *rows])
    return "\n".join([*head, *rows, "", _HELD])


def _facts(outcome: StudyOutcome) -> str:
    facts = {
        "Protocol SHA-256": outcome.protocol_digest,
        "Model SHA-256": outcome.model_digest,
        "Coordinator": f"{cell(outcome.coordinator)}, key {outcome.keys[outcome.coordinator]}",
        "Study log": "`study-log.jsonl`, signed by the coordinator; the README says how to check it",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if math.isfinite(value) else "infinite"
