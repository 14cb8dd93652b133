"""A review as a page of text for a data protection officer, and as one JSON value for a program."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Final

from wardround.client.approvals import Approval
from wardround.client.differences import Change
from wardround.client.leaving import Leaving
from wardround.client.review import Review, finding_lines
from wardround.client.reviewevaluation import evaluation_dict, evaluation_lines
from wardround.common.formats import digest
from wardround.common.privacy.accounting import Against
from wardround.common.study.outcomes import outcome_kind
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.trust.ledgernames import HELD_OUT

WIDTH: Final = 100
SHOWN: Final = 40
"""Changes, and names per modality, that are listed one by one; --json has all."""

_AGAINST: Final[Mapping[Against, str]] = {
    "tolerated": "against all parties that each study assumes curious",
    "everyone-else": "if everybody else colludes",
}
_MECHANISM: Final[Mapping[str, str]] = {
    "none": "none: updates leave as they are",
    "site-noise": "site noise: each update carries this site's own full noise and is private by itself",
    "joint-noise": "joint noise: each site adds a share; only the sum over all sites can be read, and is private",
}


def page(review: Review) -> str:
    """The whole page; its last line says whether the study can be approved here as it is."""
    protocol = review.protocol
    sections: tuple[tuple[str, Iterable[str]], ...] = (
        ("", _head(review)),
        ("What changed", _changes(review)),
        ("What it asks", _question(protocol)),
        ("Which data it uses", _data(protocol, review.minimum)),
        ("How patients are protected", _privacy(review)),
        ("How the model is judged on held-out patients", evaluation_lines(protocol)),
        ("What this would leave of the lifetime caps", _caps(review)),
        ("What leaves this hospital, and nothing else", _leaves(review.leaving)),
        ("Who takes part", _members(review)),
        ("This hospital's own table", finding_lines(review.findings) or ["nothing found"]),
        ("Worth a look", review.warnings),
        ("Why it cannot be approved", _refusals(review)),
    )
    parts = [_section(title, list(lines)) for title, lines in sections]
    return "\n\n".join([*(part for part in parts if part), _verdict(review)])


def _section(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    wrapped = [piece for line in lines for piece in _wrapped(line, indent="  " if title else "")]
    return "\n".join([*([title] if title else []), *wrapped])


def visible(text: str) -> str:
    r"""A coordinator's text for a screen: what would move the cursor or turn the writing round is spelt out.

    Example:
        >>> print(visible("safe" + chr(27) + "[2J")[4:])
        \x1b[2J
    """
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


def _wrapped(line: str, indent: str) -> list[str]:
    return textwrap.wrap(
        visible(line), WIDTH, initial_indent=indent, subsequent_indent=indent + "    ", break_on_hyphens=False
    )


def _head(review: Review) -> Iterator[str]:
    protocol, roster = review.protocol, review.bundle.roster
    yield f"Study {protocol.study.name}, revision {review.bundle.revision}"
    yield f"from coordinator {roster.roster.coordinator}, roster version {roster.version}"
    yield f"protocol {protocol.digest}"
    yield f"bundle {digest(review.bundle.data)}"
    yield f"at this hospital: {_status(review)}"


def _status(review: Review) -> str:
    match review.status:
        case "new":
            return "not approved yet"
        case "approved":
            return "approved already; approving again only takes over a newer roster"
        case "revoked":
            return "approved before and revoked"
        case "finished":
            return "approved and finished"


def _changes(review: Review) -> Iterator[str]:
    before = review.before
    if before is None:
        yield "No study of this name was approved here before: all of it is new."
        return
    yield f"Compared with {_approval(before)}:"
    changes = [*review.changes, *review.member_changes]
    yield from map(_change, changes[:SHOWN])
    if len(changes) > SHOWN:
        yield f"and {len(changes) - SHOWN} more (see --json)"
    if not changes:
        yield "nothing."


def _approval(before: Approval) -> str:
    return f"revision {before.revision}, approved here {before.time}" + (
        ", revoked since" * (before.state == "revoked")
    )


def _change(change: Change) -> str:
    return f"- {change.line()}" + (f"  [{change.meaning}]" if change.meaning else "")


def _question(protocol: StudyProtocol) -> Iterator[str]:
    yield f"question: {protocol.study.question}"
    yield f"purpose: {protocol.study.purpose}"
    yield f"intended use: {protocol.study.intended_use}"
    columns = " and ".join(protocol.outcome_columns)
    yield f"outcome: {outcome_kind(protocol.outcome)}, from column {columns}"
    yield from (f"note: {note}" for note in protocol.study.notes)


def _data(protocol: StudyProtocol, minimum: int) -> Iterator[str]:
    groups: dict[str, list[Feature]] = {}
    for feature in protocol.features:
        groups.setdefault(feature.modality, []).append(feature)
    for modality, features in groups.items():
        names = ", ".join(map(_feature, features[:SHOWN]))
        more = f" and {len(features) - SHOWN} more (see --json)" if len(features) > SHOWN else ""
        yield f"{modality or 'features'} ({len(features)}): {names}{more}"
    cohort = protocol.cohort
    yield f"patients: told apart by column {cohort.patient_column}; this site takes part with {minimum} or more"
    yield f"at least {cohort.minimum_per_class} in each class, or as many observed events"
    yield f"held out of training: {cohort.test_fraction:.0%}, chosen by this site's own secret key"
    if cohort.optional_modalities:
        yield f"may be lacking: {', '.join(cohort.optional_modalities)}"
    if cohort.subgroups:
        yield f"subgroups named in evaluations: {', '.join(cohort.subgroups)}"
    if not protocol.fairness.plain:
        yield f"fairness in training: {protocol.fairness.in_words()}"


def _feature(feature: Feature) -> str:
    return f"{feature.name} [{feature.unit}]" if feature.unit not in ("", "1") else feature.name


def _privacy(review: Review) -> Iterator[str]:
    protocol, terms = review.protocol, review.protocol.privacy
    yield f"mechanism: {_MECHANISM[terms.mechanism]}"
    if protocol.joint:
        yield f"the claim counts on h = {terms.honest_sites} honest hospitals"
    if protocol.monitoring is not None:
        yield "this study trains nothing; what it costs those held out stands below"
        return
    yield f"{protocol.federation.rounds} rounds of at most {protocol.federation.attempts} attempts"
    yield f"epsilon of the whole study, per patient, at delta {terms.delta:g}:"
    for each in review.adversaries:
        yield (
            f"- {each.name}: {_epsilon(each.planned)} as planned, {_epsilon(each.worst)} at worst "
            f"({_epsilon(each.worst_replacing)} at worst for exchanging a patient)"
        )


def _caps(review: Review) -> Iterator[str]:
    if review.status == "approved":
        yield "This study's reservation is in these numbers already."
    for each in review.caps:
        if math.isinf(each.cap):
            limit = "no cap in this site's policy"
        else:
            limit = f"cap {_epsilon(each.cap)}, left {_epsilon(each.left)}"
        whose = "held-out patients, " if each.pool == HELD_OUT else ""
        yield (
            f"{whose}{_AGAINST[each.against]}: epsilon {_epsilon(each.before)} in use before, "
            f"{_epsilon(each.after)} after; {limit}"
        )
    yield "Epsilon does not add up: a further study costs less of what is left than its own epsilon."


def _leaves(messages: tuple[Leaving, ...]) -> Iterator[str]:
    for each in messages:
        times = f", at most {each.times} times" if each.times else ""
        yield f"{each.kind}: {each.what}"
        yield f"    {each.when}{times}; at most {each.most} bytes"
        for array in each.arrays:
            shape = " x ".join(map(str, array.shape))
            yield f"    numbers: {array.name}, {shape}, {array.kind}"


def _members(review: Review) -> Iterator[str]:
    for member in review.members:
        yield f"- {member.name}: {member.standing} (key {member.key.short} ...)"
    if review.least:
        yield (
            f"A secure sum needs at least {review.least} members whose keys people here compared: "
            f"h = {review.protocol.privacy.honest_sites} honest ones and those that may collude by this site's policy."
        )


def _refusals(review: Review) -> Iterator[str]:
    for error in review.refusals:
        head, *rest = str(error).splitlines()
        yield f"- {head}"
        yield from (f"    {line.strip()}" for line in rest)
        if error.advice:
            yield f"    {error.advice}"


def _verdict(review: Review) -> str:
    if review.allowed:
        return (
            "Policy, caps and table allow this study. Nothing was sent; nothing is approved by reading this."
        )
    return (
        f"{len(review.refusals)} reasons against it: it cannot be approved here as it is. Nothing was sent."
    )


def _epsilon(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if math.isfinite(value) else "infinite"


def as_dict(review: Review) -> dict[str, object]:
    """The JSON form; an infinite epsilon is null."""
    protocol, roster = review.protocol, review.bundle.roster
    before = review.before
    return {
        "study": protocol.study.name,
        "revision": review.bundle.revision,
        "protocol": protocol.digest,
        "bundle": digest(review.bundle.data),
        "status": review.status,
        "question": protocol.study.question,
        "purpose": protocol.study.purpose,
        "intended_use": protocol.study.intended_use,
        "outcome": {"kind": outcome_kind(protocol.outcome), "columns": list(protocol.outcome_columns)},
        "features": [
            {"name": each.name, "modality": each.modality, "unit": each.unit} for each in protocol.features
        ],
        "minimum_patients": review.minimum,
        "compared_with": before and {"revision": before.revision, "protocol": before.protocol.digest},
        "changes": [asdict(each) for each in (*review.changes, *review.member_changes)],
        "mechanism": protocol.privacy.mechanism,
        "delta": protocol.privacy.delta,
        "honest_sites": protocol.privacy.honest_sites,
        "epsilon": [
            {name: _plain(value) for name, value in asdict(each).items()} for each in review.adversaries
        ],
        "evaluation": evaluation_dict(protocol),
        "caps": [
            {name: _plain(value) for name, value in {**asdict(each), "left": each.left}.items()}
            for each in review.caps
        ],
        "leaving": [asdict(each) for each in review.leaving],
        "roster": {
            "version": roster.version,
            "coordinator": roster.roster.coordinator,
            "least": review.least,
        },
        "members": [
            {"name": each.name, "fingerprint": each.key.fingerprint, "standing": each.standing}
            for each in review.members
        ],
        "table": None if review.findings is None else review.findings.as_dict(),
        "warnings": list(review.warnings),
        "refusals": [{"kind": type(each).__name__, "reason": str(each)} for each in review.refusals],
        "allowed": review.allowed,
    }


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isinf(value) else value
