"""`model-card.json`: the model card as data, version 1. Its schema stands in `docs/model-card.md`.

Written by the framework from `CardFacts`, never by hand. A number that cannot be computed and an infinite epsilon are
null; beside them stands why. Where nothing was measured the card says `not measured`, and lists it once more under
`not_measured`, so that nobody takes an absent number for a good one.

Source: Mitchell et al. (2019), "Model Cards for Model Reporting", for the sections.
"""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from wardround.common.card.checklists import annex_iv, tripod_ai
from wardround.common.card.declared import model_section, study_section
from wardround.common.card.facts import CardFacts, Row, Rows, SiteFacts
from wardround.common.card.statements import (
    EXACT,
    NOT_MEASURED,
    PRIVATE,
    RELATION,
    UNIT,
    limits,
    missing,
)
from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError
from wardround.common.formats import check_header, header, or_null
from wardround.common.study.protocol import StudyProtocol

FORMAT: Final = "wardround-model-card"
VERSION: Final = 1
FILE_NAME: Final = "model-card.json"
SECTIONS: Final = (
    "study",
    "model",
    "data",
    "privacy",
    "performance",
    "subgroups",
    "calibration",
    "explanation",
    "fairness",
    "limits",
    "not_measured",
    "tripod_ai",
    "annex_iv",
    "provenance",
)

Card = Mapping[str, Any]

_CALIBRATED: Final = ("calibration_", "expected_calibration", "observed_", "net_benefit")


def model_card(facts: CardFacts) -> dict[str, Any]:
    """The card; equal facts give equal cards."""
    card: dict[str, Any] = {
        **header(FORMAT, VERSION),
        "study": study_section(facts.protocol),
        "model": model_section(facts),
        "data": _data(facts),
        "privacy": _privacy(facts),
        "performance": _performance(facts),
        "subgroups": _subgroups(facts),
        "calibration": _calibration(facts),
        "explanation": _explanation(facts),
        "fairness": _fairness(facts.protocol),
        "limits": list(limits(facts)),
        "provenance": {"setting": facts.setting, **facts.sources, "notes": list(facts.notes)},
    }
    card["not_measured"] = list(missing(card))
    card["tripod_ai"] = tripod_ai(card)
    card["annex_iv"] = annex_iv(card)
    return {**header(FORMAT, VERSION), **{name: _plain(card[name]) for name in SECTIONS}}


def write_card(facts: CardFacts, folder: Path) -> dict[str, Any]:
    """Write `model-card.json` into a folder, whole or not at all.

    Returns:
        The card.

    Raises:
        StorageError: The folder cannot be written.
    """
    card = model_card(facts)
    text = json.dumps(card, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomic(folder / FILE_NAME, text.encode())
    return card


def read_card(path: Path) -> dict[str, Any]:
    """Read a card.

    Raises:
        StorageError: It is absent, no card, newer, or lacks a section; names which.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise StorageError(
            f"{path} is not a readable model card", advice="`wardround report RUN` writes it again"
        ) from None
    if not isinstance(found, dict):
        raise StorageError(f"expected a JSON object in {path}, found {type(found).__name__}")
    check_header(found, name=FORMAT, version=VERSION, where=str(path))
    if absent := [name for name in SECTIONS if name not in found]:
        raise StorageError(f"{path}: section {', '.join(absent)} is missing")
    return found


def _data(facts: CardFacts) -> Row:
    protocol = facts.protocol
    cohort = protocol.cohort
    return {
        "counts": "exact, which only a simulation may show" if facts.setting == "simulation" else "not shown",
        "sites": [_site(site) for site in facts.sites],
        "left_out_sites": facts.left_out_sites,
        "minimum_patients": cohort.minimum_patients,
        "minimum_per_class": cohort.minimum_per_class,
        "test_fraction": cohort.test_fraction,
        "subgroups": list(cohort.subgroups),
        "constants_drafted": protocol.drafted,
    }


def _site(facts: SiteFacts) -> Row:
    found = {
        "site": facts.site,
        "reference_patients": facts.reference_patients,
        "patients": facts.patients,
        "held_out": facts.held_out,
        "rounds_counted": facts.counted,
    }
    return {name: value for name, value in found.items() if value is not None}


def _privacy(facts: CardFacts) -> Row:
    terms = facts.protocol.privacy
    return {
        "private": facts.private,
        "mechanism": terms.mechanism,
        "unit": UNIT,
        "relation": RELATION,
        "delta": terms.delta,
        "honest_sites": terms.honest_sites,
        "clipping_norm": terms.clipping_norm if facts.protocol.private else None,
        "noise_multiplier": terms.noise_multiplier if facts.protocol.private else None,
        "rounds": facts.rounds,
        "void_attempts": facts.void,
        "scope": "a patient pool's lifetime, from each hospital's ledger"
        if facts.setting == "simulation"
        else "this study alone, from the signed log; each hospital's own ledger is the account that counts",
        "epsilon": [
            {"site": site.site, "adversary": who, "value": value, "replaced": site.replaced.get(who)}
            for site in facts.sites
            for who, value in site.epsilon.items()
        ],
    }


def _performance(facts: CardFacts) -> Row:
    private = {"released": _released(facts.released)} if facts.released is not None else {}
    if facts.measured is not None:
        found = facts.measured
        return {
            "status": EXACT,
            "primary": found.primary,
            "evaluation": list(found.evaluation),
            "gains": list(found.gains),
            **private,
        }
    return {"status": PRIVATE if private else NOT_MEASURED, **private}


def _released(found: Row) -> Row:
    """A private evaluation without the cells of its table, which `results.json` holds."""
    table = {name: value for name, value in found.get("table", {}).items() if name != "cells"}
    return {**found, **({"table": table} if table else {})}


def _rows(facts: CardFacts) -> Rows:
    return tuple(facts.released.get("rows", ())) if facts.released is not None else ()


def _subgroups(facts: CardFacts) -> Row:
    declared = list(facts.protocol.cohort.subgroups)
    found = facts.measured
    if found is None and (rows := [row for row in _rows(facts) if row["column"]]):
        few = sorted({f"{row['column']}: {row['group']}" for row in _untold(tuple(rows))})
        return {"status": PRIVATE, "declared": declared, "released": rows, "too_few": few}
    if found is None or not found.subgroups:
        return {"status": NOT_MEASURED, "declared": declared}
    return {
        "status": EXACT,
        "declared": declared,
        "values": list(found.subgroups),
        "gaps": list(found.gaps),
        "worst_groups": list(found.worst_groups),
        "too_few": sorted({f"{row['column']}: {row['group']}" for row in _untold(found.subgroups)}),
    }


def _untold(rows: Rows) -> Iterator[Row]:
    """Groups with too few patients to tell: their value is not a number."""
    return (row for row in rows if row["value"] is None or math.isnan(row["value"]))


def _calibration(facts: CardFacts) -> Row:
    found = facts.measured
    rows = [row for row in _rows(facts) if row["measure"].startswith(_CALIBRATED) and not row["column"]]
    if found is None and rows:
        return {"status": PRIVATE, "released": rows}
    if found is None or not found.calibration:
        return {"status": NOT_MEASURED}
    return {
        "status": EXACT,
        "measures": list(found.calibration),
        "bins": [row for row in found.calibration_bins if not row["group"]],
        "net_benefit": [row for row in found.net_benefit if not row["group"]],
    }


def _explanation(facts: CardFacts) -> Row:
    carriers = facts.carriers or {"status": NOT_MEASURED}
    if facts.explanation is None:
        return {"status": NOT_MEASURED, "significance": carriers}
    return {
        "status": "computed from the released model and public constants",
        **facts.explanation,
        "significance": carriers,
    }


def _fairness(protocol: StudyProtocol) -> Row:
    return {
        "declared_subgroups": list(protocol.cohort.subgroups),
        "in_training": protocol.fairness.in_words(),
    }


def _plain(value: Any) -> Any:
    """As JSON can hold it: null for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return or_null(value)
