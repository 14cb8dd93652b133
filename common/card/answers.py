"""What a card can answer to each item of a checklist: functions from the card's sections to a sentence, "" where not.

Nothing is guessed: an item that only people can answer (ethics, funding, recruitment) has no function here.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from wardround.common.card.statements import EXACT, NOT_MEASURED
from wardround.common.wording import METRIC_NAMES

Card = Mapping[str, Any]
Answer = Callable[[Card], str]


def _title(card: Card) -> str:
    also = " and evaluation" if card["performance"]["status"] != NOT_MEASURED else ""
    return (
        f"Development{also} of a model for {_outcome(card['study']['outcome'])}: {card['study']['question']}"
    )


def _outcome(outcome: Mapping[str, Any]) -> str:
    return f"{' and '.join(outcome['columns'])} ({outcome['kind']})"


def _purpose(card: Card) -> str:
    return f"Purpose: {card['study']['purpose']}. Intended use: {card['study']['intended_use']}."


def _objectives(card: Card) -> str:
    if card["performance"]["status"] == NOT_MEASURED:
        return "Development; validation was no part of this study."
    return "Development, and evaluation on patients kept out of training."


def _setting(card: Card) -> str:
    sites = [row["site"] for row in card["data"]["sites"]]
    left = card["data"]["left_out_sites"]
    also = f"; {left} more were below the study's minimum" if left else ""
    return f"{len(sites)} hospitals: {', '.join(sites)}{also}. Their location is not recorded."


def _eligible(card: Card) -> str:
    data = card["data"]
    return (
        f"Hospitals with at least {data['minimum_patients']} usable patients and at least "
        f"{data['minimum_per_class']} of each outcome. Eligibility of patients is checked by each hospital."
    )


def _preparation(card: Card) -> str:
    drafted = (
        " Some constants were drafted from the study's own patients." * card["data"]["constants_drafted"]
    )
    return (
        "Each table was checked against the public plausible ranges and categories; values are cut to their range, "
        f"transformed and standardised by public constants, alike for every patient.{drafted}"
    )


def _outcome_defined(card: Card) -> str:
    outcome = card["study"]["outcome"]
    cuts = outcome.get("cut_points")
    horizon = f", up to {cuts[-1]:g} {outcome['unit']}" if cuts else ""
    return f"{_outcome(outcome)}{horizon}; constants from: {outcome['source']}."


def _predictors(card: Card) -> str:
    model = card["model"]
    parts = ", ".join(f"{count} {name}" for name, count in model["modalities"].items())
    return (
        f"{len(model['predictors'])} predictors ({parts}), each with unit, range and source in the protocol."
    )


def _missing(card: Card) -> str:
    kinds = sorted({row["missing"] for row in card["model"]["predictors"]})
    optional = card["model"]["optional_modalities"]
    also = f" {', '.join(optional)} may be absent as a whole, marked by an input." if optional else ""
    return f"By the protocol, per predictor: {', '.join(kinds)} (reference: read as the public mean).{also}"


def _partition(card: Card) -> str:
    share = card["data"]["test_fraction"]
    if card["performance"]["status"] == NOT_MEASURED:
        return (
            f"The protocol keeps {share:g} of each hospital's patients out of training; they were not used."
        )
    notes = " ".join(note for note in card["provenance"]["notes"] if "cross-validation" in note)
    return notes or f"{share:g} of each hospital's patients, chosen by hash, were kept out of training."


def _handled(_: Card) -> str:
    return "Linear in the standardised value for continuous predictors; one input per category otherwise."


def _type(card: Card) -> str:
    model = card["model"]
    hidden = f" with hidden layers {', '.join(map(str, model['hidden']))}" if model["hidden"] else ""
    return (
        f"{model['kind']}{hidden}, {model['parameters']} parameters, loss {model['loss']}, L2 {model['l2']:g}; "
        "every setting was fixed in the protocol before training."
    )


def _clusters(card: Card) -> str:
    return "Each measure is given per hospital." if card["performance"]["status"] == EXACT else ""


def _measures(card: Card) -> str:
    if card["performance"]["status"] == NOT_MEASURED:
        return ""
    names = sorted({METRIC_NAMES[row["metric"]] for row in card["performance"].get("evaluation", ())})
    calibrated = "calibration and decision curves" if card["calibration"]["status"] != NOT_MEASURED else ""
    return ", ".join(filter(None, [*names, calibrated])) or "See the section on performance."


def _calculated(_: Card) -> str:
    return (
        "By the released file and its own preprocessing: `wardround.load(RUN).model.predict_proba`, `predict_risk` "
        "or `predict`."
    )


def _updating(_: Card) -> str:
    return "None: the released model is the one that was trained."


def _imbalance(_: Card) -> str:
    return "None: no resampling and no weights of classes."


def _fairness(card: Card) -> str:
    found = card["fairness"]
    groups = ", ".join(found["declared_subgroups"]) or "none"
    return f"In training: {found['in_training']}. Subgroups declared for evaluation: {groups}."


def _output(card: Card) -> str:
    kinds = {
        "binary": "a probability; no threshold is set by the model",
        "classes": "one probability per class; no threshold is set by the model",
        "continuous": "a number in the outcome's unit",
        "survival": "a risk score, higher is worse, and survival by horizon where the loss gives it",
    }
    return kinds[card["study"]["outcome"]["kind"]]


def _protocol(card: Card) -> str:
    return f"study.toml beside this card; SHA-256 {card['provenance']['protocol_digest']}."


def _data_sharing(_: Card) -> str:
    return "Patients' data stay at their hospitals. Whether a hospital shares them is its own decision."


def _code(card: Card) -> str:
    found = card["provenance"]
    return f"wardround {found['code_version']} (Apache-2.0), code SHA-256 {found['code_digest']}."


def _flow(card: Card) -> str:
    rows = card["data"]["sites"]
    if not all("patients" in row for row in rows):
        return ""
    return "; ".join(f"{row['site']}: {row['patients']} patients, {row['held_out']} held out" for row in rows)


def _full_model(card: Card) -> str:
    return (
        f"model.safetensors holds all parameters and the public preprocessing; parameters SHA-256 "
        f"{card['model']['digest']}."
    )


def _performance(card: Card) -> str:
    status = card["performance"]["status"]
    if status == NOT_MEASURED:
        return ""
    groups = card["subgroups"]["status"] != NOT_MEASURED
    return f"In this card, {status}; subgroups: {'given with intervals' if groups else NOT_MEASURED}."


def _between(card: Card) -> str:
    if card["performance"]["status"] != EXACT:
        return ""
    return "Per hospital with intervals, and against each hospital's own model, in this card."


def _limits(card: Card) -> str:
    return " ".join(card["limits"])


def _poor_input(_: Card) -> str:
    return (
        "A value outside its public range is cut to the range; a missing value is handled as in item 11; a table "
        "without a needed column is refused."
    )


def _tested(card: Card) -> str:
    said = _performance(card)
    return f"{said} The study log is signed and cosigned." if said else ""


def _group_limits(card: Card) -> str:
    if card["subgroups"]["status"] == NOT_MEASURED:
        return ""
    few = card["subgroups"]["too_few"]
    also = f" Too few patients to tell: {', '.join(few)}." if few else ""
    return f"Performance and gaps per group are in this card.{also} {_limits(card)}"


def _architecture(_: Card) -> str:
    return "Federated learning: hospitals train on their own tables; a coordinator combines updates. One CPU suffices."


def _design(card: Card) -> str:
    privacy = card["privacy"]
    return (
        f"{_type(card)} It minimises the mean loss of patients; privacy mechanism {privacy['mechanism']} limits what "
        "a single patient can change, at a price in accuracy."
    )


def _training_data(card: Card) -> str:
    return f"{_setting(card)} {_eligible(card)} {_preparation(card)}"


def _oversight(card: Card) -> str:
    return f"Intended use: {card['study']['intended_use']}. The model gives a number to somebody who decides."


def _security(_: Card) -> str:
    return (
        "Signed envelopes, protocol approved by digest at each hospital, mutual TLS, a signed log; the threats that "
        "are not covered are listed in the README."
    )


TRIPOD: Final[Mapping[str, Answer]] = {
    "1": _title,
    "3b": _purpose,
    "4": _objectives,
    "6a": _setting,
    "6b": _eligible,
    "7": _preparation,
    "8a": _outcome_defined,
    "9b": _predictors,
    "11": _missing,
    "12a": _partition,
    "12b": _handled,
    "12c": _type,
    "12d": _clusters,
    "12e": _measures,
    "12f": _updating,
    "12g": _calculated,
    "13": _imbalance,
    "14": _fairness,
    "15": _output,
    "18c": _protocol,
    "18e": _data_sharing,
    "18f": _code,
    "20a": _flow,
    "22": _full_model,
    "23a": _performance,
    "23b": _between,
    "24": _updating,
    "26": _limits,
    "27a": _poor_input,
}

ANNEX: Final[Mapping[str, Answer]] = {
    "1(a)": _purpose,
    "1(c)": _code,
    "1(e)": lambda _: "Any computer with Python 3.11 or newer; no accelerator is needed.",
    "1(h)": _calculated,
    "2(a)": _type,
    "2(b)": _design,
    "2(c)": _architecture,
    "2(d)": _training_data,
    "2(e)": _oversight,
    "2(g)": _tested,
    "2(h)": _security,
    "3": _group_limits,
}
