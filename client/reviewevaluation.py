"""What a review says of a study's evaluation: what is counted, what it is held against, and what it costs whom."""

import math
from collections.abc import Iterator
from dataclasses import asdict

from wardround.client.adversaries import evaluation_epsilon
from wardround.common.study.evaluation import primary_of
from wardround.common.study.protocol import StudyProtocol


def evaluation_lines(protocol: StudyProtocol) -> Iterator[str]:
    """Lines for a person; none without an evaluation."""
    terms = protocol.evaluation
    if terms is None:
        return
    if (released := protocol.monitoring) is not None:
        yield f"evaluated again: model {released.model[:16]} of study {released.study}"
        yield f"it was trained under protocol {released.protocol}"
        yield f"on these patients, of those held out: {released.patients}"
    groups = ", ".join(group.column for group in terms.groups)
    when = "after the last round" if released is None else "once"
    yield f"{when}: one table of {protocol.table_cells} cells" + (f", split by {groups}" if groups else "")
    yield (
        f"judged by: {primary_of(terms, protocol.outcome)} {terms.direction.replace('-', ' ')} {terms.threshold:g}"
    )
    once, worst = (evaluation_epsilon(protocol, releases) for releases in (1, terms.attempts))
    yield (
        f"epsilon of held-out patients, at delta {terms.delta:g}: {_words(once)} as planned, {_words(worst)} at "
        f"worst ({terms.attempts} attempts); patients who train pay nothing for it"
    )
    if terms.external_sites:
        yield f"evaluated only, never trained on: {', '.join(terms.external_sites)}"


def evaluation_dict(protocol: StudyProtocol) -> dict[str, object] | None:
    """The same for a program; None without an evaluation."""
    terms = protocol.evaluation
    if terms is None:
        return None
    return {
        "cells": protocol.table_cells,
        "groups": [group.column for group in terms.groups],
        "delta": terms.delta,
        "attempts": terms.attempts,
        "epsilon_planned": evaluation_epsilon(protocol, 1),
        "epsilon_worst": evaluation_epsilon(protocol, terms.attempts),
        "external_sites": list(terms.external_sites),
        **({"monitoring": asdict(protocol.monitoring)} if protocol.monitoring else {}),
    }


def _words(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if math.isfinite(value) else "infinite"
