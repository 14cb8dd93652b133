"""The model card of a simulated run: its facts from `results.json`, the protocol and the released model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wardround.common.card.facts import CardFacts, Measured, ModelFacts, SiteFacts
from wardround.common.card.page import publish
from wardround.common.card.statements import EXACT
from wardround.common.formats import digest
from wardround.common.learning.explaining import explain
from wardround.common.learning.released import ReleasedModel
from wardround.simulations.carriers import METHOD
from wardround.simulations.results import Results

_MEASURED: Final = (
    "evaluation",
    "gains",
    "subgroups",
    "gaps",
    "worst_groups",
    "calibration",
    "calibration_bins",
    "net_benefit",
)


def write_model_card(results: Results, model: ReleasedModel, folder: Path) -> Mapping[str, Any]:
    """Write `model-card.json` and `model-card.html` into a run folder; returns the card.

    Raises:
        StorageError: The folder cannot be written.
    """
    return publish(card_facts(results, model), folder)


def card_facts(results: Results, model: ReleasedModel) -> CardFacts:
    """What a run says to its model card; rows are those of `results.json`."""
    body = results.as_json()
    return CardFacts(
        protocol=model.protocol,
        setting="simulation",
        sites=tuple(_site(name, results, model) for name in results.sites),
        left_out_sites=results.left_out_sites,
        private=results.training_private,
        rounds=results.rounds,
        model=ModelFacts.of(model),
        measured=Measured(**{name: tuple(body.get(name, ())) for name in _MEASURED}, primary=results.primary),
        released=_released(body),
        explanation=explain(model).as_json(),
        carriers=_carriers(results),
        sources={
            "protocol_digest": results.protocol_digest,
            "results_digest": digest(results.to_json().encode()),
            "data_digest": results.data_digest,
            "code_version": results.code_version,
            "code_digest": results.code_digest,
        },
        notes=results.notes,
    )


def _released(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The study's own evaluation, from noised tables, if it declares one."""
    if not body.get("private_evaluation"):
        return None
    return {
        "judgement": body["judgements"][0],
        "rows": body["private_evaluation"],
        "epsilon": body.get("held_out_epsilon", []),
    }


def _carriers(results: Results) -> Mapping[str, Any] | None:
    rows = results.as_json().get("carriers", [])
    return {"status": EXACT, "method": METHOD, "tests": rows} if rows else None


def _site(name: str, results: Results, model: ReleasedModel) -> SiteFacts:
    cohort = next((row for row in results.cohorts if row.site == name), None)
    return SiteFacts(
        site=name,
        reference_patients=model.protocol.reference_patients(name),
        patients=cohort.patients if cohort else None,
        held_out=cohort.held_out if cohort else None,
        epsilon={row.adversary: row.value for row in results.epsilon if row.site == name},
        replaced={row.adversary: row.value for row in results.replaced if row.site == name},
    )
