"""The fixed words of a card: what a status means, the limits of every model, and what stands open."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wardround.common.card.facts import CardFacts
from wardround.common.wording import TOO_FEW

EXACT: Final = "measured exactly, in a simulation"
PRIVATE: Final = "measured with noise, charged to the hospitals' ledgers"
NOT_MEASURED: Final = "not measured"
TEAM: Final = "to be stated by the study team"
STATED: Final = "stated"

UNIT: Final = "one patient, with all rows and samples of that patient at a hospital"
RELATION: Final = "add or remove one patient; replacing one patient is stated beside it where computed"


def limits(facts: CardFacts) -> Iterator[str]:
    """What limits this model, most serious first."""
    if not facts.private:
        yield "Training is not private: an update or the model may tell something about a single patient."
    if facts.protocol.drafted:
        yield "Public constants were drafted from the study's own patients, which no accounting covers."
    if facts.measured is None:
        yield (
            "How good the model is was not measured exactly: that would be a release of its own at every hospital."
        )
    else:
        yield "Intervals describe the held-out patients, not how another training run would vary."
    yield (
        "It was made from these hospitals' patients; at another hospital or in another time it may work less well."
    )
    yield "It is a research result and no medical device; it assists a clinician's judgement and never replaces it."
    if facts.protocol.cohort.optional_modalities:
        names = ", ".join(facts.protocol.cohort.optional_modalities)
        yield f"Patients may lack {names}: for them the prediction rests on the other inputs."


_SECTIONS: Final[Mapping[str, str]] = {
    "performance": "performance on patients kept out of training",
    "subgroups": "performance for groups of patients",
    "calibration": "whether predicted probabilities hold, and whether acting on them helps",
    "explanation": "which inputs carry the prediction",
}
_NEVER: Final = (
    "performance on patients of a later time",
    "performance at a hospital that was no part of the study",
    "the effect of using the model on care",
    "agreement between assessors of outcome and predictors",
)


def missing(card: Mapping[str, Any]) -> Iterator[str]:
    """What was not measured, as sentences: what this framework could have, then what it never does by itself."""
    for name, words in _SECTIONS.items():
        if card[name]["status"] == NOT_MEASURED:
            yield words
    if card["explanation"]["significance"]["status"] == NOT_MEASURED:
        yield "whether the inputs that carry the prediction do so beyond chance"
    for group in card["subgroups"].get("too_few", ()):
        yield f"performance for {group}: {TOO_FEW}"
    evaluated = {row["model"] for row in card["performance"].get("evaluation", ())}
    alone = any(model.startswith("federated-without:") for model in evaluated)
    yield from (words for words in _NEVER if not (alone and "no part of the study" in words))
