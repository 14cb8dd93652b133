"""The sections of a card that the protocol declares: what is asked, and what the model is made of."""

import math
from collections.abc import Iterator

from wardround.common.card.facts import CardFacts, Row
from wardround.common.study.outcomes import outcome_kind
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature


def study_section(protocol: StudyProtocol) -> Row:
    """What the study asks, and what it predicts."""
    terms = protocol.study
    return {
        "name": terms.name,
        "question": terms.question,
        "purpose": terms.purpose,
        "intended_use": terms.intended_use,
        "notes": list(terms.notes),
        "outcome": {
            "kind": outcome_kind(protocol.outcome),
            "columns": list(protocol.outcome_columns),
            "source": protocol.outcome.source,
            **_horizon(protocol),
        },
    }


def _horizon(protocol: StudyProtocol) -> Row:
    names = ("unit", "cut_points", "classes", "positive", "negative")
    found = {name: getattr(protocol.outcome, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def model_section(facts: CardFacts) -> Row:
    """The model and every predictor, as declared."""
    protocol, terms = facts.protocol, facts.protocol.model
    return {
        "kind": terms.kind,
        "hidden": list(terms.hidden),
        "loss": terms.loss,
        "l2": terms.l2,
        "parameters": facts.model.parameters,
        "inputs": facts.model.inputs,
        "digest": facts.model.digest,
        "modalities": dict(_modalities(protocol.features)),
        "optional_modalities": list(protocol.cohort.optional_modalities),
        "predictors": [_predictor(feature) for feature in protocol.features],
    }


def _modalities(features: tuple[Feature, ...]) -> Iterator[tuple[str, int]]:
    for name in dict.fromkeys(feature.modality for feature in features):
        yield name, sum(feature.modality == name for feature in features)


def _predictor(feature: Feature) -> Row:
    names = ("name", "kind", "modality", "unit", "transform", "missing", "source")
    said = {name: getattr(feature, name) for name in names}
    bounds = {"low": feature.low, "high": feature.high} if math.isfinite(feature.high) else {}
    return {**said, **bounds, **({"categories": list(feature.categories)} if feature.categories else {})}
