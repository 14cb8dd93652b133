"""What `wardround study check` prints: what a study is, what it costs against whom, and what is doubtful."""

from collections.abc import Iterator, Mapping
from typing import get_args

from wardround.common.privacy.accounting import Relation
from wardround.common.study.outcomes import outcome_kind
from wardround.simulations.observers import HEADLINE, in_words
from wardround.simulations.privacy_words import stated
from wardround.simulations.study_facts import Against, StudyFacts, fewest_sites, warnings


def lines(facts: StudyFacts) -> list[str]:
    """The text, line by line; doubts come last."""
    protocol = facts.protocol
    features = ", ".join(f"{count} {name}" for name, count in facts.modalities.items())
    federation = protocol.federation
    quorum = f"{federation.quorum} sites" if federation.quorum else "every site"
    described = {
        "Study": protocol.study.name,
        "Digest": protocol.digest,
        "Question": protocol.study.question,
        "Predicts": f"{outcome_kind(protocol.outcome)}: {', '.join(protocol.outcome_columns)}",
        "Features": f"{len(protocol.features)} ({features}), {facts.inputs} inputs",
        "Model": f"{protocol.model.kind}, {facts.parameters} parameters",
        "Rounds": f"{federation.rounds} of at most {federation.attempts} attempts, {federation.strategy}, "
        f"{federation.local_steps} local steps, quorum: {quorum}",
        **_privacy(facts),
    }
    return [
        *(f"{name + ':':<10} {text}" for name, text in described.items()),
        *(_coalitions(facts) if protocol.joint and not protocol.monitoring else ()),
        *(f"Warning:   {text}" for text in warnings(facts)),
    ]


def _privacy(facts: StudyFacts) -> dict[str, str]:
    protocol, privacy = facts.protocol, facts.protocol.privacy
    if not protocol.private:
        return {"Privacy": "none: epsilon is infinite"}
    if protocol.monitoring is not None:
        return {"Privacy": "nothing is trained; `wardround site review` says what the evaluation costs"}
    attempts = protocol.federation.attempts
    said = {
        "Privacy": f"{privacy.mechanism}, per site at delta {privacy.delta:g}, one patient added or removed:",
        "  planned": f"{_cost(facts.planned)}, if every round needs one attempt",
        "  at most": f"{_cost(facts.worst)}, if every round needs all {attempts}: what a site reserves",
    }
    whose = "of all noise in the sum" if protocol.joint else "per site"
    said["Noise"] = (
        f"norm {facts.noise_norm:.2g} per step {whose}, {facts.noise_study:.2g} over all rounds, "
        "where the average clipped gradient has at most 1"
    )
    return said


def _cost(cost: Mapping[Relation, float]) -> str:
    return f"epsilon {stated(cost['add-or-remove'])} (one patient replaced: {stated(cost['replace-one'])})"


def _coalitions(facts: StudyFacts) -> Iterator[str]:
    """Whom joint noise counts on, and the cost against every other coalition."""
    honest, sites = facts.protocol.privacy.honest_sites, fewest_sites(facts.protocol)
    yield (
        f"Against:   the numbers above hold while at least {honest} of {sites} sites are honest. "
        "Epsilon, planned / at most (one patient replaced), against"
    )
    for each in facts.observers:
        mark = ", as above" if each.observer in HEADLINE else ""
        yield f"  - {in_words(each.observer, honest=honest, sites=sites)}: {_both(each)}{mark}"


def _both(each: Against) -> str:
    added, replaced = (
        " / ".join(stated(cost[relation]) for cost in (each.planned, each.worst))
        for relation in get_args(Relation)
    )
    return f"{added} ({replaced})"
